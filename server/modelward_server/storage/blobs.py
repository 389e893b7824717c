"""Blob store: contents addressed by their SHA-256, immutable once written."""

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from modelward.errors import ConcurrentChange, DigestMismatch, FieldViolation, InvalidField
from modelward.lifecycle import ArtifactFile
from modelward_server.runtime.background import note_failure
from modelward_server.runtime.retries import log_once
from modelward_server.storage.incoming_blob import IncomingBlob
from modelward_server.storage.private_files import make_private_blobs
from modelward_server.storage.verification import (
    DAMAGED,
    INCOMING,
    READ_BYTES,
    chunks,
    read_verified,
    require_store,
    verify,
)

SHA256 = re.compile("[0-9a-f]{64}")
VERIFYING = "verifying-"
"""The beginning of the names of folders beside the blobs, in which files of a version are laid out to be verified."""
KEEP_UNFINISHED = timedelta(days=7)
"""How long an incomplete blob is kept for its upload to be resumed."""


class BlobStore:
    """Stores blobs in a folder.

    A blob appears under its name only when it is complete, verified and flushed to disk. The received part of an
    interrupted upload stays in `incoming/<sha256>.part`, so that the next upload resumes it, also after a restart and
    on another server that shares the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / INCOMING
        make_private_blobs(folder)
        self._incoming.mkdir(mode=0o700, exist_ok=True)

    @property
    def folder(self) -> Path:
        return self._folder

    def path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def verified(self, sha256: str) -> Path:
        """Return the path of a blob after verifying its content.

        Raises:
            DigestMismatch: it is missing, truncated or changed.
            StoreUnavailable: it cannot be read now.
        """
        return verify(self.path(sha256))

    def has(self, sha256: str, size_bytes: int) -> bool:
        """Return whether a blob of that size is stored; one that was found damaged is not. Its content is not read."""
        return _size(self.path(sha256)) == size_bytes

    def is_whole(self, sha256: str, size_bytes: int) -> bool:
        """Return whether a blob is stored and has its SHA-256; all of it is read."""
        try:
            return self.has(sha256, size_bytes) and bool(verify(self.path(sha256), size_bytes))
        except DigestMismatch:
            return False

    def received(self, sha256: str, size_bytes: int) -> int:
        """Return how many bytes of a blob are stored; an upload resumes there."""
        if self.has(sha256, size_bytes):
            return size_bytes
        partial = _size(self._part(sha256)) or 0
        return partial if partial <= size_bytes else 0

    def receive(self, sha256: str, size_bytes: int, offset: int) -> IncomingBlob:
        """Start or resume an upload at `offset`; 0 starts from the beginning.

        While another upload of the blob is under way, in any process, this one works on a copy: no upload waits for one
        that its sender holds open. Such a copy is not kept when it is interrupted.

        Raises:
            ConcurrentChange: another upload of it has just ended.
            InvalidField: the bytes before `offset` do not match the stored ones.
            StoreUnavailable: the folder is missing.
        """
        part = self._part(sha256)
        try:
            with require_store(self._folder):
                blob = IncomingBlob(_locked(part), part, self.path(sha256), size_bytes)
        except ConcurrentChange:
            blob = self._new(sha256, size_bytes, part)
        try:
            self._check_start(sha256, size_bytes, offset)
            blob.begin(offset)
        except ConcurrentChange:
            blob.discard()  # Of an upload that is still under way only the copy: it completes its own file.
            raise
        except BaseException:
            blob.close()
            raise
        return blob

    def record_upload(self, sha256: str) -> None:
        """Record that a client has sent all bytes of a blob; this store keeps no such record."""

    def put_bytes(self, data: bytes) -> str:
        """Store `data` and return its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        with self._new(sha256, len(data)) as blob:
            blob.write(data)
            blob.finish()
        return sha256

    def put_chunks(self, sha256: str, size_bytes: int, content: Iterable[bytes]) -> None:
        """Store a blob in pieces.

        Raises:
            DigestMismatch, InvalidField: the content has another SHA-256 or size.
        """
        with self._new(sha256, size_bytes) as blob:
            for chunk in content:
                blob.write(chunk)
            blob.finish()

    def put_file(self, source: Path, path: str) -> ArtifactFile:
        """Store a copy of a file and describe it under the name `path`."""
        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = source.stat().st_size
        if not self.is_whole(sha256, size):
            with self._new(sha256, size) as blob, source.open("rb") as file:
                shutil.copyfileobj(file, blob, READ_BYTES)
                blob.finish()
        return ArtifactFile(path, size, sha256)

    def put_blob(self, source: Path) -> None:
        """Store a copy of another store's blob.

        Raises:
            DigestMismatch: that blob is missing or damaged.
        """
        self.put_chunks(source.name, source.stat().st_size, chunks(source, in_place=True))

    def read_bytes(self, sha256: str) -> bytes:
        """Return a blob's content.

        Raises:
            DigestMismatch: it is missing, truncated or changed.
            StoreUnavailable: it cannot be read now.
        """
        return read_verified(self.path(sha256))

    def remove_stale(self) -> None:
        """Remove uploads that were not resumed for `KEEP_UNFINISHED`, and damaged blobs of the same age.

        So are folders in which a server laid out files to verify them, and was killed.
        """
        oldest = time.time() - KEEP_UNFINISHED.total_seconds()
        for folder in self._folder.glob(f"{VERIFYING}*"):
            if _changed_at(folder) < oldest:
                shutil.rmtree(folder, ignore_errors=True)
        for path in (*self._folder.glob(f"??/*{DAMAGED}"), *self._incoming.iterdir()):
            try:
                _remove_if_stale(path, oldest)
            except OSError as error:  # The others are still removed.
                note_failure(error)
                log_once("removing the stale upload", path.name, error)

    def touch(self, sha256: str) -> None:
        """Mark a blob as in use, so that it is not removed as unused before it is registered."""
        with suppress(FileNotFoundError):
            os.utime(self.path(sha256))

    def remove_unused(self, used: Collection[str], before: datetime) -> Iterator[int]:
        """Remove unused blobs that were not touched since `before`; yield the number removed for each folder."""
        for folder in sorted(self._folder.glob("[0-9a-f][0-9a-f]")):
            unused = [path for path in folder.iterdir() if SHA256.fullmatch(path.name) and path.name not in used]
            yield sum(self._remove_unused(path, before.timestamp()) for path in unused)

    def _remove_unused(self, path: Path, before: float) -> bool:
        try:
            return self._remove_unless_wanted(path, before)
        except OSError as error:  # The others are still removed.
            note_failure(error)
            log_once("removing the unused blob", path.name, error)
            return False

    def _remove_unless_wanted(self, path: Path, before: float) -> bool:
        if _changed_at(path) >= before:
            return False
        aside = self._incoming / f"{path.name}.unused"
        path.replace(aside)
        if touched := _changed_at(aside) >= before:  # Since the check above, which takes no lock.
            aside.replace(path)
        else:
            aside.unlink()
        return not touched

    def _part(self, sha256: str) -> Path:
        return self._incoming / f"{sha256}.part"

    def _new(self, sha256: str, size_bytes: int, existing: Path | None = None) -> IncomingBlob:
        """Start an upload independent of any other of the same blob.

        Args:
            existing: the file of that upload, whose bytes may be copied.

        Raises:
            StoreUnavailable: the folder is missing.
        """
        with require_store(self._folder):
            file = NamedTemporaryFile(dir=self._incoming, delete=False)  # noqa: SIM115 - the blob closes it
        target = self.path(sha256)
        return IncomingBlob(file, Path(file.name), target, size_bytes, existing or Path(file.name), keep=False)

    def _check_start(self, sha256: str, size_bytes: int, offset: int) -> None:
        if self.has(sha256, size_bytes):
            raise ConcurrentChange(f"another upload of {sha256} has just ended; retry")
        received = self.received(sha256, size_bytes)
        if offset not in {0, received}:
            fix = f"must be {received}, the number of bytes that the server has, or 0 to start again"
            raise InvalidField(FieldViolation("header.offset", fix))


def _locked(path: Path) -> IO[bytes]:
    """Open a file for one writer; the lock ends when it is closed, also when the process dies."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise FileNotFoundError  # It was finished or removed just before it was locked.
    except (BlockingIOError, FileNotFoundError):
        file.close()
        raise ConcurrentChange(f"another upload of {path.stem} is under way; retry in a moment") from None
    return file


def _size(path: Path) -> int | None:
    """Return a file's size in bytes; None when it does not exist."""
    try:
        with path.open("rb") as file:  # NFS revalidates the cached attributes of a file only when it is opened.
            return os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None


def _remove_if_stale(path: Path, oldest: float) -> None:
    if _changed_at(path) < oldest:
        with suppress(ConcurrentChange), _locked(path):
            if _changed_at(path) < oldest:  # No upload resumed it before it was locked.
                path.unlink()


def _changed_at(path: Path) -> float:
    """Return a file's modification time in seconds since 1970; the current time for one that no longer exists."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
