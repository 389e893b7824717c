"""Resumable transfers of files to and from the server."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from modelward._private import FILE_MODE, make_private_folder, sync_folder
from modelward.errors import (
    ConcurrentChange,
    DataLoss,
    DigestMismatch,
    FieldViolation,
    InvalidField,
    ResourceExhausted,
    UnexpectedError,
)
from modelward.lifecycle import ArtifactFile
from modelward.shared.manifest import MAX_PART_BYTES, check_name
from modelward.v1 import lifecycle_pb2 as pb

CHUNK_BYTES = 1 << 20
"""Bytes of a file in one message, well under gRPC's limit of 4 MiB."""

MIN_BYTES_PER_SECOND = 10_000
"""Minimum average speed of a transfer without its own timeout."""

MESSAGE_BYTES = 3 << 20
"""Tables of a request are uploaded separately from this size on; gRPC's limit is 4 MiB."""

Rest = tuple[ArtifactFile, int]
"""A file, and how many of its bytes the server has."""


def upload_header(file: ArtifactFile, offset: int = 0) -> pb.UploadBlobsRequest:
    header = pb.BlobHeader(sha256=file.sha256, size_bytes=file.size_bytes, offset=offset)
    return pb.UploadBlobsRequest(header=header)


def rest_of(files: Sequence[ArtifactFile], answer: pb.UploadBlobsResponse) -> list[Rest]:
    """Return the files that the server lacks, each content once.

    Raises:
        UnexpectedError: the answer does not match the files.
    """
    held = [blob.received_bytes for blob in answer.blobs]
    if len(held) != len(files) or not all(0 <= n <= file.size_bytes for n, file in zip(held, files, strict=True)):
        raise UnexpectedError("the server's answer about the content that it has does not match the requested files")
    lacking = {
        file.sha256: (file, blob.received_bytes)
        for file, blob in zip(files, answer.blobs, strict=True)
        if not blob.complete
    }
    return list(lacking.values())


def upload_parts(folder: Path, rest: Iterable[Rest]) -> Iterator[pb.UploadBlobsRequest]:
    """Yield the messages that upload files: for each its header, then the bytes that the server lacks."""
    for file, offset in rest:
        yield upload_header(file, offset)
        with (folder / file.path).open("rb") as content:
            content.seek(offset)
            while chunk := content.read(CHUNK_BYTES):
                yield pb.UploadBlobsRequest(chunk=chunk)


def late_arrival(error: InvalidField) -> ConcurrentChange | None:
    """Return a retryable error, if data of an interrupted upload arrived after the server was asked; else None."""
    if any(violation.field == "header.offset" for violation in error.violations):
        return ConcurrentChange(error.message)
    return None


class IncomingFile:
    """A file that is being downloaded, as `<path>.part` until it is verified. Use it in a `with` block.

    The partial file may stem from an earlier process. Two concurrent processes write the same bytes at the same
    offsets.
    """

    def __init__(self, path: Path, file: ArtifactFile, *, private: bool = False) -> None:
        self._file = file
        self._path = path
        self._part = _part_of(path, file)
        self._private = private
        self._hash = hashlib.sha256()
        self._resumed = False
        self.received = 0
        """The number of bytes downloaded so far."""
        self.done = False
        """Whether it is complete, verified and under its final name."""

    def __enter__(self) -> Self:
        if self._private:
            make_private_folder(self._path.parent)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._part.is_symlink():
            self._part.unlink()  # A link could lead out of the folder.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._content = os.fdopen(os.open(self._part, flags, 0o666), "r+b")
        if self._private:
            self._part.chmod(FILE_MODE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._content.close()
        if isinstance(error, DataLoss):  # The bytes may be of a damaged file.
            self._part.unlink(missing_ok=True)

    def take_held(self) -> None:
        """Return the size of the partial file; discard one that is too long for this file."""
        self._hash = hashlib.file_digest(self._content, "sha256")
        self.received = self._content.tell()
        self._resumed = self.received > 0
        if self.received > self._file.size_bytes:
            self._restart()

    def write(self, chunk: bytes) -> None:
        """Append the next bytes.

        Raises:
            DigestMismatch: the file would exceed its size; the partial file is removed.
        """
        if self.received + len(chunk) > self._file.size_bytes:
            self._part.unlink(missing_ok=True)
            raise DigestMismatch(
                f"{self._path.name} exceeds its {self._file.size_bytes:,} bytes; download it again",
                expected=self._file.sha256,
            )
        self._hash.update(chunk)
        self._content.write(chunk)
        self.received += len(chunk)

    def finish(self) -> None:
        """Verify the file and rename it; an invalid partial file of an earlier process is downloaded from the
        beginning.

        Raises:
            DigestMismatch: the downloaded bytes are not those registered; they are removed.
        """
        if self._hash.hexdigest() == self._file.sha256:
            self._name()
            self.done = True
        elif self._resumed:
            self._restart()
        else:
            self._part.unlink(missing_ok=True)
            raise self._mismatch()

    def _name(self) -> None:
        """Rename the file; a private file must also survive a power failure."""
        self._content.flush()
        if self._private:
            os.fsync(self._content.fileno())
        self._content.close()
        with suppress(FileNotFoundError):  # A concurrent download of the file finished first.
            self._part.replace(self._path)
        if self._private:
            sync_folder(self._path.parent)

    def _restart(self) -> None:
        self._content.seek(0)
        self._content.truncate()
        self._hash, self.received, self._resumed = hashlib.sha256(), 0, False

    def _mismatch(self) -> DigestMismatch:
        actual = self._hash.hexdigest()
        return DigestMismatch(
            f"{self._path.name} arrived with SHA-256 {actual}, not {self._file.sha256}; download it again",
            expected=self._file.sha256,
            actual=actual,
        )


def describe_file(path: Path, name: str) -> ArtifactFile:
    with path.open("rb") as file:
        return ArtifactFile(name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def holds(path: Path, file: ArtifactFile) -> bool:
    """Return whether a file exists and matches its size and digest."""
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    return describe_file(path, file.path).sha256 == file.sha256


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder.

    Raises:
        InvalidField: the name, or a link in the folder, would lead out of it.
    """
    check_name(name)
    path = folder.joinpath(*name.split("/"))
    try:
        leads_out = not path.parent.resolve().is_relative_to(folder.resolve())
    except RuntimeError:  # A loop of links.
        leads_out = True
    if leads_out:
        raise InvalidField(FieldViolation("path", f"a link in {folder} leads {name!r} out of it; remove the link"))
    return path


def check_room(folder: Path, files: Sequence[ArtifactFile]) -> None:
    """Check that the disk has room for the missing files, by the sizes that the server announces.

    Raises:
        ResourceExhausted: it has not.
    """
    lacking = sum(file.size_bytes for file in files if _size(folder / file.path) != file.size_bytes)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if lacking > free:
        raise ResourceExhausted(f"{folder} lacks {lacking:,} bytes of the files; its disk has {free:,} bytes free")


def transfer_seconds(files: Sequence[ArtifactFile]) -> float:
    """Return the timeout of a transfer at the minimum speed."""
    return sum(file.size_bytes for file in files) / MIN_BYTES_PER_SECOND


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _part_of(path: Path, file: ArtifactFile) -> Path:
    """Return the path of the partial file; the usual name may be too long, or that of a folder."""
    part = path.with_name(f"{path.name}.part")
    fits = len(os.fsencode(part.name)) <= MAX_PART_BYTES and not part.is_dir()
    return part if fits else path.with_name(f"{file.sha256}.part")
