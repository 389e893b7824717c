"""The blobs: contents named by their SHA-256, written once and never changed."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelward.errors import DigestMismatch, FieldViolation, InvalidField
from modelward.lifecycle import ArtifactFile

READ_BYTES = 1 << 20
"""How much of a file is held in memory at a time."""


class BlobStore:
    """Keeps blobs in a folder.

    A blob appears under its name only when it is complete, verified and on the disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def has(self, sha256: str, size_bytes: int) -> bool:
        path = self.path(sha256)
        return path.exists() and path.stat().st_size == size_bytes

    def put_bytes(self, data: bytes) -> str:
        """Store `data` and return its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        with self.receive(sha256, len(data)) as blob:
            blob.write(data)
        return sha256

    def read_bytes(self, sha256: str) -> bytes:
        """Return a blob's content.

        Raises:
            DigestMismatch: what is stored is not what was written.
        """
        data = self.path(sha256).read_bytes()
        _check_digest(sha256, hashlib.sha256(data).hexdigest())
        return data

    @contextmanager
    def receive(self, sha256: str, size_bytes: int) -> Iterator["IncomingBlob"]:
        """Write a blob in parts; it is stored when the block ends, or nothing is.

        Raises:
            InvalidField: more or fewer bytes came than announced.
            DigestMismatch: the bytes do not have that SHA-256.
        """
        with tempfile.NamedTemporaryFile(dir=self._incoming, delete=False) as file:
            blob = IncomingBlob(Path(file.name), sha256, size_bytes)
        try:
            with blob:
                yield blob
            blob.verify()
            self._keep(blob)
        finally:
            blob.path.unlink(missing_ok=True)

    def put_file(self, source: Path, path: str) -> ArtifactFile:
        """Store a copy of a file and describe it under the name `path`."""
        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = source.stat().st_size
        if not self.has(sha256, size):
            with self.receive(sha256, size) as blob, source.open("rb") as file:
                shutil.copyfileobj(file, blob, READ_BYTES)
        return ArtifactFile(path, size, sha256)

    def _keep(self, blob: "IncomingBlob") -> None:
        target = self.path(blob.sha256)
        target.parent.mkdir(exist_ok=True)
        blob.path.replace(target)
        _sync_folder(target.parent)


class IncomingBlob:
    """A blob on its way in."""

    def __init__(self, path: Path, sha256: str, size_bytes: int) -> None:
        self.path = path
        self.sha256 = sha256
        self._size = size_bytes
        self._received = 0
        self._hash = hashlib.sha256()

    def __enter__(self) -> "IncomingBlob":
        self._file = self.path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, chunk: bytes) -> int:
        self._received += len(chunk)
        if self._received > self._size:
            self._wrong_size()
        self._hash.update(chunk)
        return self._file.write(chunk)

    def verify(self) -> None:
        if self._received != self._size:
            self._wrong_size()
        _check_digest(self.sha256, self._hash.hexdigest())

    def _wrong_size(self) -> None:
        fix = f"{self._received} bytes came, {self._size} were announced; announce the size that you send"
        raise InvalidField(FieldViolation("header.size_bytes", fix))


def _check_digest(expected: str, actual: str) -> None:
    if actual != expected:
        raise DigestMismatch(f"the content's SHA-256 is {actual}, not {expected}", expected=expected, actual=actual)


def _sync_folder(folder: Path) -> None:
    # A file is safe from a power cut only when its entry in the folder is, too.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
