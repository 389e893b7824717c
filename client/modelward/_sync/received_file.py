# Derived from modelward/_async/received_file.py by client/unasync.py: change that one.
"""A file that is received in parts, and that is there whole or not at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from modelward.errors import FieldViolation, InvalidField


class Part(Protocol):
    """A message with the next bytes of a file."""

    @property
    def chunk(self) -> bytes: ...


def write_parts(parts: Iterator[Part], target: Path) -> Path:
    """Write a file in parts; it is replaced when the last one has come. Return it.

    Raises:
        InvalidField: there cannot be such a file. Errors of the stream propagate.
        OSError: it cannot be written any more.
    """
    partial, file = _opened(target)
    try:
        with file:
            for part in parts:
                file.write(part.chunk)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _opened(target: Path) -> tuple[Path, IO[bytes]]:
    """Open the file that takes the target's place when it is complete."""
    if target.is_dir():
        raise InvalidField(FieldViolation("to", f"{target} is a folder; give the path of a file"))
    partial = target.with_name(f"{target.name}.part")
    try:
        return partial, partial.open("wb")
    except OSError as error:
        raise InvalidField(FieldViolation("to", f"{target} cannot be written: {error.strerror}")) from None
