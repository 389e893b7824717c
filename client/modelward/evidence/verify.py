"""Verification of evidence packs without a server: signatures, digests, and proofs that records are in the audit log.

It needs the extra `verify`, and reads the pack in pieces.
"""

import base64
import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from modelward._record import Record, counted
from modelward.evidence.envelopes import DefectError, check_written, read_key, verified
from modelward.evidence.layout import (
    ENVELOPE,
    FILES,
    FORMAT,
    HEAD,
    HEAD_TYPE,
    MANIFEST,
    ORIGIN,
    RECORDS,
    STATEMENT_TYPE,
    VERSION,
)
from modelward.evidence.merkle import includes, leaf_hash
from modelward.evidence.zip_structure import check_directory, structure_defects
from modelward.lifecycle import ArtifactFile, AuditRecord
from modelward.shared.manifest import manifest_digest
from modelward.shared.record_hash import record_hash

READ_BYTES = 1 << 20
MAX_TEXT_BYTES = 256 << 20
"""The largest JSON file of a pack that is read into memory."""
MAX_UNSIGNED_BYTES = 16 << 20
"""The same of the files that are read before a signature is verified: the manifest and envelopes."""


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
    return _verified_pack(path, [] if public_key is None else [read_key(public_key)])


def verify_foreign_pack(path: Path, keys: Sequence[Any], max_bytes: int) -> PackVerification:
    """Verify a pack of anybody: what no trusted key has signed is neither unpacked beyond a limit nor parsed.

    Args:
        path: the ZIP file.
        keys: the trusted public keys, as `modelward.evidence.envelopes.public_key` returns them.
        max_bytes: how many bytes its files may have in all when they are unpacked.

    Returns:
        What it says, and what is wrong; a pack without a signature of these keys is never intact.
    """
    return _verified_pack(path, keys, max_bytes)


def _verified_pack(path: Path, keys: Sequence[Any], max_bytes: int | None = None) -> PackVerification:
    try:
        with path.open("rb") as file:
            check_directory(file)
            with zipfile.ZipFile(file) as opened:
                return _Verifier(opened, file, keys, max_bytes).run()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return PackVerification((), 0, 0, "", (f"{path.name}: is no readable ZIP file: {error}",))


class _Verifier:
    """Verifies one pack.

    Args:
        pack: the ZIP file.
        file: its bytes.
        keys: public keys, one of which must have signed it; none: signatures are not verified.
        max_bytes: how many bytes its files may have in all; None for any number, and to read on without a signature.
    """

    def __init__(self, pack: zipfile.ZipFile, file: IO[bytes], keys: Sequence[Any], max_bytes: int | None) -> None:
        self._pack, self._file_bytes, self._keys, self._max_bytes = pack, file, keys, max_bytes
        self._names = [one.filename for one in pack.infolist()]
        self._known = set(self._names)
        self._defects: list[str] = []
        self._digests: dict[str, str] = {}
        self._records = 0

    def run(self) -> PackVerification:
        manifest = self._attempt(MANIFEST, self._manifest) or {"files": [], "versions": []}
        signed_by = self._attempt(ENVELOPE, lambda: self._signature(manifest)) or ""
        if self._attempt(MANIFEST, lambda: self._check_size(manifest)):
            for listed in manifest["files"]:
                self._attempt(listed["path"], lambda listed=listed: self._file(listed))
        self._unlisted(manifest)
        self._defects += structure_defects(self._pack, self._file_bytes)
        if signed_by or self._max_bytes is None:
            self._check_contents()
        return PackVerification(
            tuple(manifest["versions"]), len(self._digests), self._records, signed_by, tuple(self._defects)
        )

    def _check_contents(self) -> None:
        head = self._attempt(HEAD, self._head)
        for name in self._names:
            if name.endswith(f"/{RECORDS}") and head:
                self._attempt(name, lambda name=name: self._proofs(name, head))
            if name.endswith(f"/{VERSION}"):
                self._attempt(name, lambda name=name: self._version(name))

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
        manifest: dict[str, Any] = json.loads(self._text(MANIFEST, MAX_UNSIGNED_BYTES))
        if manifest["format"] != FORMAT:
            raise DefectError(f"has the format {manifest['format']!r}; this verifies {FORMAT}")
        if not all(isinstance(one, str) for one in manifest["versions"]):
            raise DefectError("does not list versions")
        if not all(isinstance(one["path"], str) and isinstance(one["size"], int) for one in manifest["files"]):
            raise DefectError("does not list files")
        return manifest

    def _check_size(self, manifest: dict[str, Any]) -> bool:
        size = sum(max(one["size"], 0) for one in manifest["files"])
        if self._max_bytes is not None and size > self._max_bytes:
            raise DefectError(f"lists files of {size:,} bytes; at most {self._max_bytes:,} are allowed")
        return True

    def _signature(self, manifest: dict[str, Any]) -> str:
        if ENVELOPE not in self._known:
            raise DefectError("is missing")
        statement, key_id = self._opened(ENVELOPE, STATEMENT_TYPE)
        self._check_bytes(statement["predicate"]["before_signature"])
        subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
        actual = hashlib.sha256(self._text(MANIFEST, MAX_UNSIGNED_BYTES)).hexdigest()
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
        envelope = self._text(name, MAX_UNSIGNED_BYTES)
        check_written(envelope)
        if self._keys or self._max_bytes is not None:
            return verified(envelope, kind, self._keys)
        return dict(json.loads(base64.b64decode(json.loads(envelope)["payload"], validate=True))), ""

    def _file(self, listed: dict[str, Any]) -> None:
        path, digest, size = listed["path"], hashlib.sha256(), 0
        if path not in self._known:
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
        repeated = sorted(name for name, count in Counter(self._names).items() if count > 1)
        self._defects += [f"{name}: is there more than once" for name in repeated]

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
        origin = self._digests.get(f"{folder}{ORIGIN}")
        if origin and origin != version["origin"]["pack_sha256"]:
            raise DefectError(f"was imported with another pack than {ORIGIN}")

    def _text(self, name: str, most: int = MAX_TEXT_BYTES) -> bytes:
        return read_text(self._pack, name, most)


def read_text(pack: zipfile.ZipFile, name: str, most: int = MAX_TEXT_BYTES) -> bytes:
    """Return a file of a pack.

    Raises:
        DefectError: it is too large.
        KeyError, zipfile.BadZipFile: it is missing, or damaged.
    """
    size = pack.getinfo(name).file_size
    if size > most:
        raise DefectError(f"has more than {most} bytes")
    with pack.open(name) as file:  # Unpacked at once, a file may have more bytes than it says.
        return file.read(size)


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
