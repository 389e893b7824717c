"""Live data into windows: rows are kept until their window is compared, and alarms are raised after several windows.

Which windows the rows of a batch belong to, and what the detector makes of them, is worked out outside of any
transaction; one transaction then keeps the rows and acknowledges the batch, if the sender still stands where it stood.
A window that is closed is compared outside of any transaction, too; its report, the end of its rows and the alarm that
it may raise are one transaction. So a server that dies in between forgets nothing, and the next call about the same
sender compares what is still there.
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
from modelward_server.actor_context import ActorContext
from modelward_server.drift.references import get_reference
from modelward_server.drift.reports import keep_report
from modelward_server.lifecycle.repository import version_row
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.monitoring_tables import ObservedRowsRow, ObserverRow
from modelward_server.storage.prepared import Outdated

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
class Kept:
    """The rows of a window that are in the ledger, one Arrow IPC stream for each batch, and when each was seen."""

    seen_at: tuple[datetime, ...]
    tables: tuple[bytes, ...]


@dataclass(frozen=True)
class Window:
    """A window that closes, and what it came to.

    Attributes:
        batches: how many of its batches are in the ledger.
    """

    number: int
    batches: int
    report: DriftReport


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


@dataclass
class Place:
    """Where a sender stands.

    Attributes:
        acknowledged: the number of the last batch that was taken.
        window: the number of the window that is open; those before it are closed.
        window_rows: how many rows it has.
        window_opened: when it began, where windows close by time.
    """

    acknowledged: int
    window: int
    window_rows: int
    window_opened: datetime | None
    detector: bytes

    def parts(self, observer: Observer, rows: int, seen_at: datetime) -> Iterator[tuple[int, slice]]:
        """Give the window of each part of a batch, and the part, and move to what is open after it."""
        if observer.rows:
            yield from self._parts_by_rows(observer.rows, rows)
        else:
            opened = EPOCH + (seen_at - EPOCH) // observer.span * observer.span
            if self.window_opened is not None and opened > self.window_opened and self.window_rows:
                self.window, self.window_rows = self.window + 1, 0
            self.window_opened = max(opened, self.window_opened or opened)  # A late batch counts into the open window.
            self.window_rows += rows
            yield self.window, slice(0, rows)

    def _parts_by_rows(self, most: int, rows: int) -> Iterator[tuple[int, slice]]:
        begin = 0
        while begin < rows:
            end = min(rows, begin + max(most - self.window_rows, 1))
            yield self.window, slice(begin, end)
            self.window_rows += end - begin
            if self.window_rows >= most:
                self.window, self.window_rows = self.window + 1, 0
            begin = end


def is_new(place: Place, number: int) -> bool:
    """Tell whether a batch is the next one; one that came before is taken once.

    Raises:
        InvalidField: batches between are lacking.
    """
    if number > place.acknowledged + 1:
        fix = f"is {number}, but {place.acknowledged + 1} comes next; send the batches in order, counted from 1"
        raise InvalidField(FieldViolation("batch.number", fix))
    return number == place.acknowledged + 1


def place_of(session: Session, observer: Observer) -> Place | None:
    """Return where a sender stands; None when nothing was heard of it yet.

    Raises:
        ModelNotFound, VersionNotFound: what is named does not exist.
    """
    version_row(session, observer.version)
    row = session.get(ObserverRow, _key(observer))
    if row is None:
        return None
    return Place(row.acknowledged, row.window, row.window_rows, row.window_opened, row.detector)


def move(row: ObserverRow, to: Place) -> None:
    """Write down where a sender stands."""
    row.acknowledged, row.detector = to.acknowledged, to.detector
    row.window, row.window_rows, row.window_opened = to.window, to.window_rows, to.window_opened


def keep_rows(session: Session, row: ObserverRow, window: int, seen_at: datetime, table: bytes) -> None:
    """Keep rows of a window until it is compared."""
    own = {"model": row.model, "version": row.version, "reference": row.reference, "sender": row.sender}
    session.add(ObservedRowsRow(window=window, seen_at=seen_at, table=table, **own))


def closed_window(session: Session, observer: Observer, before: int) -> int | None:
    """Return the oldest window before the one that is open whose rows are in the ledger."""
    windows = select(func.min(ObservedRowsRow.window)).where(*_of(observer), ObservedRowsRow.window < before)
    return session.scalar(windows)


def kept_rows(session: Session, observer: Observer, window: int) -> Kept:
    """Return the rows of a window that are in the ledger."""
    rows = select(ObservedRowsRow.seen_at, ObservedRowsRow.table).where(
        *_of(observer), ObservedRowsRow.window == window
    )
    found = session.execute(rows.order_by(ObservedRowsRow.id)).all()
    return Kept(tuple(row[0] for row in found), tuple(row[1] for row in found))


def close_window(
    session: Session, observer: Observer, row: ObserverRow, window: Window, actor: ActorContext
) -> tuple[DriftReport, bool]:
    """Keep the report of a window, forget its rows, and raise an alarm where it is due.

    Returns:
        the report and whether it raised an alarm.

    Raises:
        Outdated: other rows of the window are in the ledger than were compared.
    """
    gone = session.execute(delete(ObservedRowsRow).where(*_of(observer), ObservedRowsRow.window == window.number))
    if gone.rowcount != window.batches:  # type: ignore[attr-defined]
        raise Outdated
    kept = keep_report(session, window.report, actor, observed=True)
    row.drifted = [*row.drifted, kept.drift_detected][-observer.alarm_of :]
    return kept, _raise_alarm(session, observer, row, kept, actor)


def _raise_alarm(
    session: Session, observer: Observer, row: ObserverRow, report: DriftReport, actor: ActorContext
) -> bool:
    """Raise an alarm when none stands and enough windows drifted, end it when none of them did."""
    if not any(row.drifted):
        row.alarm_report, row.alarm_since = "", None
    if row.alarm_report or sum(row.drifted) < observer.alarm_after:
        return False
    row.alarm_report, row.alarm_score, row.alarm_since = report.report_id, report.score, actor.at
    alarm = DriftAlarm(observer.version, report.report_id, report.score)
    audit.append(session, Kind.DRIFT_ALARM, row.model, alarm, actor, row.version)
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
