"""The export of evidence packs: one version, or all that are or were in production."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelward.evidence.layout import FILES, GIVEN_SIGNATURE, HEAD_TYPE, ORIGIN, SERVER_SIGNATURE
from modelward.lifecycle import VersionRef
from modelward_server.evidence.contents import VersionContents, contents_of
from modelward_server.evidence.log_tree import LogTree
from modelward_server.evidence.model_signatures import sign_files
from modelward_server.evidence.pack import LogHeadRecord, PackWriter
from modelward_server.evidence.signing import EvidenceSigner
from modelward_server.evidence.states import Extent, state_of
from modelward_server.evidence.timestamps import TimestampAuthority
from modelward_server.lifecycle.transition_queries import list_production_versions
from modelward_server.storage.audit import last_sequence
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.paging import all_items
from modelward_server.storage.tables import AuditRow
from modelward_server.storage.verification import chunks

PAGE = 200


@dataclass(frozen=True)
class Wanted:
    """What a pack is to contain.

    Args:
        version: the version; None for all in production.
        as_of: what was on record then; None for now.
        with_files: whether the versions' own files are part of it.
    """

    version: VersionRef | None
    as_of: datetime | None
    with_files: bool


@dataclass(frozen=True)
class EvidenceExport:
    """Exports packs of one ledger.

    Args:
        ledger: the ledger.
        blobs: the versions' files.
        tree: the Merkle tree over the audit log.
        signer: the server's key; None if it has none.
        authority: stamps what is signed with the time; None for no time stamps.
        spool: the folder of temporary files.
    """

    ledger: Ledger
    blobs: BlobStore
    tree: LogTree
    signer: EvidenceSigner | None
    authority: TimestampAuthority | None
    spool: Path

    def head(self, session: Session, size: int) -> LogHeadRecord:
        """Return the head over the first records."""
        return LogHeadRecord(size, self.tree.root(session, size), datetime.now(UTC))

    def signed(self, head: LogHeadRecord) -> str:
        """Return a head as a signed envelope; empty if the server has no key."""
        return self.signer.envelope(head.payload(), HEAD_TYPE) if self.signer else ""

    def prove(self, session: Session, records: int) -> dict[str, object]:
        """Return the head over the first records, as webhooks receive it."""
        head = self.head(session, records)
        return {"records": records, "root": head.root.hex(), "envelope": self.signed(head)}

    def pack(self, wanted: Wanted) -> Iterator[bytes]:
        """Return a pack in pieces; one version at a time is held in memory, without its files.

        Raises:
            ModelNotFound, VersionNotFound: the version does not exist.
            DigestMismatch, StoreUnavailable: one of its files is damaged, or cannot be read now, or the time-stamp
                authority does not answer.
        """
        extent, head, refs = self._begin(wanted)
        about = {"as_of": extent.at.isoformat(), "with_files": wanted.with_files}
        with closing(PackWriter(head, about, self.signer, self.authority, self.spool)) as writer:
            yield from writer.begin()
            for ref in refs:
                with self.ledger.reading() as session:
                    contents = contents_of(session, self.tree, ref, extent)
                yield from writer.texts(contents)
                if wanted.with_files:
                    yield from self._files(writer, contents)
            yield from writer.finish()

    def _begin(self, wanted: Wanted) -> tuple[Extent, LogHeadRecord, Sequence[VersionRef]]:
        with self.ledger.reading() as session:
            extent = _extent(session, wanted.as_of)
            refs = [wanted.version] if wanted.version else list(_in_production(session, wanted.as_of))
            for ref in refs[:1]:
                state_of(session, extent).version(ref)  # An error comes before the first piece.
            return extent, self.head(session, extent.records), refs

    def _files(self, writer: PackWriter, contents: VersionContents) -> Iterator[bytes]:
        own = [(f"{FILES}/{file.path}", file) for file in contents.files]
        for name, file in [*own, *([(ORIGIN, contents.origin)] if contents.origin else [])]:
            yield from writer.add(f"{contents.folder}/{name}", chunks(self.blobs.path(file.sha256), file.size_bytes))
        for name, bundle in self._signatures(contents):
            yield from writer.add(f"{contents.folder}/{name}", [bundle])

    def _signatures(self, contents: VersionContents) -> Iterator[tuple[str, bytes]]:
        """Yield the signatures over a version's files."""
        if not contents.files:
            return
        if self.signer and (own := sign_files(str(contents.version.ref), contents.files, self.signer)):
            yield SERVER_SIGNATURE, own
        if contents.bundle:
            yield GIVEN_SIGNATURE, contents.bundle.encode()


def _extent(session: Session, as_of: datetime | None) -> Extent:
    if as_of is None:
        return Extent(last_sequence(session), datetime.now(UTC), is_past=False)
    until = select(func.max(AuditRow.sequence)).where(AuditRow.happened_at <= as_of)
    return Extent(session.scalar(until) or 0, as_of, is_past=True)


def _in_production(session: Session, as_of: datetime | None) -> Iterator[VersionRef]:
    now = datetime.now(UTC)
    listed = all_items(lambda token: list_production_versions(session, as_of, "", PAGE, token, now))
    yield from (one.promotion.version for one in listed if one.promotion)
