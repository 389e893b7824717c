"""Parts of a pack that are written at its end, kept in a temporary file once they are large."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES_IN_MEMORY = 256 << 10
READ_BYTES = 256 << 10


class Spool:
    """Bytes in the order in which they were added.

    Args:
        folder: where the file is, which has no name there.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.SpooledTemporaryFile(MAX_BYTES_IN_MEMORY, dir=str(folder))  # noqa: SIM115
        self.number = self.size = 0
        """How many parts, and bytes, were added."""

    def add(self, part: bytes) -> None:
        """Add a part."""
        self._file.write(part)
        self.number += 1
        self.size += len(part)

    def pieces(self) -> Iterator[bytes]:
        """Yield what was added."""
        self._file.seek(0)
        while piece := self._file.read(READ_BYTES):
            yield piece

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
