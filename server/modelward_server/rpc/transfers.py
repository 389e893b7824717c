"""Bytes of artifacts on their way in and out, a chunk at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

from modelward.errors import FieldViolation, InvalidField
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.store.artifacts import READ_BYTES, BlobStore, IncomingBlob

Done = TypeVar("Done")


async def receive_blobs(blobs: BlobStore, parts: AsyncIterator[pb.UploadBlobsRequest]) -> list[pb.BlobStatus]:
    """Store the blobs of an upload and say what the server holds of each. What came before a break stays.

    Raises:
        InvalidField: a chunk comes before any header, or the offset or the size is not the announced blob's.
        ConcurrentChange: another upload of a blob is under way.
        DigestMismatch: the bytes do not have the announced SHA-256.
    """
    upload = _Upload(blobs)
    try:
        async for part in parts:
            if part.HasField("header"):
                await upload.begin(part.header)
            else:
                await upload.write(part.chunk)
        return await upload.finish()
    finally:
        upload.close()


class _Upload:
    """One upload stream: the blob that is coming in, and the ones before it."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._headers: list[pb.BlobHeader] = []
        self._blob: IncomingBlob | None = None

    async def begin(self, header: pb.BlobHeader) -> None:
        """Announce a blob; without an offset it may be just a question, so nothing is touched yet."""
        await self._finish_blob()
        self._headers.append(header)
        if header.size_bytes == 0:
            await _in_thread(lambda: self._blobs.put_bytes(b""))
        elif header.offset and not self._complete(header):
            await self._open(header)

    async def write(self, chunk: bytes) -> None:
        if not self._headers:
            raise InvalidField(FieldViolation("chunk", "came before any header; send the blob's header first"))
        header = self._headers[-1]
        if self._blob is None and self._complete(header):
            return  # Another upload was faster.
        blob = self._blob or await self._open(header)
        await _in_thread(lambda: blob.write(chunk))

    async def finish(self) -> list[pb.BlobStatus]:
        await self._finish_blob()
        return [self._status(header) for header in self._headers]

    def close(self) -> None:
        if self._blob is not None:
            self._blob.close()
            self._blob = None

    async def _open(self, header: pb.BlobHeader) -> IncomingBlob:
        # Not in a thread: a cancelled call would leave it open and locked.
        self._blob = self._blobs.receive(header.sha256, header.size_bytes, header.offset)
        while await _in_thread(self._blob.take_held):
            pass
        return self._blob

    async def _finish_blob(self) -> None:
        if self._blob is not None:
            await _in_thread(self._blob.finish)
        self.close()

    def _complete(self, header: pb.BlobHeader) -> bool:
        return self._blobs.has(header.sha256, header.size_bytes)

    def _status(self, header: pb.BlobHeader) -> pb.BlobStatus:
        received = self._blobs.received(header.sha256, header.size_bytes)
        return pb.BlobStatus(sha256=header.sha256, received_bytes=received, complete=self._complete(header))


async def _in_thread(work: Callable[[], Done]) -> Done:
    """Run `work` in a thread. A call that is cancelled waits for its end, so that no file is closed under it."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    finally:
        await asyncio.gather(running, return_exceptions=True)


async def send_chunks(path: Path, offset: int) -> AsyncIterator[bytes]:
    """Read a file from `offset` on, in chunks of a mebibyte."""
    with path.open("rb") as file:  # Not in a thread: a cancelled call would leave it open.
        file.seek(offset)
        while chunk := await asyncio.to_thread(file.read, READ_BYTES):
            yield chunk
