"""Verification of evidence packs without a server: signatures, digests, and proofs that records are in the audit log.

It needs the extra `verify`, and reads the pack in pieces.
"""

import base64
import hashlib
import json
import sys
import zipfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from modelward._argument_types import argument_type, as_path
from modelward._record import Record, counted
from modelward.evidence.envelopes import DefectError, check_written, read_public_keys, verified
from modelward.evidence.layout import (
    ENVELOPE,
    FILES,
    FORMAT,
    GIVEN_SIGNATURE,
    HEAD,
    HEAD_TIMESTAMP,
    HEAD_TYPE,
    MANIFEST,
    ORIGIN,
    RECORDS,
    SEAL,
    SERVER_SIGNATURE,
    STATEMENT_TYPE,
    TIMESTAMP,
    VERSION,
)
from modelward.evidence.merkle import includes, leaf_hash
from modelward.evidence.pack_json import artifact_from_json, record_from_json
from modelward.evidence.pack_signatures import FileSignatures, PackSignature, read_keys
from modelward.evidence.timestamp import PackTimestamp, TimestampError, read_roots, read_timestamp, verify_timestamp
from modelward.evidence.zip_structure import READ_BYTES, check_directory, digest_until, structure_defects
from modelward.shared.manifest import manifest_digest
from modelward.shared.record_hash import record_hash

MAX_TEXT_BYTES = 256 << 20
"""The largest JSON file of a pack that is read into memory."""
MAX_FOREIGN_BYTES = 16 << 20
"""The same of the files of a pack of anybody that are read before a signature is verified: manifest and envelopes."""
LAST_CHARACTER = chr(sys.maxunicode)


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
    timestamps: Sequence[PackTimestamp] = ()
    """Its time stamps."""
    signatures: Sequence[PackSignature] = ()
    """Signatures over the versions' files."""

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.defects

    def _describe(self) -> str:
        return f"{counted(len(self.versions), 'version')}, {counted(len(self.defects), 'defect')}"


def verify_pack(
    path: Path | str,
    public_key: Path | str | None = None,
    *,
    timestamp_roots: Path | str | None = None,
    signer_keys: Sequence[Path | str] = (),
) -> PackVerification:
    """Verify a pack.

    Args:
        path: the ZIP file.
        public_key: the public key of the server that made it, in PEM, or several of them, such as that before a
            rotation and the one after it; None: signatures are not verified, which is a
            defect only if the pack is not as it was made.
        timestamp_roots: certificates of the time-stamp authorities that are trusted, in PEM; a pack without time stamps
            is then a defect. None: time stamps are read and not verified.
        signer_keys: public keys of those who may sign models, in PEM; a signature with which a version was registered
            is then a defect if none of them made it. Empty: these signatures are not verified.

    Returns:
        What it says, and what is wrong.

    Raises:
        InvalidField: a key or the certificates cannot be read, or an argument is no path.
    """
    pack, signers = as_path(path, "path"), argument_type(Sequence[Path]).convert(signer_keys, "signer_keys")
    keys = {} if public_key is None else read_public_keys(as_path(public_key, "public_key"))
    roots = () if timestamp_roots is None else read_roots(as_path(timestamp_roots, "timestamp_roots"))
    return _verified_pack(pack, _Trusted(tuple(keys.values()), roots, tuple(keys), read_keys(signers)))


def verify_foreign_pack(path: Path, keys: Sequence[Any], max_bytes: int) -> PackVerification:
    """Verify a pack of anybody: what no trusted key has signed is neither unpacked beyond a limit nor parsed.

    Args:
        path: the ZIP file.
        keys: the trusted public keys, as `modelward.evidence.envelopes.public_key` returns them.
        max_bytes: how many bytes its files may have in all when they are unpacked.

    Returns:
        What it says, and what is wrong; a pack without a signature of these keys is never intact.
    """
    return _verified_pack(path, _Trusted(keys), max_bytes)


def _verified_pack(path: Path, trusted: "_Trusted", max_bytes: int | None = None) -> PackVerification:
    try:
        with path.open("rb") as file:
            check_directory(file, is_foreign=max_bytes is not None)
            with zipfile.ZipFile(file) as opened:
                return _Verifier(opened, file, trusted, max_bytes).run()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return PackVerification((), 0, 0, "", (f"{path.name}: is no readable ZIP file: {error}",))


@dataclass(frozen=True)
class _Trusted:
    """Whom a verifier trusts."""

    keys: Sequence[Any]
    """Keys of securesystemslib, one of which must have signed a pack; empty: signatures are not verified."""
    timestamp_roots: Sequence[Any] = ()
    """Certificates of time-stamp authorities; empty: time stamps are not verified."""
    server_keys: Sequence[bytes] = ()
    """The server's key in PEM, for its signatures over files."""
    signer_keys: Sequence[bytes] = ()
    """The keys of signers in PEM; empty: their signatures over files are not verified."""


class _Verifier:
    """Verifies one pack.

    Args:
        pack: the ZIP file.
        file: its bytes.
        trusted: the keys and certificates that are trusted.
        max_bytes: how many bytes its files may have in all; None for any number, and to read on without a signature.
    """

    def __init__(self, pack: zipfile.ZipFile, file: IO[bytes], trusted: _Trusted, max_bytes: int | None) -> None:
        self._pack, self._file_bytes, self._trusted, self._max_bytes = pack, file, trusted, max_bytes
        self._max_unsigned = MAX_TEXT_BYTES if max_bytes is None else MAX_FOREIGN_BYTES
        self._names = [one.filename for one in pack.infolist()]
        self._sorted = sorted(self._names)
        self._known = set(self._names)
        self._defects: list[str] = []
        self._digests: dict[str, str] = {}
        self._records = 0
        self._timestamps: list[PackTimestamp] = []
        self._signatures: list[PackSignature] = []

    def run(self) -> PackVerification:
        manifest = self._attempt(MANIFEST, self._manifest) or {"files": [], "versions": []}
        signed_by = self._attempt(ENVELOPE, lambda: self._signature(manifest)) or ""
        if self._attempt(MANIFEST, lambda: self._check_size(manifest)):
            for listed in manifest["files"]:
                self._attempt(listed["path"], lambda listed=listed: self._file(listed))
        self._unlisted(manifest, self._attempt(SEAL, self._seal) or [])
        self._defects += structure_defects(self._pack, self._file_bytes)
        if signed_by or self._max_bytes is None:
            self._check_contents()
        found = tuple(manifest["versions"]), len(self._digests), self._records, signed_by, tuple(self._defects)
        return PackVerification(*found, tuple(self._timestamps), tuple(self._signatures))

    def _check_contents(self) -> None:
        head = self._attempt(HEAD, self._head)
        for stamp, of in ((HEAD_TIMESTAMP, HEAD), (TIMESTAMP, ENVELOPE)):
            self._attempt(stamp, lambda stamp=stamp, of=of: self._timestamp(stamp, of))
        for name in self._of_versions(RECORDS) if head else ():
            self._attempt(name, lambda name=name: self._proofs(name, head))
        for name in self._of_versions(VERSION):
            self._attempt(name, lambda name=name: self._version(name))
            self._file_signatures(name)

    def _of_versions(self, name: str) -> Iterator[str]:
        """Yield the paths of this file about each version; a version's own files may have the name too."""
        return (path for path in self._names if path.count("/") == 3 and path.endswith(f"/{name}"))

    def _attempt(self, name: str, check: Any) -> Any:
        try:
            return check()
        except (DefectError, TimestampError) as error:
            self._defects.append(f"{name}: {error}")
        except (KeyError, TypeError, ValueError, AttributeError, zipfile.BadZipFile, OSError, EOFError) as error:
            self._defects.append(f"{name}: cannot be read: {error}")
        except Exception as error:  # zlib's own, for content that was changed.
            self._defects.append(f"{name}: cannot be read: {type(error).__name__}: {error}")
        return None

    def _manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(self._text(MANIFEST, self._max_unsigned))
        if manifest["format"] != FORMAT:
            raise DefectError(f"has the format {manifest['format']!r}; this verifies {FORMAT}")
        if not all(isinstance(one, str) for one in manifest["versions"]):
            raise DefectError("does not list versions")
        if not all(isinstance(one["path"], str) and isinstance(one["size"], int) for one in manifest["files"]):
            raise DefectError("does not list files")
        if len({one["path"] for one in manifest["files"]}) < len(manifest["files"]):
            raise DefectError("lists a file more than once")
        return manifest

    def _check_size(self, manifest: dict[str, Any]) -> bool:
        size = sum(max(one["size"], 0) for one in manifest["files"])
        if self._max_bytes is not None and size > self._max_bytes:
            raise DefectError(f"lists files of {size:,} bytes; at most {self._max_bytes:,} are allowed")
        return True

    def _signature(self, manifest: dict[str, Any]) -> str:
        statement, key_id = self._opened(ENVELOPE, STATEMENT_TYPE)
        subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
        actual = hashlib.sha256(self._text(MANIFEST, self._max_unsigned)).hexdigest()
        if subjects.get(MANIFEST) != actual:
            raise DefectError(f"signs another manifest than {MANIFEST}, whose SHA-256 is {actual}")
        if set(subjects) - {MANIFEST} != set(manifest["versions"]):
            raise DefectError("signs other versions than the manifest lists")
        return key_id

    def _seal(self) -> list[str]:
        """Check the files that the manifest cannot list, and all bytes of the ZIP; return these files."""
        statement, _ = self._opened(SEAL, STATEMENT_TYPE)
        sealed = {str(one["name"]): one["digest"]["sha256"] for one in statement["subject"]}
        for name, digest in sealed.items():
            self._attempt(name, lambda name=name, digest=digest: self._sealed(name, digest))
        self._check_bytes(statement["predicate"])
        return list(sealed)

    def _sealed(self, name: str, digest: str) -> None:
        if name not in self._known:
            raise DefectError("is missing")
        actual = hashlib.sha256(self._text(name)).hexdigest()
        if actual != digest:
            raise DefectError(f"was changed: its SHA-256 is {actual}, and {SEAL} has {digest}")

    def _check_bytes(self, before: dict[str, Any]) -> None:
        """Check all bytes of the ZIP before the seal, also those that belong to no file."""
        end = int(before["bytes"])
        if self._names[-1] != SEAL or self._pack.infolist()[-1].header_offset != end:
            raise DefectError("is not at its place at the end of the ZIP")
        if digest_until(self._file_bytes, end) != before["sha256"]:
            raise DefectError(
                "signs other bytes of the ZIP before it; of those that belong to a file, the file is named"
            )

    def _timestamp(self, name: str, of: str) -> None:
        roots = self._trusted.timestamp_roots
        if name in self._known:
            response, content = self._text(name), self._text(of)
            time = verify_timestamp(response, content, roots) if roots else read_timestamp(response, content)
            self._timestamps.append(PackTimestamp(name, of, time, verified=bool(roots)))
        elif roots:
            raise DefectError(f"is missing: {of} has no time stamp")

    def _opened(self, name: str, kind: str) -> tuple[dict[str, Any], str]:
        """Return what an envelope of the pack says, and the id of the key; without a key it is not verified."""
        if name not in self._known:
            raise DefectError("is missing")
        envelope = self._text(name, self._max_unsigned)
        check_written(envelope)
        if self._trusted.keys or self._max_bytes is not None:
            return verified(envelope, kind, self._trusted.keys)
        return dict(json.loads(base64.b64decode(json.loads(envelope)["payload"], validate=True))), ""

    def _file(self, listed: dict[str, Any]) -> None:
        path, digest, size = listed["path"], hashlib.sha256(), 0
        if path not in self._known:
            raise DefectError("is missing")
        with self._pack.open(path) as file:
            while chunk := file.read(min(READ_BYTES, max(listed["size"] - size, 0) + 1)):
                digest.update(chunk)
                size += len(chunk)
                if size > listed["size"]:
                    raise DefectError(f"has more than the {listed['size']} bytes of the manifest")
        self._digests[path] = digest.hexdigest()
        if size != listed["size"] or digest.hexdigest() != listed["sha256"]:
            raise DefectError(
                f"was changed: its SHA-256 is {digest.hexdigest()}, and the manifest has {listed['sha256']}"
            )

    def _unlisted(self, manifest: dict[str, Any], sealed: Sequence[str]) -> None:
        known = {one["path"] for one in manifest["files"]} | {MANIFEST, ENVELOPE, SEAL, *sealed}
        self._defects += [f"{name}: is not in the manifest" for name in self._names if name not in known]
        repeated = sorted(name for name, count in Counter(self._names).items() if count > 1)
        self._defects += [f"{name}: is there more than once" for name in repeated]

    def _head(self) -> dict[str, Any]:
        return self._opened(HEAD, HEAD_TYPE)[0]

    def _proofs(self, name: str, head: dict[str, Any]) -> None:
        root, size = bytes.fromhex(head["root"]), int(head["records"])
        for entry in json.loads(self._text(name)):
            record = record_from_json(entry["record"])
            if record_hash(record) != record.hash:
                raise DefectError(f"record {record.sequence} was changed: its content does not match its hash")
            leaf, proof = leaf_hash(bytes.fromhex(record.hash)), [bytes.fromhex(one) for one in entry["proof"]]
            if not includes(leaf, record.sequence - 1, size, proof, root):
                raise DefectError(f"record {record.sequence} is not proved to be in the audit log of {HEAD}")
            self._records += 1

    def _version(self, name: str) -> None:
        """Check that the files in the pack are those of the version."""
        version, folder = json.loads(self._text(name)), name.removesuffix(VERSION)
        files = [artifact_from_json(one) for one in version.get("files", [])]
        if manifest_digest(files) != version["digest"]:
            raise DefectError("has another digest than its files")
        own = {file.path: file.sha256 for file in files}
        for path, digest in self._digests.items():
            if path.startswith(f"{folder}{FILES}/") and own.get(path.removeprefix(f"{folder}{FILES}/")) != digest:
                raise DefectError(f"does not have {path} among its files")
        origin = self._digests.get(f"{folder}{ORIGIN}")
        if origin and origin != version["origin"]["pack_sha256"]:
            raise DefectError(f"was imported with another pack than {ORIGIN}")

    def _file_signatures(self, name: str) -> None:
        """Check the signatures over a version's files."""
        folder, trusted = name.removesuffix(VERSION), self._trusted
        names = self._sorted[bisect_left(self._sorted, folder) : bisect_left(self._sorted, f"{folder}{LAST_CHARACTER}")]
        made = partial(FileSignatures, self._pack, folder, names)
        signatures = self._attempt(name, lambda: made(json.loads(self._text(name))))
        if signatures:
            by_server, by_signer = signatures.by_server(trusted.server_keys), signatures.by_signer(trusted.signer_keys)
            self._attempt(folder + SERVER_SIGNATURE, lambda: self._signatures.extend(by_server))
            self._attempt(folder + GIVEN_SIGNATURE, lambda: self._signatures.extend(by_signer))

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
