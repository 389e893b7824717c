"""An Arrow IPC stream that arrives in chunks, read batch by batch while it arrives."""

import asyncio
import io
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

import pyarrow as pa

from modelward.data import Columns
from modelward_server.rpc.datasets import arrow_batches, arrow_columns

CHUNKS_WAITING = 4
"""Chunks that may wait to be read; then the sender waits. So memory stays bounded however long the stream is."""

Result = TypeVar("Result")


class _Chunks(io.RawIOBase):
    """A file whose content arrives from another thread."""

    def __init__(self) -> None:
        self._arrived: queue.Queue[bytes | None] = queue.Queue(CHUNKS_WAITING)
        self._rest = b""

    def put(self, chunk: bytes | None) -> None:
        """Hand over a chunk, or None at the end; wait while too many are unread."""
        while not self.closed:
            try:
                return self._arrived.put(chunk, timeout=0.1)
            except queue.Full:
                continue
        return None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        if not self._rest:
            self._rest = self._arrived.get() or b""
        part = self._rest[: len(target)]
        self._rest = self._rest[len(part) :]
        target[: len(part)] = part
        return len(part)


async def with_batches(chunks: AsyncIterator[bytes], field: str, work: Callable[[Iterator[Columns]], Result]) -> Result:
    """Run `work` in a thread on the batches of a stream while its chunks arrive.

    Raises:
        InvalidField: the stream is no Arrow IPC stream or breaks off, and whatever `work` raises.
    """
    source = _Chunks()

    def read() -> Result:
        with source:
            batches = arrow_batches(pa.PythonFile(io.BufferedReader(source), mode="r"), field)
            return work(arrow_columns(batch, field) for batch in batches)

    reading = asyncio.create_task(asyncio.to_thread(read))
    # When the chunks end with an error, nobody asks for this one's.
    reading.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        async for chunk in chunks:
            await asyncio.to_thread(source.put, chunk)
    finally:
        await asyncio.to_thread(source.put, None)
    return await reading
