"""Live monitoring: rows are stored until their window is compared, and alarms are raised after several windows.

The windows to which the rows of a batch belong, and the detector's new state, are computed outside of any transaction;
one transaction then stores the rows and acknowledges the batch, provided the sender's state has not changed in between.
A closed window is also compared outside of any transaction. Storing its report, deleting its rows (or moving them to
those that are kept for comparisons) and raising an alarm are one transaction. A server that crashes in between
therefore loses nothing: the next call for the same sender, or the background task of any server, compares the rows that
are still stored. That task also closes windows of a duration for which no more rows come. It claims an observer by
postponing its deadlines, so that servers do not do the work twice; that each window gets one report follows from the
transaction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, func, insert, or_, select
from sqlalchemy.orm import Session

from modelward.drift import DriftReport
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import DriftAlarm, VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.drift import replay_rows
from modelward_server.drift.references import get_reference
from modelward_server.drift.reports import keep_report
from modelward_server.drift.windows import Observer, ObserverState
from modelward_server.lifecycle.repository import version_row
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.drift_tables import DriftReportRow
from modelward_server.storage.monitoring_tables import ObservedRowsRow, ObserverRow
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.tables import AuditRow

_terms = TypeAdapter(Observer)
ALARM_AFTER, ALARM_OF = 2, 3
"""Default alarm rule: windows with drift, and the number of last windows among which they are counted."""
RECOVERY = timedelta(minutes=1)
"""How long the sender's call, or a server that claimed an observer, has to compare its closed windows."""


@dataclass(frozen=True)
class WindowRows:
    """The rows of a window that are in the ledger, one Arrow IPC stream per batch, and when each was received."""

    seen_at: tuple[datetime, ...]
    tables: tuple[bytes, ...]


@dataclass(frozen=True)
class RowsPart:
    """Rows of a window: when they were observed, an Arrow stream of them, and one of their ids, if they have some."""

    window: int
    seen_at: datetime
    table: bytes
    ids: bytes | None = None


@dataclass(frozen=True)
class Window:
    """A window that closes, and its report.

    Attributes:
        batches: the number of its batches in the ledger.
        closes_after: the number of the last batch, if the window is still open and closes now; None if it has closed.
    """

    number: int
    batches: int
    report: DriftReport
    closes_after: int | None = None


def with_alarm_defaults(observer: Observer) -> Observer:
    """Return an observer with the default alarm rule where none is set.

    Raises:
        InvalidField: more windows must drift than are counted.
    """
    after, of = observer.alarm_after or ALARM_AFTER, observer.alarm_of or max(ALARM_OF, observer.alarm_after)
    if after > of:
        fix = f"is {after} of the last {of} windows; ask for at most as many as are looked at"
        raise InvalidField(FieldViolation("header.alarm_after", fix))
    return replace(observer, alarm_after=after, alarm_of=of)


def open_observer(session: Session, observer: Observer) -> ObserverRow:
    """Return the row of a sender, creating it if it is new, and lock the model for other writers.

    Raises:
        ModelNotFound, VersionNotFound, ReferenceNotFound: the named object does not exist.
    """
    version_row(session, observer.version, lock=True)
    row = session.get(ObserverRow, _key(observer), populate_existing=True)
    if row is None:
        get_reference(session, observer.version, observer.reference)
        model, version, reference, sender = _key(observer)
        row = ObserverRow(model=model, version=version, reference=reference, sender=sender, drifted=[])
        session.add(row)
        session.flush()
    return row


def is_new(place: ObserverState, number: int, field: str = "batch") -> bool:
    """Return whether a batch is the next one; false for a repeated batch, which is already stored.

    Args:
        field: the field of the request that holds it, for errors.

    Raises:
        InvalidField: batches in between are missing.
    """
    if number > place.acknowledged + 1:
        fix = f"is {number}, but {place.acknowledged + 1} comes next; send the batches in order, counted from 1"
        raise InvalidField(FieldViolation(f"{field}.{'number' if field == 'batch' else 'first_number'}", fix))
    return number == place.acknowledged + 1


def observer_state(session: Session, observer: Observer) -> ObserverState | None:
    """Return the state of a sender; None if it has not sent anything yet.

    Raises:
        ModelNotFound, VersionNotFound: the named version does not exist.
    """
    version_row(session, observer.version)
    row = session.get(ObserverRow, _key(observer))
    if row is None:
        return None
    return ObserverState(
        row.acknowledged,
        row.window,
        row.window_rows,
        row.window_opened,
        row.detector,
        row.closed_until,
        row.latest_time,
        row.late_rows,
        row.late_reported,
    )


def move(row: ObserverRow, to: ObserverState) -> None:
    """Store the state of a sender."""
    row.acknowledged, row.detector = to.acknowledged, to.detector
    row.window, row.window_rows, row.window_opened = to.window, to.window_rows, to.window_opened
    row.closed_until, row.latest_time, row.late_rows = to.closed_until, to.latest_time, to.late_rows


def keep_rows(session: Session, row: ObserverRow, parts: Sequence[RowsPart]) -> None:
    """Store rows until their window is compared."""
    own = {"model": row.model, "version": row.version, "reference": row.reference, "sender": row.sender}
    if parts:
        tables = [
            own | {"window": part.window, "seen_at": part.seen_at, "arrow_ipc": part.table, "ids": part.ids}
            for part in parts
        ]
        # Without the ORM; so the rows have the names of the database's columns.
        session.connection().execute(insert(ObservedRowsRow), tables)


def set_deadlines(row: ObserverRow, observer: Observer, closes_at: datetime | None, *, recovers: bool) -> None:
    """Store how a sender's windows are defined, and when the background task takes them over.

    Args:
        closes_at: when the open window closes without further rows; None for never.
        recovers: whether a window has closed, which the sender's call compares now if its server does not die.
    """
    row.terms = _terms.dump_python(observer, mode="json")
    row.closes_at = closes_at
    if recovers:
        row.recovers_at = datetime.now(UTC) + RECOVERY


def due_observers(session: Session, now: datetime) -> list[Observer]:
    """Return the senders with a window that the background task closes or compares now."""
    due = or_(ObserverRow.closes_at <= now, ObserverRow.recovers_at <= now)
    rows = session.scalars(select(ObserverRow.terms).where(due, ObserverRow.terms.is_not(None)))
    return [_terms.validate_python(terms) for terms in rows]


def claim(session: Session, observer: Observer, now: datetime) -> int | None:
    """Claim a sender whose deadline is over, by postponing it.

    Returns:
        The number of its last batch if its open window closes now, or -1 if only closed ones are to be compared. None
        if another server has claimed it.
    """
    row = open_observer(session, observer)
    closes, recovers = (at is not None and at <= now for at in (row.closes_at, row.recovers_at))
    if not closes and not recovers:
        return None
    row.recovers_at = now + RECOVERY
    if closes:
        row.closes_at = now + RECOVERY
    return row.acknowledged if closes else -1


def release(session: Session, observer: Observer, acknowledged: int) -> None:
    """Remove the deadlines of a claimed sender whose windows are compared, unless it has sent a batch since."""
    row = open_observer(session, observer)
    if acknowledged == row.acknowledged:
        row.closes_at = None
    forget_recovery(session, observer, row)


def forget_recovery(session: Session, observer: Observer, row: ObserverRow) -> None:
    """Remove the deadline for closed windows if all of them are compared."""
    if row.recovers_at is not None and closed_window(session, observer, row.window) is None:
        row.recovers_at = None


def closed_window(session: Session, observer: Observer, before: int) -> int | None:
    """Return the oldest closed window, before the given one, whose rows are still in the ledger."""
    windows = select(func.min(ObservedRowsRow.window)).where(*_of(observer), ObservedRowsRow.window < before)
    return session.scalar(windows)


def kept_rows(session: Session, observer: Observer, window: int) -> WindowRows:
    """Return the stored rows of a window."""
    rows = select(ObservedRowsRow.seen_at, ObservedRowsRow.table).where(
        *_of(observer), ObservedRowsRow.window == window
    )
    stored = session.execute(rows.order_by(ObservedRowsRow.id)).all()
    return WindowRows(tuple(row[0] for row in stored), tuple(row[1] for row in stored))


def close_window(
    session: Session, observer: Observer, row: ObserverRow, window: Window, actor: ActorContext, *, keeps_rows: bool
) -> tuple[DriftReport, bool]:
    """Store the report of a window, delete its rows, and raise an alarm if the rule requires it.

    Args:
        session: the transaction.
        observer: the sender.
        row: its state.
        window: the window and its report.
        actor: who closes it.
        keeps_rows: whether its rows are kept for comparisons.

    Returns:
        The report and whether it raised an alarm.

    Raises:
        Outdated: the rows of the window in the ledger are not the ones that were compared.
    """
    if window.closes_after is not None:
        _close_open(session, observer, row, window.closes_after)
    rows = [*_of(observer), ObservedRowsRow.window == window.number]
    if keeps_rows:
        replay_rows.keep(session, rows)
    deleted = session.execute(delete(ObservedRowsRow).where(*rows))
    if deleted.rowcount != window.batches:  # type: ignore[attr-defined]
        raise Outdated
    kept = keep_report(session, window.report, actor, observed=True)
    row.late_reported += kept.late_rows
    row.drifted = [*row.drifted, kept.drift_detected][-observer.alarm_of :]
    forget_recovery(session, observer, row)
    return kept, _raise_alarm(session, observer, row, kept, actor)


def _close_open(session: Session, observer: Observer, row: ObserverRow, acknowledged: int) -> None:
    state = observer_state(session, observer)
    if state is None or state.acknowledged != acknowledged:
        raise Outdated
    state.close_open(observer)
    move(row, state)
    row.closes_at = None


def _raise_alarm(
    session: Session, observer: Observer, row: ObserverRow, report: DriftReport, actor: ActorContext
) -> bool:
    """Raise an alarm if none is active and enough windows drifted; end it if none of them did."""
    if not any(row.drifted):
        row.alarm_report, row.alarm_since = "", None
    if row.alarm_report or sum(row.drifted) < observer.alarm_after:
        return False
    row.alarm_report, row.alarm_score, row.alarm_since = report.report_id, report.score, actor.at
    alarm = DriftAlarm(observer.version, report.report_id, report.score)
    audit.append(session, Kind.DRIFT_ALARM, row.model, alarm, actor, row.version)
    return True


def active_drift_alarm(session: Session, version: VersionRef) -> tuple[DriftAlarm, datetime] | None:
    """Return the newest active alarm of a version that live data raised, and since when it has been active."""
    rows = select(ObserverRow).where(
        ObserverRow.model == version.model, ObserverRow.version == version.version, ObserverRow.alarm_report != ""
    )
    row = session.scalar(rows.order_by(ObserverRow.alarm_since.desc()).limit(1))
    if row is None or row.alarm_since is None:
        return None
    return DriftAlarm(version, row.alarm_report, row.alarm_score), row.alarm_since


def past_drift_alarm(session: Session, ref: VersionRef, at: datetime) -> tuple[DriftAlarm, datetime] | None:
    """Return the alarm of a version that was active at a time, and since when; None if there was none.

    The ledger records when an alarm was raised, not when it ended: here it ends with the next live report without
    drift.
    """
    audit.write_pending(session)
    raised = select(AuditRow).where(
        AuditRow.model == ref.model,
        AuditRow.kind == Kind.DRIFT_ALARM,
        AuditRow.version == ref.version,
        AuditRow.happened_at <= at,
    )
    row = session.scalar(raised.order_by(AuditRow.sequence.desc()).limit(1))
    if row is None or _has_report_without_drift(session, ref, row.happened_at, at):
        return None
    return audit.payload_of(row, DriftAlarm), row.happened_at


def _has_report_without_drift(session: Session, ref: VersionRef, after: datetime, until: datetime) -> bool:
    table = DriftReportRow
    reports = select(table.report_id).where(
        table.model == ref.model,
        table.version == ref.version,
        table.created_at > after,
        table.created_at <= until,
        table.observed.is_(True),
        table.drift_detected.is_(False),
    )
    return session.scalar(reports.limit(1)) is not None


def _key(observer: Observer) -> tuple[str, int, str, str]:
    return observer.version.model, observer.version.version, observer.reference, observer.sender


def _of(observer: Observer) -> Iterator[Any]:
    columns = (ObservedRowsRow.model, ObservedRowsRow.version, ObservedRowsRow.reference, ObservedRowsRow.sender)
    yield from (column == value for column, value in zip(columns, _key(observer), strict=True))
