"""The blobs: contents named by their SHA-256, written once and never changed."""

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
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
from modelward_server.storage.verification import DAMAGED, INCOMING, READ_BYTES, pieces, present, read_verified, verify

SHA256 = re.compile("[0-9a-f]{64}")
KEEP_UNFINISHED = timedelta(days=7)
"""How long a blob that is not whole waits for its rest."""


class BlobStore:
    """Keeps blobs in a folder.

    A blob appears under its name only when it is complete, verified and on the disk. What came of an upload that broke
    off stays in `incoming/<sha256>.part`, so that the next one brings the rest, also after a restart and on another
    server that shares the folder.
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
        """Return where a blob is that is whole.

        Raises:
            DigestMismatch: it is lost, short or changed.
            StoreUnavailable: it cannot be read now.
        """
        return verify(self.path(sha256))

    def has(self, sha256: str, size_bytes: int) -> bool:
        """Tell whether a blob is here, as far as its size says; one that was found damaged is not."""
        return _size(self.path(sha256)) == size_bytes

    def is_whole(self, sha256: str, size_bytes: int) -> bool:
        """Tell whether a blob is here and is what it should be; all of it is read."""
        try:
            return self.has(sha256, size_bytes) and bool(verify(self.path(sha256), size_bytes))
        except DigestMismatch:
            return False

    def received(self, sha256: str, size_bytes: int) -> int:
        """Return how many bytes of a blob are here; an upload goes on from there."""
        if self.has(sha256, size_bytes):
            return size_bytes
        held = _size(self._part(sha256)) or 0
        return held if held <= size_bytes else 0

    def receive(self, sha256: str, size_bytes: int, offset: int) -> IncomingBlob:
        """Go on with a blob at `offset`; 0 begins anew.

        While another upload of it is under way, in any process, this one works on a copy: nobody waits for an upload
        that its sender holds open. Such a copy is not kept when it breaks off.

        Raises:
            ConcurrentChange: another upload of it has just ended.
            InvalidField: the bytes before `offset` are not what is here.
            StoreUnavailable: the folder is gone.
        """
        part = self._part(sha256)
        try:
            with present(self._folder):
                blob = IncomingBlob(_locked(part), part, self.path(sha256), size_bytes)
        except ConcurrentChange:
            blob = self._new(sha256, size_bytes, part)
        try:
            self._check_start(sha256, size_bytes, offset)
            blob.begin(offset)
        except BaseException:
            blob.close()
            raise
        return blob

    def sent(self, sha256: str) -> None:
        """Be told that all the bytes of a blob came from a caller."""

    def put_bytes(self, data: bytes) -> str:
        """Store `data` and return its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        with self._new(sha256, len(data)) as blob:
            blob.write(data)
            blob.finish()
        return sha256

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
            DigestMismatch: that is lost or damaged.
        """
        with self._new(source.name, source.stat().st_size) as blob:
            for piece in pieces(source, in_place=True):
                blob.write(piece)
            blob.finish()

    def read_bytes(self, sha256: str) -> bytes:
        """Return a blob's content.

        Raises:
            DigestMismatch: it is lost, short or changed.
            StoreUnavailable: it cannot be read now.
        """
        return read_verified(self.path(sha256))

    def remove_stale(self) -> None:
        """Remove uploads that nobody has gone on with for `KEEP_UNFINISHED`, and damaged blobs that are as old."""
        oldest = time.time() - KEEP_UNFINISHED.total_seconds()
        for path in (*self._folder.glob(f"??/*{DAMAGED}"), *self._incoming.iterdir()):
            try:
                _remove_if_stale(path, oldest)
            except OSError as error:  # The others are removed all the same.
                note_failure(error)
                log_once("removing what nobody goes on with", path.name, error)

    def touch(self, sha256: str) -> None:
        """Note that somebody wants a blob, so that it is not removed as unused before it is registered."""
        with suppress(FileNotFoundError):
            os.utime(self.path(sha256))

    def remove_unused(self, used: Collection[str], before: datetime) -> Iterator[int]:
        """Remove what is not used and was not wanted since `before`; give how many blobs, folder by folder."""
        for folder in sorted(self._folder.glob("[0-9a-f][0-9a-f]")):
            unused = [path for path in folder.iterdir() if SHA256.fullmatch(path.name) and path.name not in used]
            yield sum(self._remove_unused(path, before.timestamp()) for path in unused)

    def _remove_unused(self, path: Path, before: float) -> bool:
        try:
            return self._remove_unless_wanted(path, before)
        except OSError as error:  # The others are removed all the same.
            note_failure(error)
            log_once("removing the unused blob", path.name, error)
            return False

    def _remove_unless_wanted(self, path: Path, before: float) -> bool:
        if _changed_at(path) >= before:
            return False
        aside = self._incoming / f"{path.name}.unused"
        path.replace(aside)
        if wanted := _changed_at(aside) >= before:  # Since the look before, which is no lock.
            aside.replace(path)
        else:
            aside.unlink()
        return not wanted

    def _part(self, sha256: str) -> Path:
        return self._incoming / f"{sha256}.part"

    def _new(self, sha256: str, size_bytes: int, held: Path | None = None) -> IncomingBlob:
        """Begin a blob beside any upload of the same.

        Args:
            held: the file of that upload, whose bytes may be taken.

        Raises:
            StoreUnavailable: the folder is gone.
        """
        with present(self._folder):
            file = NamedTemporaryFile(dir=self._incoming, delete=False)  # noqa: SIM115 - the blob closes it
        return IncomingBlob(file, Path(file.name), self.path(sha256), size_bytes, held or Path(file.name), keep=False)

    def _check_start(self, sha256: str, size_bytes: int, offset: int) -> None:
        if self.has(sha256, size_bytes):
            self._part(sha256).unlink(missing_ok=True)
            raise ConcurrentChange(f"another upload of {sha256} has just ended; ask again")
        held = self.received(sha256, size_bytes)
        if offset not in {0, held}:
            fix = f"must be {held}, the bytes that the server holds, or 0 to begin anew"
            raise InvalidField(FieldViolation("header.offset", fix))


def _locked(path: Path) -> IO[bytes]:
    """Open a file for one writer; the lock ends when it is closed, also by the death of the process."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise FileNotFoundError  # It was finished or removed just before it was locked.
    except (BlockingIOError, FileNotFoundError):
        file.close()
        raise ConcurrentChange(f"another upload of {path.stem} is under way; ask again in a moment") from None
    return file


def _size(path: Path) -> int | None:
    """Return a file's size in bytes; None when there is none."""
    try:
        with path.open("rb") as file:  # Only for one that is opened does NFS ask how it stands now.
            return os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None


def _remove_if_stale(path: Path, oldest: float) -> None:
    if _changed_at(path) < oldest:
        with suppress(ConcurrentChange), _locked(path):
            if _changed_at(path) < oldest:  # Nobody went on with it before it was locked.
                path.unlink()


def _changed_at(path: Path) -> float:
    """Return when a file was written last, in seconds since 1970; one that has gone is not old."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
