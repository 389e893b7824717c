"""A blob on its way into the store."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from modelward.errors import ConcurrentChange, DigestMismatch, FieldViolation, InvalidField
from modelward_server.storage.verification import READ_BYTES, present


class IncomingBlob:
    """A blob on its way in. Close it.

    Args:
        file: where it is written.
        path: of that file.
        target: its path when it is whole; its name is the SHA-256.
        size_bytes: how many bytes were announced.
        held: the file with what came of it before; by default, the one that is written.
        keep: whether what is not finished when it is closed waits for its rest.
    """

    def __init__(
        self, file: IO[bytes], path: Path, target: Path, size_bytes: int, held: Path | None = None, *, keep: bool = True
    ) -> None:
        self._file = file
        self._path = path
        self._target = target
        self._size = size_bytes
        self._held_path = held or path
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
        """Keep the bytes before `offset`; `take_held` must take them all before more is written."""
        self._offset = offset
        if self._held_path == self._path:
            self._file.truncate(offset)

    def take_held(self) -> bool:
        """Take the next mebibyte of what is here already; False when there is no more."""
        wanted = min(READ_BYTES, self._offset - self._received)
        if wanted <= 0:
            return False
        held = _read_at(self._held_path, self._received, wanted)
        if self._held_path != self._path:
            self._file.write(held)
        self._hash.update(held)
        self._received += len(held)
        return True

    def write(self, chunk: bytes) -> int:
        if self._received + len(chunk) > self._size:
            raise _wrong_size(self._received + len(chunk), self._size)
        self._received += len(chunk)
        self._hash.update(chunk)
        try:
            written = self._file.write(chunk)
            self._file.flush()  # What is said to be received shall outlive the process.
        except OSError:
            self._give_back()
            raise
        return written

    def finish(self) -> None:
        """Verify the blob and store it under its name.

        Raises:
            InvalidField: fewer bytes came than announced.
            DigestMismatch: the bytes do not have that SHA-256; they are removed.
            StoreUnavailable: the store's folder is gone.
        """
        if self._received != self._size:
            raise _wrong_size(self._received, self._size)
        if self._hash.hexdigest() != self._target.name:
            self._path.unlink()
        _check_digest(self._target.name, self._hash.hexdigest())
        try:
            os.fsync(self._file.fileno())
        except OSError:
            self._give_back()
            raise
        with present(self._target.parent.parent):
            self._target.parent.mkdir(mode=0o700, exist_ok=True)
            self._path.replace(self._target)
        sync_folder(self._target.parent)
        sync_folder(self._target.parent.parent)  # The folder may be new; whether it is, is for others to say.

    @property
    def is_whole(self) -> bool:
        """Whether as many bytes came as were announced."""
        return self._received == self._size

    def discard(self) -> None:
        """Keep nothing of it."""
        self._keep = False
        self.close()

    def close(self) -> None:
        with suppress(OSError):  # Of bytes that could not be written before, either; all others are flushed.
            self._file.close()
        if not self._keep:
            with suppress(OSError):  # It is removed as stale, when the disk allows.
                self._path.unlink()

    def _give_back(self) -> None:
        """Remove what came, after the disk has failed.

        A full one has room again, for the ledger. And what could not be written is not taken for what was: after an
        fsync that fails, the system may give the bytes back from its memory, and the next fsync succeeds.
        """
        with suppress(OSError):
            self._path.unlink()


def _read_at(path: Path, offset: int, wanted: int) -> bytes:
    """Read some of a file that another upload may finish or begin anew meanwhile."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(offset)
        if found := file.read(wanted):
            return found
    raise ConcurrentChange(f"another upload of {path.stem} has just ended or begun anew; ask again")


def _wrong_size(received: int, announced: int) -> InvalidField:
    fix = f"{received} bytes came, {announced} were announced; announce the size that you send"
    return InvalidField(FieldViolation("header.size_bytes", fix))


def _check_digest(expected: str, actual: str) -> None:
    if actual != expected:
        raise DigestMismatch(f"the content's SHA-256 is {actual}, not {expected}", expected=expected, actual=actual)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries safe from a power cut: a file is so only with its entry."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
