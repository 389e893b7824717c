"""An upload of a blob into the store."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from modelward.errors import ConcurrentChange, DigestMismatch, FieldViolation, InvalidField
from modelward_server.storage.verification import READ_BYTES, require_store


class IncomingBlob:
    """An upload of a blob. Must be closed.

    Args:
        file: the file that is written.
        path: its path.
        target: the blob's path once complete; its name is the SHA-256.
        size_bytes: the declared size.
        existing: the file with the bytes received earlier; by default the one that is written.
        keep: whether an incomplete upload is kept on close, to be resumed.
    """

    def __init__(
        self,
        file: IO[bytes],
        path: Path,
        target: Path,
        size_bytes: int,
        existing: Path | None = None,
        *,
        keep: bool = True,
    ) -> None:
        self._file = file
        self._path = path
        self._target = target
        self._size = size_bytes
        self._existing = existing or path
        self._keep = keep
        self._offset = 0
        self._received = 0
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def begin(self, offset: int) -> None:
        """Keep the bytes before `offset`; `read_existing` must read them all before more is written."""
        self._offset = offset
        if self._existing == self._path:
            self._file.truncate(offset)

    def read_existing(self) -> bool:
        """Hash, and copy if necessary, the next mebibyte received earlier; return False when there is no more."""
        size = min(READ_BYTES, self._offset - self._received)
        if size <= 0:
            return False
        existing = _read_at(self._existing, self._received, size)
        if self._existing != self._path:
            self._file.write(existing)
        self._hash.update(existing)
        self._received += len(existing)
        return True

    def write(self, chunk: bytes) -> int:
        if self._received + len(chunk) > self._size:
            raise _wrong_size(self._received + len(chunk), self._size)
        self._received += len(chunk)
        self._hash.update(chunk)
        try:
            written = self._file.write(chunk)
            self._file.flush()  # Bytes that are reported as received must survive the process.
        except OSError:
            self._discard_partial()
            raise
        return written

    def finish(self) -> None:
        """Verify the blob and store it under its name.

        Raises:
            InvalidField: fewer bytes were received than declared.
            DigestMismatch: the bytes do not have that SHA-256; they are removed.
            StoreUnavailable: the store's folder is missing.
        """
        if self._received != self._size:
            raise _wrong_size(self._received, self._size)
        if self._hash.hexdigest() != self._target.name:
            self._path.unlink()
        _check_digest(self._target.name, self._hash.hexdigest())
        try:
            os.fsync(self._file.fileno())
        except OSError:
            self._discard_partial()
            raise
        with require_store(self._target.parent.parent):
            self._target.parent.mkdir(mode=0o700, exist_ok=True)
            self._path.replace(self._target)
        sync_folder(self._target.parent)
        sync_folder(self._target.parent.parent)  # The folder may be new, also through another process.

    @property
    def is_whole(self) -> bool:
        """Whether as many bytes were received as declared."""
        return self._received == self._size

    def discard(self) -> None:
        """Close it and keep nothing of it."""
        self._keep = False
        self.close()

    def close(self) -> None:
        if not self._keep:
            self._discard_partial()  # Before the lock ends: the next file of that name is another upload's.
        with suppress(OSError):  # Only bytes that could not be written before can fail again; all others are flushed.
            self._file.close()

    def _discard_partial(self) -> None:
        """Remove the received bytes after the disk has failed.

        A full disk has space again, for the ledger. And unwritten bytes are not mistaken for written ones: after a
        failed fsync the system may still serve them from its page cache, and the next fsync succeeds.
        """
        with suppress(OSError):  # It is removed as stale when the disk allows.
            self._path.unlink()


def _read_at(path: Path, offset: int, size: int) -> bytes:
    """Read a range of a file that another upload may complete or restart meanwhile."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(offset)
        if content := file.read(size):
            return content
    raise ConcurrentChange(f"another upload of {path.stem} has just ended or restarted; retry")


def _wrong_size(received: int, declared: int) -> InvalidField:
    fix = f"{received} bytes were received, {declared} were declared; declare the size that you send"
    return InvalidField(FieldViolation("header.size_bytes", fix))


def _check_digest(expected: str, actual: str) -> None:
    if actual != expected:
        raise DigestMismatch(f"the content's SHA-256 is {actual}, not {expected}", expected=expected, actual=actual)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk: a file survives a power cut only together with its entry."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
