"""Reading blobs: what is lost, short or changed is found out before it is used, and can be uploaded again.

A blob's name is its SHA-256, so a path alone says what must be there. One that is found bad is set aside under another
name: it no longer counts as here, so the next upload of it brings it whole.
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
"""How much of a file is held in memory at a time."""
INCOMING = "incoming"
"""The folder of what is not whole yet; every store has one."""
DAMAGED = ".damaged"
"""Ends the name of a blob that was found bad."""


class BlobReader:
    """Gives a blob a mebibyte at a time; its end comes only when all of it has the right SHA-256.

    Args:
        in_place: whether to leave a bad one where it is, for who only looks.

    Raises:
        DigestMismatch: on opening or reading, when it is lost, short or changed.
        StoreUnavailable: it cannot be read now.
    """

    def __init__(self, path: Path, size_bytes: int | None = None, *, in_place: bool = False) -> None:
        self._path = path
        self._in_place = in_place
        self._hash = hashlib.sha256()
        self._given = 0
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
        """Verify the next mebibyte before `offset` without giving it; False when there is no more."""
        return self._given < offset and bool(self._next(min(READ_BYTES, offset - self._given)))

    def read(self) -> bytes:
        """Return the next piece; nothing when there is no more."""
        return self._next(READ_BYTES)

    def _next(self, most: int) -> bytes:
        with _reading(self._path):
            piece = self._file.read(most)
        self._hash.update(piece)
        self._given += len(piece)
        ends = not piece or self._given >= self._size
        if ends and self._hash.hexdigest() != self._path.name:
            self._refuse(f"has the SHA-256 {self._hash.hexdigest()}", self._hash.hexdigest())
        return piece

    def _length(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _refuse(self, what: str, actual: str = "") -> Never:
        if not self._in_place:
            _set_aside(self._path, os.fstat(self._file.fileno()))
        raise _mismatch(self._path, what, actual)


def verify(path: Path, size_bytes: int | None = None, *, in_place: bool = False) -> Path:
    """Return the path of a blob that is whole.

    Raises:
        as `BlobReader`.
    """
    for _ in pieces(path, size_bytes, in_place=in_place):
        pass
    return path


def read_verified(path: Path) -> bytes:
    """Return a blob's content.

    Raises:
        as `BlobReader`.
    """
    return b"".join(pieces(path))


def copy_verified(path: Path, target: Path) -> None:
    """Copy a blob; what came of one that is not whole is removed.

    Raises:
        as `BlobReader`.
    """
    try:
        with target.open("wb") as file:
            file.writelines(pieces(path))
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def is_blob(path: Path) -> bool:
    """Tell whether a file of a store's folders is a blob, not one that was set aside."""
    return len(path.name) == 64 and path.suffix == ""


def pieces(path: Path, size_bytes: int | None = None, *, in_place: bool = False) -> Iterator[bytes]:
    """Give a blob a mebibyte at a time.

    Raises:
        as `BlobReader`.
    """
    with BlobReader(path, size_bytes, in_place=in_place) as reader:
        while piece := reader.read():
            yield piece


@contextmanager
def present(store: Path) -> Iterator[None]:
    """Tell a store that is gone, as a shared folder that is not mounted, from one that lacks a file.

    Raises:
        StoreUnavailable: nothing of the store is there.
    """
    try:
        yield
    except FileNotFoundError:
        if (store / INCOMING).is_dir():
            raise
        raise _unreadable(store, "has nothing in it") from None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell a blob that is lost from a disk that does not answer."""
    try:
        with present(path.parent.parent):
            yield
    except FileNotFoundError:
        raise _mismatch(path, "is lost") from None
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}") from error


def _set_aside(path: Path, read: os.stat_result) -> None:
    """Give a bad blob another name, unless another file is in its place by now."""
    log.error("the file %s is damaged; it is set aside as %s%s", path, path.name, DAMAGED)
    with suppress(OSError):
        if os.path.samestat(path.stat(), read):
            path.replace(path.with_name(f"{path.name}{DAMAGED}"))


def _mismatch(path: Path, what: str, actual: str = "") -> DigestMismatch:
    message = f"the server's copy of {path.name} {what}; upload the file again, or restore it from a backup"
    return DigestMismatch(message, expected=path.name, actual=actual)


def _unreadable(path: Path, what: str) -> StoreUnavailable:
    return StoreUnavailable(f"the models' files do not answer: {path} {what}", store="blobs")
