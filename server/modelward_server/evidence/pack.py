"""An evidence pack: a ZIP file with a signed manifest, written in pieces, so that its size does not matter.

Its layout is described in docs/evidence.md, and read by `modelward.evidence.verify`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import modelward
from modelward.evidence.layout import (
    ENVELOPE,
    FORMAT,
    HEAD,
    HEAD_TIMESTAMP,
    HEAD_TYPE,
    MANIFEST,
    PREDICATE_TYPE,
    SEAL,
    SEAL_PREDICATE_TYPE,
    STATEMENT_TYPE,
    STATEMENT_URI,
    TIMESTAMP,
)
from modelward_server.evidence.contents import VersionContents
from modelward_server.evidence.signing import EvidenceSigner
from modelward_server.evidence.spool import Spool
from modelward_server.evidence.timestamps import TimestampAuthority
from modelward_server.evidence.zip_directory import ZipDirectory

PIECE = 1 << 20
"""The size of the pieces in which a pack is returned."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the ZIP: the manifest has the time of the pack."""


@dataclass(frozen=True)
class LogHeadRecord:
    """The head of the audit log to which a pack's proofs lead."""

    records: int
    root: bytes
    made_at: datetime

    def payload(self) -> bytes:
        """Return what is signed, as canonical JSON (RFC 8785)."""
        return canonical_json({"made_at": self.made_at.isoformat(), "records": self.records, "root": self.root.hex()})


def canonical_json(value: Any) -> bytes:
    """Return JSON in the canonical form of RFC 8785."""
    import rfc8785

    return bytes(rfc8785.dumps(value))


@dataclass
class _Output(io.RawIOBase):
    """Where the ZIP file is written: pieces that were not taken yet."""

    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    total: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    """The number, and the SHA-256, of all bytes so far."""

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open: a ZIP file that was given up writes its end when it is collected, perhaps after this."""

    def write(self, data: Any) -> int:
        self.pieces.append(bytes(data))
        self.size += len(data)
        self.total += len(data)
        self.digest.update(data)
        return len(data)

    def take(self, least: int) -> Iterator[bytes]:
        """Return what was written, if it is so much, in pieces of the usual size."""
        if self.size < least or not self.size:
            return
        written, self.pieces, self.size = b"".join(self.pieces), [], 0
        for begin in range(0, len(written), PIECE):
            yield written[begin : begin + PIECE]


def _entry(path: str, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    """Return a file's entry; all are alike but for their names, their sizes and the method of the last one."""
    entry = zipfile.ZipInfo(path, EPOCH)
    entry.compress_type, entry.create_system = method, 3
    entry.external_attr = 0o600 << 16
    return entry


def unsigned(payload: bytes, kind: str) -> bytes:
    """Return a DSSE envelope without signatures, as JSON."""
    body = {"payload": base64.b64encode(payload).decode(), "payloadType": kind, "signatures": []}
    return json.dumps(body, sort_keys=True).encode()


class PackWriter:
    """Writes one pack; it is closed at the end.

    Args:
        head: the head of the audit log.
        about: what the pack is about, for the manifest.
        signer: the server's key; None: the pack is not signed.
        authority: stamps what is signed with the time; None: no time stamps.
        folder: for temporary files: what has a line for each file of the pack does not fit into memory.
    """

    def __init__(
        self,
        head: LogHeadRecord,
        about: dict[str, Any],
        signer: EvidenceSigner | None,
        authority: TimestampAuthority | None,
        folder: Path,
    ) -> None:
        self._head, self._about, self._signer, self._authority = head, about, signer, authority
        self._output = _Output()
        self._zip = zipfile.ZipFile(self._output, "w", zipfile.ZIP_DEFLATED)
        self._directory = ZipDirectory(Spool(folder))
        self._files = Spool(folder)
        """What the manifest lists."""
        self._versions: list[tuple[str, str]] = []
        """Names and digests of the versions."""

    def texts(self, contents: VersionContents) -> Iterator[bytes]:
        """Write what is on record about a version."""
        self._versions.append((str(contents.version.ref), contents.version.digest))
        for path, text in contents.texts.items():
            yield from self.add(f"{contents.folder}/{path}", [text])

    def add(self, path: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Write a file, and note its SHA-256 for the manifest."""
        digest, size = hashlib.sha256(), 0
        with self._zip.open(_entry(path), "w", force_zip64=True) as file:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
                yield from self._output.take(PIECE)
        self._directory.take_from(self._zip)
        listed = canonical_json({"path": path, "sha256": digest.hexdigest(), "size": size})
        self._files.add(b"," + listed if self._files.number else listed)

    def begin(self) -> Iterator[bytes]:
        """Write the head of the log.

        Raises:
            StoreUnavailable: the time-stamp authority does not answer; nothing was returned yet.
        """
        head = self._enveloped(self._head.payload(), HEAD_TYPE)
        yield from self.add(HEAD, [head])
        if self._authority:
            yield from self.add(HEAD_TIMESTAMP, [self._authority.stamp(head)])

    def finish(self) -> Iterator[bytes]:
        """Write the manifest, its signature and the seal, and return the rest.

        Raises:
            StoreUnavailable: the time-stamp authority does not answer.
        """
        manifest = hashlib.sha256()
        with self._zip.open(_entry(MANIFEST), "w", force_zip64=True) as file:
            for part in self._manifest():
                manifest.update(part)
                file.write(part)
                yield from self._output.take(PIECE)
        unlisted = {ENVELOPE: self._enveloped(self._statement(manifest.hexdigest()), STATEMENT_TYPE)}
        if self._authority:
            unlisted[TIMESTAMP] = self._authority.stamp(unlisted[ENVELOPE])
        for path, content in unlisted.items():
            self._write(path, content)
        # Not compressed: a compressed file has bits that do not count, and it is the only one that is not signed.
        self._write(SEAL, self._enveloped(self._seal(unlisted), STATEMENT_TYPE), zipfile.ZIP_STORED)
        yield from self._end()

    def close(self) -> None:
        """Remove the temporary files."""
        self._directory.close()
        self._files.close()

    def _write(self, path: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
        with self._zip.open(_entry(path, method), "w", force_zip64=True) as file:
            file.write(content)

    def _end(self) -> Iterator[bytes]:
        """Write the directory, and return the rest; the ZIP file is not closed, as it would write its own."""
        self._directory.take_from(self._zip)
        for piece in self._directory.pieces(self._output.total):
            self._output.write(piece)
            yield from self._output.take(PIECE)
        yield from self._output.take(0)

    def _enveloped(self, payload: bytes, kind: str) -> bytes:
        """Return a signed envelope, or without a key one without signatures."""
        return self._signer.envelope(payload, kind).encode() if self._signer else unsigned(payload, kind)

    def _manifest(self) -> Iterator[bytes]:
        """Yield the manifest as canonical JSON, which has the fields of an object in the order of their names."""
        fields = {
            "format": FORMAT,
            "made_at": datetime.now(UTC).isoformat(),
            "made_by": f"modelward {modelward.__version__}",
            "versions": [name for name, _ in self._versions],
            **self._about,
        }
        written = {name: [canonical_json(value)] for name, value in fields.items()}
        values: dict[str, Iterable[bytes]] = {**written, "files": chain([b"["], self._files.pieces(), [b"]"])}
        for place, name in enumerate(sorted(values)):
            yield b"%s%s:" % (b"," if place else b"{", canonical_json(name))
            yield from values[name]
        yield b"}"

    def _statement(self, manifest: str) -> bytes:
        """Return an in-toto statement about the manifest, by its SHA-256, and the versions' digests."""
        predicate = {"records": self._head.records, "root": self._head.root.hex(), **self._about}
        subjects = [_subject(*named) for named in ((MANIFEST, manifest), *self._versions)]
        return _statement(subjects, PREDICATE_TYPE, predicate)

    def _seal(self, unlisted: Mapping[str, bytes]) -> bytes:
        """Return an in-toto statement about all bytes so far, and the files that the manifest cannot list."""
        predicate = {"bytes": self._output.total, "sha256": self._output.digest.hexdigest()}
        subjects = [_subject(name, hashlib.sha256(content).hexdigest()) for name, content in unlisted.items()]
        return _statement(subjects, SEAL_PREDICATE_TYPE, predicate)


def _subject(name: str, sha256: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": sha256}}


def _statement(subjects: Sequence[dict[str, Any]], kind: str, predicate: dict[str, Any]) -> bytes:
    return canonical_json({"_type": STATEMENT_URI, "subject": subjects, "predicateType": kind, "predicate": predicate})
