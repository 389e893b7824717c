"""Ownership of uploaded content: knowing a SHA-256 does not prove possession of the bytes."""

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
    """The blob store as one uploader sees it: blobs whose bytes they have sent, and their own unfinished uploads.

    Content that others have uploaded counts as missing until this uploader has sent all of it and it was verified. It
    is stored only once nevertheless.
    """

    def __init__(self, blobs: BlobStore, ledger: Ledger, uploader: str) -> None:
        super().__init__(blobs.folder)
        self._ledger = ledger
        self._uploader = uploader

    def has(self, sha256: str, size_bytes: int) -> bool:
        with self._ledger.reading() as session:
            is_visible = session.get(UploadRow, (sha256, self._uploader)) is not None
        return is_visible and super().has(sha256, size_bytes)

    def record_upload(self, sha256: str) -> None:
        """Record that the uploader has sent all bytes of a blob, and that they were verified."""
        with suppress(IntegrityError), self._ledger.writing() as session:  # A concurrent upload of theirs may win.
            if session.get(UploadRow, (sha256, self._uploader)) is None:
                session.add(UploadRow(sha256=sha256, uploader=self._uploader, uploaded_at=datetime.now(UTC)))

    def _part(self, sha256: str) -> Path:
        uploader_hash = hashlib.sha256(self._uploader.encode()).hexdigest()[:16]
        return super()._part(f"{sha256}-{uploader_hash}")


def not_owned(session: Session, uploader: str, contents: Collection[str], models: Collection[str]) -> set[str]:
    """Return the contents that the uploader has not sent and that no version of these models has."""
    uploaded = select(UploadRow.sha256).where(UploadRow.uploader == uploader, UploadRow.sha256.in_(contents))
    missing = set(contents) - set(session.scalars(uploaded))
    if missing and models:
        for files in session.scalars(select(VersionRow.files).where(VersionRow.model.in_(models))):
            missing -= {file["sha256"] for file in files}
    return missing
