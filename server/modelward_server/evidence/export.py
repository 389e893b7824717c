"""The export of evidence packs: one version, or all that are or were in production."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelward.evidence.layout import HEAD_TYPE
from modelward.lifecycle import VersionRef
from modelward_server.evidence.contents import Extent, VersionContents, contents_of
from modelward_server.evidence.log_tree import LogTree
from modelward_server.evidence.pack import LogHeadRecord, PackWriter
from modelward_server.evidence.signing import EvidenceSigner
from modelward_server.lifecycle.transition_queries import list_production_versions
from modelward_server.lifecycle.versions import get_version
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
    """

    ledger: Ledger
    blobs: BlobStore
    tree: LogTree
    signer: EvidenceSigner | None

    def head(self, session: Session, size: int) -> LogHeadRecord:
        """Return the head over the first records."""
        return LogHeadRecord(size, self.tree.root(session, size), datetime.now(UTC))

    def signed(self, head: LogHeadRecord) -> str:
        """Return a head as a signed envelope; empty if the server has no key."""
        return self.signer.envelope(head.payload(), HEAD_TYPE) if self.signer else ""

    def prove(self, session: Session, records: int) -> dict[str, object]:
        """Return the head over the first records, as webhooks are told it."""
        head = self.head(session, records)
        return {"records": records, "root": head.root.hex(), "envelope": self.signed(head)}

    def pack(self, wanted: Wanted) -> Iterator[bytes]:
        """Return a pack in pieces; one version at a time is held in memory, without its files.

        Raises:
            ModelNotFound, VersionNotFound: the version does not exist.
            DigestMismatch, StoreUnavailable: one of its files is damaged, or cannot be read now.
        """
        extent, head, refs = self._begin(wanted)
        about = {"as_of": extent.at.isoformat(), "with_files": wanted.with_files}
        writer = PackWriter(head, about, self.signer)
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
                get_version(session, ref)  # An error comes before the first piece.
            return extent, self.head(session, extent.records), refs

    def _files(self, writer: PackWriter, contents: VersionContents) -> Iterator[bytes]:
        for file in contents.files:
            path = f"{contents.folder}/{file.path}"
            yield from writer.add(path, chunks(self.blobs.path(file.sha256), file.size_bytes))


def _extent(session: Session, as_of: datetime | None) -> Extent:
    if as_of is None:
        return Extent(last_sequence(session), datetime.now(UTC))
    until = select(func.max(AuditRow.sequence)).where(AuditRow.happened_at <= as_of)
    return Extent(session.scalar(until) or 0, as_of)


def _in_production(session: Session, as_of: datetime | None) -> Iterator[VersionRef]:
    now = datetime.now(UTC)
    listed = all_items(lambda token: list_production_versions(session, as_of, "", PAGE, token, now))
    yield from (one.promotion.version for one in listed if one.promotion)
