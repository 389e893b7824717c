"""Retention: deletion of answers, reports, logs, engines, scores, live rows and unused blobs after their period.

The history of models is kept without limit: audit log, versions, transitions, policies, comparisons, A/B tests, jobs.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from modelward.errors import RequestIdReused
from modelward_server.runtime.retries import Retries
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.drift_tables import DriftReportRow, ReferenceRow
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.monitoring_tables import ReplayRowsRow
from modelward_server.storage.retraining_tables import JobRow
from modelward_server.storage.scoring_tables import ScoreRow
from modelward_server.storage.security_tables import UploadRow
from modelward_server.storage.tables import EnginePeriodRow, EngineRow, RequestRow, SweptRow, VersionRow

BATCH = 200
"""Rows that one transaction deletes: few enough that no writer waits long."""
EXPIRED = ""
"""The answer type of an idempotency record whose answer was deleted."""
MIN_LIFETIME = timedelta(days=1)
"""Minimum retention period of answers."""
ANSWERS, ROWS = "answers", "rows"
MAX_CLOCK_AHEAD = timedelta(hours=1)
"""How far a client's clock may be ahead of the server's for its request ids to be deleted without a trace."""
RETRY_SECONDS = 3600.0
"""Approximate time after which a failed sweep is retried: with the next one."""
DIGEST = re.compile(rb"[0-9a-f]{64}")

Step = Callable[[Session, datetime], int]
"""Deletes a batch of what is older than a timestamp, and returns its size."""


Lifetimes = Mapping[str, timedelta]
"""Retention period of each kind, as in `modelward_server.settings.LIFETIMES`."""


def created_at(request_id: str) -> datetime | None:
    """Return the creation time in a request id of UUID version 7 (RFC 9562); None for other versions."""
    value = UUID(request_id)
    if value.version != 7:
        return None
    return datetime.fromtimestamp((value.int >> 80) / 1000, UTC)


def sweep_answers(session: Session, before: datetime) -> int:
    """Delete answers. A version 7 id is deleted with its answer, as its age shows that; other ids are kept."""
    rows = select(RequestRow).where(RequestRow.answered_at < before, RequestRow.answer_type != EXPIRED)
    batch = session.scalars(rows.order_by(RequestRow.answered_at).limit(BATCH)).all()
    if batch:
        session.merge(SweptRow(kind=ANSWERS, before=before))
    for row in batch:
        created = created_at(row.request_id)
        if created and created < row.answered_at + MAX_CLOCK_AHEAD:
            session.delete(row)
        else:
            row.answer, row.answer_type = b"", EXPIRED
    return len(batch)


def check_not_expired(session: Session, request_id: str) -> None:
    """Refuse an unknown request id whose answer may have been deleted.

    Raises:
        RequestIdReused: it was created before answers were last deleted.
    """
    created = created_at(request_id)
    if created is None or created > datetime.now(UTC) - MIN_LIFETIME:
        return
    swept = session.get(SweptRow, ANSWERS)
    if swept and created < swept.before + MAX_CLOCK_AHEAD:
        raise expired(request_id)


def expired(request_id: str) -> RequestIdReused:
    """Return the error for a request id whose answer was deleted."""
    message = f"the answer for the request id {request_id} is no longer kept; check whether the change was made, and"
    return RequestIdReused(f"{message} if not, use a new id; is this machine's clock right?", request_id=request_id)


def sweep_reports(session: Session, before: datetime) -> int:
    """Delete drift reports, except for the newest of each version."""
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
    report_ids = session.scalars(old).all()
    session.execute(delete(DriftReportRow).where(DriftReportRow.report_id.in_(report_ids)))
    return len(report_ids)


def sweep_logs(session: Session, before: datetime) -> int:
    """Remove references to the output of jobs; the blobs are deleted when nothing else refers to them."""
    old = select(JobRow.sequence).where(JobRow.log_sha256 != "", JobRow.ended_at < before).limit(BATCH)
    sequences = session.scalars(old).all()
    session.execute(update(JobRow).where(JobRow.sequence.in_(sequences)).values(log_sha256=""))
    return len(sequences)


def sweep_silent_engines(session: Session, before: datetime) -> int:
    """Delete engines that are gone; their last periods end with their last reports, and stay."""
    gone = session.scalars(select(EngineRow).where(EngineRow.gone_at < before).limit(BATCH)).all()
    for row in gone:
        last = (EnginePeriodRow.model == row.model, EnginePeriodRow.engine == row.engine)
        open_period = update(EnginePeriodRow).where(*last, EnginePeriodRow.ended_at.is_(None))
        session.execute(open_period.values(ended_at=row.reported_at))
        session.delete(row)
    return len(gone)


def sweep_engines(session: Session, before: datetime) -> int:
    """Delete periods of engines that have ended."""
    old = select(EnginePeriodRow.sequence).where(EnginePeriodRow.ended_at < before).limit(BATCH)
    sequences = session.scalars(old).all()
    session.execute(delete(EnginePeriodRow).where(EnginePeriodRow.sequence.in_(sequences)))
    return len(sequences)


def sweep_scores(session: Session, before: datetime) -> int:
    """Delete records of what was scored."""
    old = select(ScoreRow.sequence).where(ScoreRow.scored_at < before).order_by(ScoreRow.scored_at).limit(BATCH)
    sequences = session.scalars(old).all()
    session.execute(delete(ScoreRow).where(ScoreRow.sequence.in_(sequences)))
    return len(sequences)


def sweep_rows(session: Session, before: datetime) -> int:
    """Delete rows of live monitoring."""
    old = select(ReplayRowsRow.id).where(ReplayRowsRow.seen_at < before).limit(BATCH)
    ids = session.scalars(old).all()
    session.execute(delete(ReplayRowsRow).where(ReplayRowsRow.id.in_(ids)))
    return len(ids)


def sweep_excess_rows(session: Session, limit: int) -> int:
    """Delete the oldest rows of live monitoring of a model that has more than so many bytes of them."""
    size = func.sum(ReplayRowsRow.size)
    excess = select(ReplayRowsRow.model, size).group_by(ReplayRowsRow.model).having(size > limit).limit(1)
    found = session.execute(excess).first()
    if found is None:
        return 0
    model, held = found
    oldest = select(ReplayRowsRow.id, ReplayRowsRow.size).where(ReplayRowsRow.model == model).limit(BATCH)
    ids: list[int] = []
    for row in session.execute(oldest.order_by(ReplayRowsRow.seen_at, ReplayRowsRow.id)):
        if held > limit:
            ids.append(row.id)
            held -= row.size
    session.execute(delete(ReplayRowsRow).where(ReplayRowsRow.id.in_(ids)))
    return len(ids)


def sweep_uploads(session: Session, before: datetime) -> int:
    """Delete records of uploads; to refer to the content again, upload it again or name a model that has it."""
    old = select(UploadRow).where(UploadRow.uploaded_at < before).limit(BATCH)
    rows = session.scalars(old).all()
    for row in rows:
        session.delete(row)
    return len(rows)


STEPS: dict[str, Step] = {
    ANSWERS: sweep_answers,
    "reports": sweep_reports,
    "logs": sweep_logs,
    "silent_engines": sweep_silent_engines,
    "engines": sweep_engines,
    "scores": sweep_scores,
    ROWS: sweep_rows,
}


_ORIGINS = select(VersionRow.origin).where(VersionRow.origin.is_not(None))
_FILES = select(VersionRow.files).where(VersionRow.artifact_deleted_at.is_(None))


def named_blobs(session: Session) -> set[str]:
    """Return the SHA-256 of every version's file and pack, every reference's profiles and every job's log."""
    digests: set[str] = {file["sha256"] for files in _stream(session, _FILES) for file in files}
    digests.update(origin["pack_sha256"] for origin in _stream(session, _ORIGINS))
    digests.update(_stream(session, select(ReferenceRow.digest)))
    digests.update(one["digest"] for segments in _stream(session, select(ReferenceRow.segments)) for one in segments)
    digests.update(_stream(session, select(JobRow.log_sha256).where(JobRow.log_sha256 != "")))
    return digests


def referenced_blobs(session: Session) -> set[str]:
    """Return the SHA-256 of every blob that the ledger may refer to, including those in test sets."""
    digests = named_blobs(session)
    for test_set in _stream(session, select(JobRow.evaluation).where(JobRow.evaluation.is_not(None))):
        digests.update(digest.decode() for digest in DIGEST.findall(test_set))
    return digests


def _stream(session: Session, column: Select[Any]) -> Iterator[Any]:
    return iter(session.scalars(column.execution_options(yield_per=1000)))


class Retention:
    """Deletes what has outlived its retention period.

    Args:
        max_row_bytes: how much of the rows of live monitoring is kept of each model.
        clock: returns the current time.
    """

    def __init__(
        self,
        ledger: Ledger,
        blobs: BlobStore,
        lifetimes: Lifetimes,
        max_row_bytes: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self.lifetimes = lifetimes
        self._max_row_bytes = max_row_bytes
        self._clock = clock
        self.swept = dict.fromkeys(lifetimes, 0)
        """Number of deleted items of each kind since the server started."""
        self._retries = Retries[str]("sweeping", RETRY_SECONDS, RETRY_SECONDS)

    def steps(self) -> Iterator[None]:
        """Sweep once, in small steps; a kind that fails does not prevent the others."""
        for kind in (*STEPS, "blobs"):
            with self._retries.attempt(kind):
                before = self._clock() - self.lifetimes[kind]
                yield from self._sweep(kind, before, STEPS[kind]) if kind in STEPS else self._sweep_blobs(before)
        with self._retries.attempt("excess rows"):
            yield from self._sweep_excess_rows()

    def _sweep(self, kind: str, before: datetime, step: Step) -> Iterator[None]:
        while True:
            with self._ledger.writing() as session:
                swept = step(session, before)
            self.swept[kind] += swept
            yield
            if swept < BATCH:
                return

    def _sweep_excess_rows(self) -> Iterator[None]:
        swept = BATCH
        while swept:
            with self._ledger.writing() as session:
                swept = sweep_excess_rows(session, self._max_row_bytes)
            self.swept[ROWS] += swept
            yield

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
    """Perform the next step, and return whether there was none left."""
    return next(steps, True) is True
