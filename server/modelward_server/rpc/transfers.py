"""Chunked upload and download of artifacts."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from modelward.errors import FieldViolation, InvalidField
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.rpc.read_ahead import ReadAhead
from modelward_server.runtime.executors import BoundedExecutor
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.incoming_blob import IncomingBlob
from modelward_server.storage.verification import BlobReader


async def receive_blobs(
    blobs: BlobStore, parts: AsyncIterator[pb.UploadBlobsRequest], files: BoundedExecutor
) -> list[pb.BlobStatus]:
    """Store the blobs of an upload and return the status of each. Bytes received before an interruption are kept.

    Args:
        files: the executor in which parts are written; no thread is occupied while waiting for the next ones.

    Raises:
        InvalidField: a chunk precedes any header, or the offset or the size does not match the declared blob.
        ConcurrentChange: another upload of a blob has just ended.
        DigestMismatch: the bytes do not have the declared SHA-256.
        LimitReached: too many writes wait for the disk.
    """
    upload = _Upload(blobs)
    try:
        async with ReadAhead(parts) as arrived:
            async for group in arrived.groups():  # The next chunks arrive while these are written.
                for together in _split(group):
                    await files.run(upload.take, together)
                    while await files.run(upload.read_existing):
                        pass
        return await files.run(upload.finish)
    except Exception:
        upload.close()
        raise
    except BaseException:  # A write may still be running: closing the file waits for it, and must not delay this call.
        files.submit_always(upload.close)
        raise


def _split(parts: Sequence[pb.UploadBlobsRequest]) -> Iterator[list[pb.UploadBlobsRequest]]:
    """Divide parts after each header: what the server has of a blob is read before more is written."""
    begin = 0
    for end, part in enumerate(parts, start=1):
        if part.HasField("header") or end == len(parts):
            yield [*parts[begin:end]]
            begin = end


class _Upload:
    """One upload stream: the current blob, and the headers of all. Each method may run in any thread."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._headers: list[pb.BlobHeader] = []
        self._blob: IncomingBlob | None = None
        self._checked: set[str] = set()
        self._lock = threading.Lock()

    def take(self, parts: Sequence[pb.UploadBlobsRequest]) -> None:
        with self._lock:
            for part in parts:
                if part.HasField("header"):
                    self._begin(part.header)
                else:
                    self._write(part.chunk)

    def read_existing(self) -> bool:
        """Read the next mebibyte that the server has already; False when there is no more."""
        with self._lock:
            return self._blob is not None and self._blob.read_existing()

    def finish(self) -> list[pb.BlobStatus]:
        with self._lock:
            self._finish_blob()
            return [self._status(header) for header in self._headers]

    def close(self) -> None:
        with self._lock:
            self._close()

    def _begin(self, header: pb.BlobHeader) -> None:
        """Start a blob; a header without an offset may only be a query, so nothing is modified yet."""
        self._finish_blob()
        self._headers.append(header)
        if header.size_bytes == 0:
            self._blobs.record_upload(self._blobs.put_bytes(b""))
        elif header.offset and not self._complete(header):
            self._open(header)

    def _write(self, chunk: bytes) -> None:
        if not self._headers:
            raise InvalidField(FieldViolation("chunk", "precedes any header; send the blob's header first"))
        header = self._headers[-1]
        if self._blob is None and self._is_here(header):
            return  # Another upload was faster.
        (self._blob or self._open(header)).write(chunk)

    def _open(self, header: pb.BlobHeader) -> IncomingBlob:
        self._blob = self._blobs.receive(header.sha256, header.size_bytes, header.offset)
        return self._blob

    def _finish_blob(self) -> None:
        if self._blob is not None and not self._blob.is_whole and self._complete(self._headers[-1]):
            self._blob.discard()  # Another upload was faster.
        elif self._blob is not None:
            self._blob.finish()
            self._blobs.record_upload(self._headers[-1].sha256)
        self._close()

    def _close(self) -> None:
        if self._blob is not None:
            self._blob.close()
            self._blob = None

    def _is_here(self, header: pb.BlobHeader) -> bool:
        """Return whether the blob being sent is stored; an upload from its beginning replaces a damaged one."""
        if header.offset or header.sha256 in self._checked:
            return self._complete(header)
        self._checked.add(header.sha256)
        return self._blobs.is_whole(header.sha256, header.size_bytes)

    def _complete(self, header: pb.BlobHeader) -> bool:
        self._blobs.touch(header.sha256)
        return self._blobs.has(header.sha256, header.size_bytes)

    def _status(self, header: pb.BlobHeader) -> pb.BlobStatus:
        received = self._blobs.received(header.sha256, header.size_bytes)
        return pb.BlobStatus(sha256=header.sha256, received_bytes=received, complete=self._complete(header))


async def send_chunks(path: Path, size_bytes: int, offset: int, files: BoundedExecutor) -> AsyncIterator[bytes]:
    """Read a blob from `offset` on, in chunks of a mebibyte; the last one is sent only when the blob is verified.

    Raises:
        DigestMismatch: it is missing, truncated or changed.
        StoreUnavailable: it cannot be read now.
        LimitReached: too many reads wait for the disk.
    """
    with BlobReader(path, size_bytes) as blob:  # Not in a thread: a cancelled call would leave it open.
        while await files.run(blob.skip, offset):
            pass
        chunk = await files.run(blob.read)
        while chunk:
            following = asyncio.ensure_future(files.run(blob.read))  # It is read while this one is sent.
            try:
                yield chunk
                chunk = await following
            finally:
                following.cancel()
