"""Live data into windows: rows are kept until their window is compared, and alarms are raised after several windows.

A batch is acknowledged when its rows are in the ledger. A window that is closed is compared outside of any transaction;
its report, the end of its rows and the alarm that it may raise are one transaction. So a server that dies in between
forgets nothing, and the next call about the same sender compares what is still there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from modelward.drift import DriftReport
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import DriftAlarm, VersionRef
from modelward_server.caller import Caller
from modelward_server.drift.references import get_reference
from modelward_server.drift.reports import keep_report
from modelward_server.lifecycle.rows import version_row
from modelward_server.store import audit
from modelward_server.store.audit import Kind
from modelward_server.store.observe_tables import ObservedRowsRow, ObserverRow

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ALARM_AFTER, ALARM_OF = 2, 3
"""Windows with drift, of the last ones, that raise an alarm when the sender does not say."""


@dataclass(frozen=True)
class Observer:
    """Who sends live data of which version, and how they are cut into windows.

    Attributes:
        rows: after which a window closes; 0 when it closes by time.
        span: after which it closes; windows begin at multiples of it since 1970 in UTC.
    """

    version: VersionRef
    reference: str
    sender: str
    rows: int
    span: timedelta
    alarm_after: int
    alarm_of: int


@dataclass(frozen=True)
class Window:
    """A window that is closed and not yet compared."""

    number: int
    first: datetime
    last: datetime


def checked(observer: Observer) -> Observer:
    """Fill in how many windows raise an alarm.

    Raises:
        InvalidField: more windows are to drift than are looked at.
    """
    after, of = observer.alarm_after or ALARM_AFTER, observer.alarm_of or max(ALARM_OF, observer.alarm_after)
    if after > of:
        fix = f"is {after} of the last {of} windows; ask for at most as many as are looked at"
        raise InvalidField(FieldViolation("header.alarm_after", fix))
    return Observer(observer.version, observer.reference, observer.sender, observer.rows, observer.span, after, of)


def open_observer(session: Session, observer: Observer) -> ObserverRow:
    """Return the row of a sender, which is made when it is new; other writers of the model wait.

    Raises:
        ModelNotFound, VersionNotFound, ReferenceNotFound: what is named does not exist.
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


def is_new(row: ObserverRow, number: int) -> bool:
    """Tell whether a batch is the next one; one that came before is taken once.

    Raises:
        InvalidField: batches between are lacking.
    """
    if number > row.acknowledged + 1:
        fix = f"is {number}, but {row.acknowledged + 1} comes next; send the batches in order, counted from 1"
        raise InvalidField(FieldViolation("batch.number", fix))
    return number == row.acknowledged + 1


def parts(row: ObserverRow, observer: Observer, rows: int, seen_at: datetime) -> Iterator[tuple[int, slice]]:
    """Give the window of each part of a batch, and the part; the row is brought to what is open after it."""
    if observer.rows:
        yield from _parts_by_rows(row, observer.rows, rows)
    else:
        opened = EPOCH + (seen_at - EPOCH) // observer.span * observer.span
        if row.window_opened is not None and opened > row.window_opened and row.window_rows:
            row.window, row.window_rows = row.window + 1, 0
        row.window_opened = max(opened, row.window_opened or opened)  # A late batch counts into the open window.
        row.window_rows += rows
        yield row.window, slice(0, rows)


def _parts_by_rows(row: ObserverRow, most: int, rows: int) -> Iterator[tuple[int, slice]]:
    begin = 0
    while begin < rows:
        end = min(rows, begin + max(most - row.window_rows, 1))
        yield row.window, slice(begin, end)
        row.window_rows += end - begin
        if row.window_rows >= most:
            row.window, row.window_rows = row.window + 1, 0
        begin = end


def keep_rows(session: Session, row: ObserverRow, window: int, seen_at: datetime, table: bytes) -> None:
    """Keep rows of a window until it is compared."""
    own = {"model": row.model, "version": row.version, "reference": row.reference, "sender": row.sender}
    session.add(ObservedRowsRow(window=window, seen_at=seen_at, table=table, **own))


def closed_window(session: Session, observer: Observer) -> Window | None:
    """Return the oldest window that is closed and not yet compared."""
    row = session.get(ObserverRow, _key(observer))
    if row is None:
        return None
    windows = select(ObservedRowsRow.window, func.min(ObservedRowsRow.seen_at), func.max(ObservedRowsRow.seen_at))
    closed = windows.where(*_of(observer), ObservedRowsRow.window < row.window)
    found = session.execute(closed.group_by(ObservedRowsRow.window).order_by(ObservedRowsRow.window).limit(1)).first()
    return None if found is None else Window(*found)


def tables_of(session: Session, observer: Observer, window: Window) -> list[bytes]:
    """Return the rows of a window, one Arrow IPC stream for each batch."""
    kept = select(ObservedRowsRow.table).where(*_of(observer), ObservedRowsRow.window == window.number)
    return list(session.scalars(kept.order_by(ObservedRowsRow.id)))


def close_window(
    session: Session, observer: Observer, window: Window, report: DriftReport, caller: Caller
) -> tuple[DriftReport, bool] | None:
    """Keep the report of a window, forget its rows, and raise an alarm where it is due.

    Returns:
        the report and whether it raised an alarm; None when somebody else closed the window meanwhile.
    """
    row = open_observer(session, observer)
    gone = session.execute(delete(ObservedRowsRow).where(*_of(observer), ObservedRowsRow.window == window.number))
    if not gone.rowcount:  # type: ignore[attr-defined]
        return None
    kept = keep_report(session, report, caller, observed=True)
    row.drifted = [*row.drifted, kept.drift_detected][-observer.alarm_of :]
    return kept, _raise_alarm(session, observer, row, kept, caller)


def _raise_alarm(session: Session, observer: Observer, row: ObserverRow, report: DriftReport, caller: Caller) -> bool:
    """Raise an alarm when none stands and enough windows drifted, end it when none of them did."""
    if not any(row.drifted):
        row.alarm_report, row.alarm_since = "", None
    if row.alarm_report or sum(row.drifted) < observer.alarm_after:
        return False
    row.alarm_report, row.alarm_score, row.alarm_since = report.report_id, report.score, caller.at
    alarm = DriftAlarm(observer.version, report.report_id, report.score)
    audit.append(session, Kind.DRIFT_ALARM, row.model, alarm, caller, row.version)
    return True


def standing_drift_alarm(session: Session, version: VersionRef) -> tuple[DriftAlarm, datetime] | None:
    """Return the newest alarm that live data raised about a version and that still stands, and since when."""
    rows = select(ObserverRow).where(
        ObserverRow.model == version.model, ObserverRow.version == version.version, ObserverRow.alarm_report != ""
    )
    row = session.scalar(rows.order_by(ObserverRow.alarm_since.desc()).limit(1))
    if row is None or row.alarm_since is None:
        return None
    return DriftAlarm(version, row.alarm_report, row.alarm_score), row.alarm_since


def _key(observer: Observer) -> tuple[str, int, str, str]:
    return observer.version.model, observer.version.version, observer.reference, observer.sender


def _of(observer: Observer) -> Iterator[Any]:
    columns = (ObservedRowsRow.model, ObservedRowsRow.version, ObservedRowsRow.reference, ObservedRowsRow.sender)
    yield from (column == value for column, value in zip(columns, _key(observer), strict=True))
