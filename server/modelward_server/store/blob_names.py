"""Which blobs the ledger names."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward_server.store.drift_tables import ReferenceRow
from modelward_server.store.retraining_tables import JobRow
from modelward_server.store.tables import VersionRow


def named_blobs(session: Session) -> set[str]:
    """Return the SHA-256 of every file of a version, of every reference's profile and of every job's log."""
    files = {file["sha256"] for files in session.scalars(select(VersionRow.files)) for file in files}
    return files | {*session.scalars(select(ReferenceRow.digest)), *session.scalars(select(JobRow.log_sha256))} - {""}
