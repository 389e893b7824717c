"""What the server keeps for a time only: the answers of request ids, drift reports, logs of jobs, unused blobs.

What records the life of models stays: the audit log, versions, transitions, policies, comparisons, A/B tests, jobs.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session, aliased

from modelward.errors import RequestIdReused
from modelward_server.runtime.retries import Retries
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.drift_tables import DriftReportRow, ReferenceRow
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.retraining_tables import JobRow
from modelward_server.storage.security_tables import UploadRow
from modelward_server.storage.tables import RequestRow, SweptRow, VersionRow

BATCH = 200
"""Rows that one transaction sweeps: few enough that no writer waits long."""
FORGOTTEN = ""
"""The type of an answer that is no longer kept."""
MIN_LIFETIME = timedelta(days=1)
"""The shortest for which answers may be kept."""
ANSWERS = "answers"
MAX_CLOCK_AHEAD = timedelta(hours=1)
"""How far ahead of the server's a client's clock may be for its request ids to be forgotten without a trace."""
RETRY_SECONDS = 3600.0
"""After about how long a sweep that failed is tried again: with the next one."""
DIGEST = re.compile(rb"[0-9a-f]{64}")

Step = Callable[[Session, datetime], int]
"""Sweeps a batch of what is older than an instant, and returns how much."""


Lifetimes = Mapping[str, timedelta]
"""How long each kind is kept: `answers`, `reports`, `logs` and `blobs`."""


def made_at(request_id: str) -> datetime | None:
    """Return when a request id was made; None of one that does not say so, as UUIDs of version 7 do (RFC 9562)."""
    value = UUID(request_id)
    if value.version != 7:
        return None
    return datetime.fromtimestamp((value.int >> 80) / 1000, UTC)


def sweep_answers(session: Session, before: datetime) -> int:
    """Forget answers. An id that says when it was made leaves no trace, as its age tells; of any other the id stays."""
    rows = select(RequestRow).where(RequestRow.answered_at < before, RequestRow.answer_type != FORGOTTEN)
    found = session.scalars(rows.order_by(RequestRow.answered_at).limit(BATCH)).all()
    if found:
        session.merge(SweptRow(kind=ANSWERS, before=before))
    for row in found:
        made = made_at(row.request_id)
        if made and made < row.answered_at + MAX_CLOCK_AHEAD:
            session.delete(row)
        else:
            row.answer, row.answer_type = b"", FORGOTTEN
    return len(found)


def check_not_forgotten(session: Session, request_id: str) -> None:
    """Refuse an id that nothing is known of, but that may have had an answer which was forgotten.

    Raises:
        RequestIdReused: it was made before answers were last forgotten.
    """
    made = made_at(request_id)
    if made is None or made > datetime.now(UTC) - MIN_LIFETIME:
        return
    swept = session.get(SweptRow, ANSWERS)
    if swept and made < swept.before + MAX_CLOCK_AHEAD:
        raise forgotten(request_id)


def forgotten(request_id: str) -> RequestIdReused:
    said = f"the answer of the request id {request_id} is no longer kept; see whether the change was made, and if not"
    return RequestIdReused(f"{said} make it with a new id; is this machine's clock right?", request_id=request_id)


def sweep_reports(session: Session, before: datetime) -> int:
    """Remove drift reports, but for the newest of each version."""
    newer = aliased(DriftReportRow)
    has_newer = (
        select(newer.report_id)
        .where(
            newer.model == DriftReportRow.model,
            newer.version == DriftReportRow.version,
            newer.observed == DriftReportRow.observed,
            newer.created_at > DriftReportRow.created_at,
        )
        .exists()
    )
    old = select(DriftReportRow.report_id).where(DriftReportRow.created_at < before, has_newer).limit(BATCH)
    found = session.scalars(old).all()
    session.execute(delete(DriftReportRow).where(DriftReportRow.report_id.in_(found)))
    return len(found)


def sweep_logs(session: Session, before: datetime) -> int:
    """Let go of what jobs printed; the blobs go when nothing else refers to them."""
    old = select(JobRow.sequence).where(JobRow.log_sha256 != "", JobRow.ended_at < before).limit(BATCH)
    found = session.scalars(old).all()
    session.execute(update(JobRow).where(JobRow.sequence.in_(found)).values(log_sha256=""))
    return len(found)


def sweep_uploads(session: Session, before: datetime) -> int:
    """Forget who sent which content; to refer to it again they send it again, or name a model that has it."""
    old = select(UploadRow).where(UploadRow.uploaded_at < before).limit(BATCH)
    found = session.scalars(old).all()
    for row in found:
        session.delete(row)
    return len(found)


STEPS: dict[str, Step] = {ANSWERS: sweep_answers, "reports": sweep_reports, "logs": sweep_logs}


_FILES = select(VersionRow.files).where(VersionRow.artifact_deleted_at.is_(None))


def named_blobs(session: Session) -> set[str]:
    """Return the SHA-256 of every file of a version, of every reference's profile and of every job's log."""
    digests: set[str] = {file["sha256"] for files in _stream(session, _FILES) for file in files}
    digests.update(_stream(session, select(ReferenceRow.digest)))
    digests.update(_stream(session, select(JobRow.log_sha256).where(JobRow.log_sha256 != "")))
    return digests


def referenced_blobs(session: Session) -> set[str]:
    """Return the SHA-256 of every blob that the ledger may refer to: those that it names, and those of test sets."""
    digests = named_blobs(session)
    for test_set in _stream(session, select(JobRow.evaluation).where(JobRow.evaluation.is_not(None))):
        digests.update(found.decode() for found in DIGEST.findall(test_set))
    return digests


def _stream(session: Session, column: Select[Any]) -> Iterator[Any]:
    return iter(session.scalars(column.execution_options(yield_per=1000)))


class Retention:
    """Sweeps what has outlived its time.

    Args:
        clock: returns the time.
    """

    def __init__(
        self,
        ledger: Ledger,
        blobs: BlobStore,
        lifetimes: Lifetimes,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self.lifetimes = lifetimes
        self._clock = clock
        self.swept = dict.fromkeys(lifetimes, 0)
        """How much was swept of each since the server began."""
        self._retries = Retries[str]("sweeping", RETRY_SECONDS, RETRY_SECONDS)

    def steps(self) -> Iterator[None]:
        """Sweep once, a small step at a time; a kind that cannot be swept keeps no other from it."""
        for kind in (*STEPS, "blobs"):
            with self._retries.attempt(kind):
                before = self._clock() - self.lifetimes[kind]
                yield from self._sweep(kind, before, STEPS[kind]) if kind in STEPS else self._sweep_blobs(before)

    def _sweep(self, kind: str, before: datetime, step: Step) -> Iterator[None]:
        while True:
            with self._ledger.writing() as session:
                swept = step(session, before)
            self.swept[kind] += swept
            yield
            if swept < BATCH:
                return

    def _sweep_uploads(self, before: datetime) -> Iterator[None]:
        swept = BATCH
        while swept == BATCH:
            with self._ledger.writing() as session:
                swept = sweep_uploads(session, before)
            yield

    def _sweep_blobs(self, before: datetime) -> Iterator[None]:
        yield from self._sweep_uploads(before)
        self._blobs.remove_stale()
        yield
        with self._ledger.reading() as session:
            referenced = referenced_blobs(session)
        for removed in self._blobs.remove_unused(referenced, before):
            self.swept["blobs"] += removed
            yield


def is_done(steps: Iterator[None]) -> bool:
    """Take the next step, and tell whether there was none."""
    return next(steps, True) is True
