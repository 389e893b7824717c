"""Verified reading of blobs: missing, truncated and changed ones are detected before use, and can be uploaded again.

A blob's name is its SHA-256, so a path alone defines the content. A damaged blob is renamed: it then counts as missing,
so that the next upload replaces it.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Never, Self

from modelward.errors import DigestMismatch, StoreUnavailable

log = logging.getLogger(__name__)

READ_BYTES = 1 << 20
"""Size of the chunks in which a file is read."""
INCOMING = "incoming"
"""The folder of unfinished uploads; every store has one."""
DAMAGED = ".damaged"
"""Suffix of the name of a blob that was found damaged."""


class BlobReader:
    """Reads a blob in chunks of a mebibyte; the last one is returned only when the whole blob has the right SHA-256.

    Args:
        in_place: whether to leave a damaged blob under its name, for read-only checks.

    Raises:
        DigestMismatch: on opening or reading, when it is missing, truncated or changed.
        StoreUnavailable: it cannot be read now.
    """

    def __init__(self, path: Path, size_bytes: int | None = None, *, in_place: bool = False) -> None:
        self._path = path
        self._in_place = in_place
        self._hash = hashlib.sha256()
        self._bytes_read = 0
        with _reading(path):
            self._file = path.open("rb")
        self._size = self._length() if size_bytes is None else size_bytes
        if self._length() != self._size:
            with self:
                self._refuse(f"has {self._length():,} bytes in place of {self._size:,}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def skip(self, offset: int) -> bool:
        """Verify the next mebibyte before `offset` without returning it; False when there is no more."""
        return self._bytes_read < offset and bool(self._next(min(READ_BYTES, offset - self._bytes_read)))

    def read(self) -> bytes:
        """Return the next chunk; empty at the end."""
        return self._next(READ_BYTES)

    def _next(self, size: int) -> bytes:
        with _reading(self._path):
            chunk = self._file.read(size)
        self._hash.update(chunk)
        self._bytes_read += len(chunk)
        ends = not chunk or self._bytes_read >= self._size
        if ends and self._hash.hexdigest() != self._path.name:
            self._refuse(f"has the SHA-256 {self._hash.hexdigest()}", self._hash.hexdigest())
        return chunk

    def _length(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _refuse(self, what: str, actual: str = "") -> Never:
        if not self._in_place:
            _set_aside(self._path, os.fstat(self._file.fileno()))
        raise _mismatch(self._path, what, actual)


def verify(path: Path, size_bytes: int | None = None, *, in_place: bool = False) -> Path:
    """Return the path of a blob after verifying its content.

    Raises:
        See `BlobReader`.
    """
    for _ in chunks(path, size_bytes, in_place=in_place):
        pass
    return path


def read_verified(path: Path) -> bytes:
    """Return a blob's content.

    Raises:
        See `BlobReader`.
    """
    return b"".join(chunks(path))


def copy_verified(path: Path, target: Path) -> None:
    """Copy a blob; the partial copy of a damaged one is removed.

    Raises:
        See `BlobReader`.
    """
    try:
        with target.open("wb") as file:
            file.writelines(chunks(path))
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def is_blob(path: Path) -> bool:
    """Return whether a file in a store's folders is a blob, not a damaged one that was renamed."""
    return len(path.name) == 64 and path.suffix == ""


def chunks(path: Path, size_bytes: int | None = None, *, in_place: bool = False) -> Iterator[bytes]:
    """Yield a blob in chunks of a mebibyte.

    Raises:
        See `BlobReader`.
    """
    with BlobReader(path, size_bytes, in_place=in_place) as reader:
        while chunk := reader.read():
            yield chunk


@contextmanager
def require_store(store: Path) -> Iterator[None]:
    """Distinguish a store that is missing, such as an unmounted share, from one that lacks a file.

    Raises:
        StoreUnavailable: nothing of the store is there.
    """
    try:
        yield
    except FileNotFoundError:
        if (store / INCOMING).is_dir():
            raise
        raise _unreadable(store, "is empty") from None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Distinguish a missing blob from a disk that does not answer."""
    try:
        with require_store(path.parent.parent):
            yield
    except FileNotFoundError:
        raise _mismatch(path, "is lost") from None
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}") from error


def _set_aside(path: Path, opened: os.stat_result) -> None:
    """Rename a damaged blob, unless another file has taken its place."""
    log.error("the file %s is damaged; it is renamed to %s%s", path, path.name, DAMAGED)
    with suppress(OSError):
        if os.path.samestat(path.stat(), opened):
            path.replace(path.with_name(f"{path.name}{DAMAGED}"))


def _mismatch(path: Path, what: str, actual: str = "") -> DigestMismatch:
    message = f"the server's copy of {path.name} {what}; upload the file again, or restore it from a backup"
    return DigestMismatch(message, expected=path.name, actual=actual)


def _unreadable(path: Path, what: str) -> StoreUnavailable:
    return StoreUnavailable(f"the storage of models' files does not answer: {path} {what}", store="blobs")
