"""Bytes of artifacts on their way in and out, a chunk at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from modelward.errors import FieldViolation, InvalidField
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.store.artifacts import READ_BYTES, BlobStore, IncomingBlob


async def receive_blobs(blobs: BlobStore, parts: AsyncIterator[pb.UploadBlobsRequest]) -> list[pb.BlobStatus]:
    """Store the blobs of an upload and say what the server holds of each.

    Raises:
        InvalidField: a chunk comes before any header, for a blob that is complete, or not in the announced size.
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
        upload.abandon()


class _Upload:
    """One upload stream: the blob that is coming in, and the ones before it."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._headers: list[pb.BlobHeader] = []
        self._open: AbstractContextManager[IncomingBlob] | None = None
        self._blob: IncomingBlob | None = None

    async def begin(self, header: pb.BlobHeader) -> None:
        await self._close()
        if header.offset:
            fix = "must be 0: the server keeps no unfinished blob; a header alone tells what it has"
            raise InvalidField(FieldViolation("header.offset", fix))
        self._headers.append(header)
        if header.size_bytes == 0:
            await asyncio.to_thread(self._blobs.put_bytes, b"")

    async def write(self, chunk: bytes) -> None:
        if self._blob is None:
            self._blob = self._start()
        await asyncio.to_thread(self._blob.write, chunk)

    def _start(self) -> IncomingBlob:
        if not self._headers:
            raise InvalidField(FieldViolation("chunk", "came before any header; send the blob's header first"))
        header = self._headers[-1]
        self._open = self._blobs.receive(header.sha256, header.size_bytes)
        return self._open.__enter__()

    async def finish(self) -> list[pb.BlobStatus]:
        await self._close()
        return [self._status(header) for header in self._headers]

    async def _close(self) -> None:
        opened, self._open, self._blob = self._open, None, None
        if opened is not None:
            await asyncio.to_thread(opened.__exit__, None, None, None)

    def _status(self, header: pb.BlobHeader) -> pb.BlobStatus:
        complete = self._blobs.has(header.sha256, header.size_bytes)
        return pb.BlobStatus(
            sha256=header.sha256, received_bytes=header.size_bytes if complete else 0, complete=complete
        )

    def abandon(self) -> None:
        """Drop a blob whose upload broke off."""
        if self._open is not None:
            error = ConnectionError("the upload broke off")
            with suppress(ConnectionError):
                self._open.__exit__(type(error), error, None)


async def send_chunks(path: Path, offset: int) -> AsyncIterator[bytes]:
    """Read a file from `offset` on, in chunks of a mebibyte."""
    with path.open("rb") as file:  # Not in a thread: a cancelled call would leave it open.
        file.seek(offset)
        while chunk := await asyncio.to_thread(file.read, READ_BYTES):
            yield chunk
