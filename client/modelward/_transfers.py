"""Files on their way to the server and back, each from where the last attempt broke off."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from modelward.errors import ConcurrentChange, DigestMismatch, FieldViolation, InvalidField
from modelward.lifecycle import ArtifactFile
from modelward.v1 import lifecycle_pb2 as pb

CHUNK_BYTES = 1 << 20
"""Bytes of a file in one message, well under gRPC's limit of 4 MiB."""

MESSAGE_BYTES = 3 << 20
"""From this size on the tables of a request are uploaded beforehand; gRPC takes 4 MiB."""

Rest = tuple[ArtifactFile, int]
"""A file, and how many of its bytes the server has."""


def upload_header(file: ArtifactFile, offset: int = 0) -> pb.UploadBlobsRequest:
    header = pb.BlobHeader(sha256=file.sha256, size_bytes=file.size_bytes, offset=offset)
    return pb.UploadBlobsRequest(header=header)


def rest_of(files: Sequence[ArtifactFile], answer: pb.UploadBlobsResponse) -> list[Rest]:
    """Return what the server lacks, each content once."""
    lacking = {
        file.sha256: (file, blob.received_bytes)
        for file, blob in zip(files, answer.blobs, strict=True)
        if not blob.complete
    }
    return list(lacking.values())


def upload_parts(folder: Path, rest: Iterable[Rest]) -> Iterator[pb.UploadBlobsRequest]:
    """Give the messages that upload files: of each its header, then the bytes that the server lacks."""
    for file, offset in rest:
        yield upload_header(file, offset)
        with (folder / file.path).open("rb") as content:
            content.seek(offset)
            while chunk := content.read(CHUNK_BYTES):
                yield pb.UploadBlobsRequest(chunk=chunk)


def late_arrival(error: InvalidField) -> ConcurrentChange | None:
    """Return what to retry on, if the end of an upload that broke off came in after the server had been asked."""
    if any(violation.field == "header.offset" for violation in error.violations):
        return ConcurrentChange(error.message)
    return None


class IncomingFile:
    """A file that is being downloaded, as `<path>.part` until it is verified. Use it in a `with` block.

    The part may stem from an earlier process. Should two write it at once, they write the same bytes to the same
    places.
    """

    def __init__(self, path: Path, file: ArtifactFile) -> None:
        self._file = file
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._hash = hashlib.sha256()
        self._resumed = False
        self.received = 0
        """How many bytes are here."""
        self.done = False
        """Whether it is whole, verified and has its name."""

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._part.is_symlink():
            self._part.unlink()  # It could lead out of the folder.
        self._part.touch()
        self._content = self._part.open("r+b")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._content.close()

    def take_held(self) -> None:
        """Count what is here already; what is too long cannot be of this file."""
        self._hash = hashlib.file_digest(self._content, "sha256")
        self.received = self._content.tell()
        self._resumed = self.received > 0
        if self.received > self._file.size_bytes:
            self._restart()

    def write(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._content.write(chunk)
        self.received += len(chunk)

    def finish(self) -> None:
        """Verify the file and give it its name; a part from elsewhere that does not hold is begun anew.

        Raises:
            DigestMismatch: what arrived is not what was registered; it is removed.
        """
        if self._hash.hexdigest() == self._file.sha256:
            self._content.close()
            with suppress(FileNotFoundError):  # Another download of it was faster.
                self._part.replace(self._path)
            self.done = True
        elif self._resumed:
            self._restart()
        else:
            self._part.unlink(missing_ok=True)
            raise self._mismatch()

    def _restart(self) -> None:
        self._content.seek(0)
        self._content.truncate()
        self._hash, self.received, self._resumed = hashlib.sha256(), 0, False

    def _mismatch(self) -> DigestMismatch:
        actual = self._hash.hexdigest()
        return DigestMismatch(
            f"{self._path.name} came with SHA-256 {actual}, not {self._file.sha256}; download it again",
            expected=self._file.sha256,
            actual=actual,
        )


def describe_file(path: Path, name: str) -> ArtifactFile:
    with path.open("rb") as file:
        return ArtifactFile(name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def holds(path: Path, file: ArtifactFile) -> bool:
    """Tell whether a file is there and is what it should be."""
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    return describe_file(path, file.path).sha256 == file.sha256


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder.

    Raises:
        InvalidField: the name, or a link that is in the folder, would lead out of it.
    """
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in name:
        raise InvalidField(FieldViolation("path", f"{name!r} leads out of the folder"))
    path = folder.joinpath(*parts)
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise InvalidField(FieldViolation("path", f"a link in {folder} leads {name!r} out of it; remove the link"))
    return path
