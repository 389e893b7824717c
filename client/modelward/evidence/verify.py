"""Verification of evidence packs without a server: signatures, digests, and proofs that records are in the audit log.

It needs the extra `verify`, and reads the pack in pieces.
"""

import base64
import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from modelward._record import Record, counted
from modelward.errors import FieldViolation, InvalidField
from modelward.evidence.layout import (
    ENVELOPE,
    FILES,
    FORMAT,
    HEAD,
    HEAD_TYPE,
    MANIFEST,
    RECORDS,
    STATEMENT_TYPE,
    VERSION,
)
from modelward.evidence.merkle import includes, leaf_hash
from modelward.evidence.zip_structure import structure_defects
from modelward.lifecycle import ArtifactFile, AuditRecord
from modelward.shared.manifest import manifest_digest
from modelward.shared.record_hash import record_hash

READ_BYTES = 1 << 20
MAX_TEXT_BYTES = 256 << 20
"""The largest JSON file of a pack that is read into memory."""


@dataclass(frozen=True, repr=False)
class PackVerification(Record):
    """What a pack says, and what is wrong with it."""

    versions: Sequence[str]
    """The versions that it is about."""
    files: int
    """The number of its files."""
    records: int
    """The number of audit records whose proofs were checked."""
    signed_by: str
    """The id of the key that signed it; empty if no signature was verified."""
    defects: Sequence[str]
    """What is wrong, each beginning with the file; empty if nothing is."""

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.defects

    def _describe(self) -> str:
        return f"{counted(len(self.versions), 'version')}, {counted(len(self.defects), 'defect')}"


def verify_pack(path: Path, public_key: Path | None = None) -> PackVerification:
    """Verify a pack.

    Args:
        path: the ZIP file.
        public_key: the public key of the server that made it, in PEM; None: signatures are not verified, which is a
            defect only if the pack is not as it was made.

    Returns:
        What it says, and what is wrong.

    Raises:
        InvalidField: the key cannot be read.
    """
    key = None if public_key is None else _key(public_key)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as opened:
            return _Verifier(opened, file, key).run()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return PackVerification((), 0, 0, "", (f"{path.name}: is no readable ZIP file: {error}",))


class DefectError(Exception):
    """Something is wrong with a file of a pack."""


class _Verifier:
    """Verifies one pack."""

    def __init__(self, pack: zipfile.ZipFile, file: IO[bytes], key: Any) -> None:
        self._pack, self._file_bytes, self._key = pack, file, key
        self._names = [one.filename for one in pack.infolist()]
        self._defects: list[str] = []
        self._digests: dict[str, str] = {}
        self._records = 0

    def run(self) -> PackVerification:
        manifest = self._attempt(MANIFEST, self._manifest) or {"files": [], "versions": []}
        signed_by = self._attempt(ENVELOPE, lambda: self._signature(manifest)) or ""
        for listed in manifest["files"]:
            self._attempt(listed["path"], lambda listed=listed: self._file(listed))
        self._unlisted(manifest)
        self._defects += structure_defects(self._pack, self._file_bytes)
        head = self._attempt(HEAD, self._head)
        for name in self._names:
            if name.endswith(f"/{RECORDS}") and head:
                self._attempt(name, lambda name=name: self._proofs(name, head))
            if name.endswith(f"/{VERSION}"):
                self._attempt(name, lambda name=name: self._version(name))
        return PackVerification(
            tuple(manifest["versions"]), len(self._digests), self._records, signed_by, tuple(self._defects)
        )

    def _attempt(self, name: str, check: Any) -> Any:
        try:
            return check()
        except DefectError as error:
            self._defects.append(f"{name}: {error}")
        except (KeyError, TypeError, ValueError, AttributeError, zipfile.BadZipFile, OSError, EOFError) as error:
            self._defects.append(f"{name}: cannot be read: {error}")
        except Exception as error:  # zlib's own, for content that was changed.
            self._defects.append(f"{name}: cannot be read: {type(error).__name__}: {error}")
        return None

    def _manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(self._text(MANIFEST))
        if manifest["format"] != FORMAT:
            raise DefectError(f"has the format {manifest['format']!r}; this verifies {FORMAT}")
        if not all(isinstance(one, str) for one in manifest["versions"]):
            raise DefectError("does not list versions")
        if not all(isinstance(one["path"], str) and isinstance(one["size"], int) for one in manifest["files"]):
            raise DefectError("does not list files")
        return manifest

    def _signature(self, manifest: dict[str, Any]) -> str:
        if ENVELOPE not in self._names:
            raise DefectError("is missing")
        statement, key_id = self._opened(ENVELOPE, STATEMENT_TYPE)
        self._check_bytes(statement["predicate"]["before_signature"])
        subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
        actual = hashlib.sha256(self._text(MANIFEST)).hexdigest()
        if subjects.get(MANIFEST) != actual:
            raise DefectError(f"signs another manifest than {MANIFEST}, whose SHA-256 is {actual}")
        if set(subjects) - {MANIFEST} != set(manifest["versions"]):
            raise DefectError("signs other versions than the manifest lists")
        return key_id

    def _check_bytes(self, before: dict[str, Any]) -> None:
        """Check all bytes of the ZIP before the signature, also those that belong to no file."""
        digest, left = hashlib.sha256(), int(before["bytes"])
        if self._names[-1] != ENVELOPE or self._pack.infolist()[-1].header_offset != left:
            raise DefectError("is not at its place at the end of the ZIP")
        self._file_bytes.seek(0)
        while left and (chunk := self._file_bytes.read(min(READ_BYTES, left))):
            digest.update(chunk)
            left -= len(chunk)
        if digest.hexdigest() != before["sha256"]:
            raise DefectError(
                "signs other bytes of the ZIP before it; of those that belong to a file, the file is named"
            )

    def _opened(self, name: str, kind: str) -> tuple[dict[str, Any], str]:
        """Return what an envelope of the pack says, and the id of the key; without a key it is not verified."""
        _check_written(self._text(name))
        if self._key is not None:
            return _verified(self._text(name), kind, self._key)
        return dict(json.loads(base64.b64decode(json.loads(self._text(name))["payload"], validate=True))), ""

    def _file(self, listed: dict[str, Any]) -> None:
        path, digest, size = listed["path"], hashlib.sha256(), 0
        if path not in self._names:
            raise DefectError("is missing")
        with self._pack.open(path) as file:
            while chunk := file.read(READ_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if size > listed["size"]:
                    raise DefectError(f"has more than the {listed['size']} bytes of the manifest")
        self._digests[path] = digest.hexdigest()
        if size != listed["size"] or digest.hexdigest() != listed["sha256"]:
            raise DefectError(
                f"was changed: its SHA-256 is {digest.hexdigest()}, and the manifest has {listed['sha256']}"
            )

    def _unlisted(self, manifest: dict[str, Any]) -> None:
        known = {one["path"] for one in manifest["files"]} | {MANIFEST, ENVELOPE}
        self._defects += [f"{name}: is not in the manifest" for name in self._names if name not in known]
        repeated = {name for name in self._names if self._names.count(name) > 1}
        self._defects += [f"{name}: is there more than once" for name in sorted(repeated)]

    def _head(self) -> dict[str, Any]:
        return self._opened(HEAD, HEAD_TYPE)[0]

    def _proofs(self, name: str, head: dict[str, Any]) -> None:
        root, size = bytes.fromhex(head["root"]), int(head["records"])
        for entry in json.loads(self._text(name)):
            record = _record(entry["record"])
            if record_hash(record) != record.hash:
                raise DefectError(f"record {record.sequence} was changed: its content does not match its hash")
            leaf, proof = leaf_hash(bytes.fromhex(record.hash)), [bytes.fromhex(one) for one in entry["proof"]]
            if not includes(leaf, record.sequence - 1, size, proof, root):
                raise DefectError(f"record {record.sequence} is not proved to be in the audit log of {HEAD}")
            self._records += 1

    def _version(self, name: str) -> None:
        """Check that the files in the pack are those of the version."""
        version, folder = json.loads(self._text(name)), name.removesuffix(VERSION)
        files = [_artifact(one) for one in version.get("files", [])]
        if manifest_digest(files) != version["digest"]:
            raise DefectError("has another digest than its files")
        own = {file.path: file.sha256 for file in files}
        for path, digest in self._digests.items():
            if path.startswith(f"{folder}{FILES}/") and own.get(path.removeprefix(f"{folder}{FILES}/")) != digest:
                raise DefectError(f"does not have {path} among its files")

    def _text(self, name: str) -> bytes:
        if self._pack.getinfo(name).file_size > MAX_TEXT_BYTES:
            raise DefectError(f"has more than {MAX_TEXT_BYTES} bytes")
        return self._pack.read(name)


def _check_written(envelope: bytes) -> None:
    """Check that an envelope is written in the only way in which the server writes it: base64 has others.

    Raises:
        DefectError: it is not.
    """
    read = json.loads(envelope)
    texts = [read["payload"], *(one["sig"] for one in read["signatures"])]
    same = all(base64.b64encode(base64.b64decode(text)).decode() == text for text in texts)
    if not same or json.dumps(read, sort_keys=True).encode() != envelope:
        raise DefectError("was changed: it is not written as the server writes it")


def _verified(envelope: bytes, kind: str, key: Any) -> tuple[dict[str, Any], str]:
    """Return what an envelope signs, and the id of the key.

    Raises:
        DefectError: no signature of the key is valid, or it is of another kind.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    opened = Envelope.from_dict(json.loads(envelope))
    if not opened.signatures:
        raise DefectError("is not signed")
    if opened.payload_type != kind:
        raise DefectError(f"signs {opened.payload_type!r} in place of {kind!r}")
    try:
        accepted = opened.verify([key], 1)
    except VerificationError:
        raise DefectError("is not signed by this key, or was changed after it was") from None
    return json.loads(opened.payload), next(iter(accepted))


def _key(path: Path) -> Any:
    """Read a public key.

    Raises:
        InvalidField: it cannot be read.
    """
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from securesystemslib.signer import SSlibKey
    except ModuleNotFoundError as error:
        fix = f"needs {error.name}: pip install 'modelward[verify]'"
        raise InvalidField(FieldViolation("public_key", fix)) from None
    try:
        read: Any = load_pem_public_key(path.read_bytes())
        return SSlibKey.from_crypto(read)
    except (OSError, ValueError) as error:
        raise InvalidField(FieldViolation("public_key", f"{path} is no public key in PEM: {error}")) from None


def _record(read: dict[str, Any]) -> AuditRecord:
    return AuditRecord(
        sequence=int(read["sequence"]),
        happened_at=datetime.fromisoformat(read["happened_at"]),
        actor=read.get("actor", ""),
        kind=read["kind"],
        model=read.get("model", ""),
        version=int(read.get("version", 0)),
        payload=read["payload"],
        previous_hash=read["previous_hash"],
        hash=read["hash"],
    )


def _artifact(read: dict[str, Any]) -> ArtifactFile:
    return ArtifactFile(read["path"], int(read.get("size_bytes", 0)), read["sha256"])
