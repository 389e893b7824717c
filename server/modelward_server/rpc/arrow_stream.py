"""Buffering of streamed tables until they are complete, without a thread that waits for the next chunk."""

import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TypeVar

import pyarrow as pa

from modelward.data import Columns
from modelward_server.runtime.executors import Executors
from modelward_server.storage.arrow_tables import arrow_columns, read_arrow

HELD_BYTES = 256 << 10
"""Memory for one stream; a larger stream is moved to an unnamed file, so that a crash leaves none behind."""

Result = TypeVar("Result")


class Spool:
    """The bytes of an incoming stream: in memory, or in a file when there are many.

    The file is closed with the last reference: a cancelled call need not know whether a thread is still writing.
    """

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = SpooledTemporaryFile(HELD_BYTES, dir=str(folder))  # noqa: SIM115 - see `__del__`
        self._content = hashlib.sha256()
        self._size = 0

    def __del__(self) -> None:
        self._file.close()

    def has_room(self, chunk: bytes) -> bool:
        """Return whether a chunk stays in memory, so that no disk access is needed."""
        return self._size + len(chunk) <= HELD_BYTES

    def write(self, chunk: bytes) -> None:
        self._content.update(chunk)
        self._file.write(chunk)
        self._size += len(chunk)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the written bytes."""
        return self._content.hexdigest()

    def read(self, field: str, work: Callable[[Iterator[Columns]], Result], ignored: Collection[str] = ()) -> Result:
        """Run `work` on the batches of the written Arrow IPC stream, without the ignored columns.

        Raises:
            InvalidField: it is not an Arrow IPC stream or is truncated. Exceptions of `work` propagate.
        """
        self._file.seek(0)
        batches = read_arrow(pa.PythonFile(self._file, mode="r"), field, ignored)
        return work(arrow_columns(batch, field) for batch in batches)


async def spooled(chunks: AsyncIterator[bytes], executors: Executors, folder: Path) -> Spool:
    """Buffer the chunks of a stream until its end. The sender waits while a chunk is written.

    Raises:
        LimitReached: too many writes wait for the disk.
    """
    spool = Spool(folder)
    async for chunk in chunks:
        if spool.has_room(chunk):
            spool.write(chunk)
        else:
            await executors.files.run(spool.write, chunk)
    return spool
