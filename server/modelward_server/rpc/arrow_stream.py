"""Tables and files that arrive in chunks: kept until they are whole, without a thread that waits for the next chunk."""

import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TypeVar

import pyarrow as pa

from modelward.data import Columns
from modelward_server.rpc.datasets import arrow_batches
from modelward_server.runtime.executors import Executors
from modelward_server.storage.arrow_tables import arrow_columns

HELD_BYTES = 256 << 10
"""What one stream keeps in memory; more of it goes into a file that has no name, so that none is left by a crash."""

Result = TypeVar("Result")


class Spool:
    """Bytes of a stream that has not ended: in memory, or in a file when there are many.

    It ends with its last reference: whoever leaves it need not know whether a thread still writes.
    """

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = SpooledTemporaryFile(HELD_BYTES, dir=str(folder))  # noqa: SIM115 - see `__del__`
        self._content = hashlib.sha256()
        self._size = 0

    def __del__(self) -> None:
        self._file.close()

    def has_room(self, chunk: bytes) -> bool:
        """Tell whether a chunk stays in memory, so that no disk is waited for."""
        return self._size + len(chunk) <= HELD_BYTES

    def write(self, chunk: bytes) -> None:
        self._content.update(chunk)
        self._file.write(chunk)
        self._size += len(chunk)

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written."""
        return self._content.hexdigest()

    def read(self, field: str, work: Callable[[Iterator[Columns]], Result], ignored: Collection[str] = ()) -> Result:
        """Run `work` on the batches of the Arrow IPC stream that was written, without the columns that are ignored.

        Raises:
            InvalidField: it is no Arrow IPC stream or breaks off, and whatever `work` raises.
        """
        self._file.seek(0)
        batches = arrow_batches(pa.PythonFile(self._file, mode="r"), field, ignored)
        return work(arrow_columns(batch, field) for batch in batches)


async def spooled(chunks: AsyncIterator[bytes], executors: Executors, folder: Path) -> Spool:
    """Keep what arrives until it has ended. The sender waits while a chunk is written.

    Raises:
        LimitReached: too much waits for the disk.
    """
    spool = Spool(folder)
    async for chunk in chunks:
        if spool.has_room(chunk):
            spool.write(chunk)
        else:
            await executors.files.run(spool.write, chunk)
    return spool
