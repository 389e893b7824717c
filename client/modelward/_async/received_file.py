"""A file that is received in parts, and that is there whole or not at all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol


class Part(Protocol):
    """A message with the next bytes of a file."""

    @property
    def chunk(self) -> bytes: ...


async def write_parts(parts: AsyncIterator[Part], target: Path) -> Path:
    """Write a file in parts; it is replaced when the last one has come. Return it.

    Raises:
        OSError: it cannot be written. Errors of the stream propagate.
    """
    partial = target.with_name(f"{target.name}.part")
    try:
        with partial.open("wb") as file:
            async for part in parts:
                await asyncio.to_thread(file.write, part.chunk)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
