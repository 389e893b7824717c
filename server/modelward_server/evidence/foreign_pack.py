"""The version in an evidence pack of another registry, which a trusted key has signed."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from modelward.errors import ExtraMissing, FieldViolation, InvalidField
from modelward.evidence.envelopes import DefectError, public_key
from modelward.evidence.layout import FILES, GIVEN_SIGNATURE, HEAD, MANIFEST, MODEL, RECORDS, VERSION
from modelward.evidence.verify import PackVerification, read_text, verify_foreign_pack
from modelward.evidence.zip_structure import READ_BYTES
from modelward.lifecycle import Origin
from modelward.shared.convert.common import time_from_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.storage.audit import Kind
from modelward_server.storage.blobs import BlobStore

FIELD = "pack"
MAX_DEFECTS = 20
"""Maximum number of defects that are reported: the trailers of a call hold a few thousand bytes."""

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class ForeignVersion:
    """What a verified pack says of its version."""

    version: pb.ModelVersion
    model: pb.Model
    bundle: bytes
    """The bundle of a signature over its files; empty if it has none."""
    origin: Origin


class ForeignPack:
    """A pack with one version, which may be of anybody until `read` has verified it.

    Args:
        path: the ZIP file, a blob.
        blobs: where the version's files are stored.
    """

    def __init__(self, path: Path, blobs: BlobStore) -> None:
        self._path, self._blobs = path, blobs

    def read(self, keys: Sequence[bytes], max_bytes: int) -> ForeignVersion:
        """Verify the pack, store the version's files, and return what it says.

        Args:
            keys: the trusted public keys, in PEM.
            max_bytes: how many bytes its files may have in all when they are unpacked.

        Raises:
            InvalidField: the pack is damaged or not signed by one of these keys, or has another number of versions than
                one, or not all files of the version.
            ExtraMissing: the extra `signing` is not installed.
        """
        found = verify_foreign_pack(self._path, _loaded(keys), max_bytes)
        if found.defects:
            raise refused(*found.defects[:MAX_DEFECTS])
        if len(found.versions) != 1:
            raise refused(f"has {len(found.versions)} versions; export the one that you want by its name")
        with zipfile.ZipFile(self._path) as opened:
            read = _Contents(opened, f"versions/{found.versions[0]}/")
            version = read.message(VERSION, pb.ModelVersion())
            self._store(read, version)
            bundle = read.text(GIVEN_SIGNATURE) if read.has(GIVEN_SIGNATURE) else b""
            return ForeignVersion(version, read.message(MODEL, pb.Model()), bundle, self._origin(read, version, found))

    def _store(self, read: _Contents, version: pb.ModelVersion) -> None:
        for file in version.files:
            if not read.has(f"{FILES}/{file.path}"):
                raise refused(f"{read.folder}{FILES}/{file.path}: is missing; export the pack with the version's files")
            if not self._blobs.is_whole(file.sha256, file.size_bytes):
                self._blobs.put_chunks(file.sha256, file.size_bytes, read.chunks(f"{FILES}/{file.path}"))

    def _origin(self, read: _Contents, version: pb.ModelVersion, found: PackVerification) -> Origin:
        record, head = read.registration(version), read.head()
        return Origin(
            source_model=version.model,
            source_version=version.version,
            registrants=tuple(sorted({version.created_by, *version.origin.registrants})),
            registered_at=time_from_proto(version.created_at),
            registration_hash=record["hash"],
            registration_sequence=int(record["sequence"]),
            key_id=found.signed_by,
            pack_sha256=self._path.name,
            pack_bytes=self._path.stat().st_size,
            exported_at=read.made_at(),
            log_records=int(head["records"]),
            log_root=head["root"],
        )


class _Contents:
    """Reads the files about a version from a verified pack."""

    def __init__(self, opened: zipfile.ZipFile, folder: str) -> None:
        self._opened, self.folder = opened, folder
        self._names = set(opened.namelist())

    def has(self, name: str) -> bool:
        return f"{self.folder}{name}" in self._names

    def text(self, name: str) -> bytes:
        with _reading(self.folder + name):
            return read_text(self._opened, self.folder + name)

    def message(self, name: str, empty: M) -> M:
        """Return a message of the contract; fields that only a newer server knows are left out."""
        with _reading(self.folder + name):
            return ParseDict(json.loads(self.text(name)), empty, ignore_unknown_fields=True)

    def chunks(self, name: str) -> Iterator[bytes]:
        with self._opened.open(self.folder + name) as file:
            yield from iter(partial(file.read, READ_BYTES), b"")

    def registration(self, version: pb.ModelVersion) -> dict[str, Any]:
        """Return the record of the registration of a version, which must say the same as the version."""
        with _reading(self.folder + RECORDS):
            for record in (entry["record"] for entry in json.loads(self.text(RECORDS))):
                if (record["kind"], record["model"], record.get("version")) != _registered(version):
                    continue
                said = json.loads(record["payload"])
                if (said["digest"], said["created_by"]) == (version.digest, version.created_by):
                    return dict(record)
        raise refused(f"{self.folder}{RECORDS}: has no record of the registration of this version")

    def head(self) -> dict[str, Any]:
        with _reading(HEAD):
            return dict(json.loads(base64.b64decode(json.loads(read_text(self._opened, HEAD))["payload"])))

    def made_at(self) -> datetime:
        with _reading(MANIFEST):
            return datetime.fromisoformat(json.loads(read_text(self._opened, MANIFEST))["made_at"])


def refused(*defects: str) -> InvalidField:
    """Return the error about a pack, each defect beginning with the file that it is about."""
    return InvalidField(*(FieldViolation(FIELD, defect) for defect in defects))


def _registered(version: pb.ModelVersion) -> tuple[str, str, int]:
    return Kind.REGISTERED, version.model, version.version


def _loaded(keys: Sequence[bytes]) -> list[Any]:
    try:
        return list(map(public_key, keys))
    except ModuleNotFoundError as error:
        fix = f"evidence packs need {error.name}, which the server lacks: pip install 'modelward[signing]'"
        raise ExtraMissing(fix, extra="signing") from None


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Name the file of which the content has another form than this server writes."""
    try:
        yield
    except (DefectError, ParseError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise refused(f"{name}: cannot be read: {error}") from None
