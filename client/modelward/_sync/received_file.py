# Derived from modelward/_async/received_file.py by client/unasync.py: change that one.
"""A file that is received in parts, and that is there whole or not at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class Part(Protocol):
    """A message with the next bytes of a file."""

    @property
    def chunk(self) -> bytes: ...


def write_parts(parts: Iterator[Part], target: Path) -> Path:
    """Write a file in parts; it is replaced when the last one has come. Return it.

    Raises:
        OSError: it cannot be written. Errors of the stream propagate.
    """
    partial = target.with_name(f"{target.name}.part")
    try:
        with partial.open("wb") as file:
            for part in parts:
                file.write(part.chunk)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
