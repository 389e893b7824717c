"""Who may refer to which uploaded content: to know its SHA-256 is no proof of having had the bytes."""

import hashlib
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.security_tables import UploadRow
from modelward_server.storage.tables import VersionRow


class OwnBlobs(BlobStore):
    """The blobs as one uploader sees them: those whose bytes they have sent, and their own unfinished uploads.

    What others have brought is not here until all of it was sent and verified again; it is stored once all the same.
    """

    def __init__(self, blobs: BlobStore, ledger: Ledger, uploader: str) -> None:
        super().__init__(blobs.folder)
        self._ledger = ledger
        self._uploader = uploader

    def has(self, sha256: str, size_bytes: int) -> bool:
        with self._ledger.reading() as session:
            is_own = session.get(UploadRow, (sha256, self._uploader)) is not None
        return is_own and super().has(sha256, size_bytes)

    def sent(self, sha256: str) -> None:
        """Note that all the bytes of a blob came, and were verified."""
        with suppress(IntegrityError), self._ledger.writing() as session:  # Another upload of theirs was as fast.
            if session.get(UploadRow, (sha256, self._uploader)) is None:
                session.add(UploadRow(sha256=sha256, uploader=self._uploader, uploaded_at=datetime.now(UTC)))

    def _part(self, sha256: str) -> Path:
        own = hashlib.sha256(self._uploader.encode()).hexdigest()[:16]
        return super()._part(f"{sha256}-{own}")


def not_own(session: Session, uploader: str, contents: Collection[str], models: Collection[str]) -> set[str]:
    """Return those contents that somebody has neither sent nor finds in a version of these models."""
    sent = select(UploadRow.sha256).where(UploadRow.uploader == uploader, UploadRow.sha256.in_(contents))
    missing = set(contents) - set(session.scalars(sent))
    if missing and models:
        for files in session.scalars(select(VersionRow.files).where(VersionRow.model.in_(models))):
            missing -= {file["sha256"] for file in files}
    return missing
