"""Live monitoring: rows are stored until their window is compared, and alarms are raised after several windows.

The windows to which the rows of a batch belong, and the detector's new state, are computed outside of any transaction;
one transaction then stores the rows and acknowledges the batch, provided the sender's state has not changed in between.
A closed window is also compared outside of any transaction; storing its report, deleting its rows and raising an alarm
are one transaction. A server that crashes in between therefore loses nothing, and the next call for the same sender
compares the rows that are still stored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from modelward.drift import DriftReport
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import DriftAlarm, VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.drift.references import get_reference
from modelward_server.drift.reports import keep_report
from modelward_server.drift.row_order import TIME, time_of, time_text
from modelward_server.lifecycle.repository import version_row
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.monitoring_tables import ObservedRowsRow, ObserverRow
from modelward_server.storage.prepared import Outdated

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_TIME = np.datetime64(0, "us")
ALARM_AFTER, ALARM_OF = 2, 3
"""Default alarm rule: windows with drift, and the number of last windows among which they are counted."""


@dataclass(frozen=True)
class Observer:
    """The sender of live data of a version, and how the data are divided into windows.

    Attributes:
        rows: the number of rows after which a window closes; 0 if it closes by time.
        span: the duration after which it closes; windows begin at multiples of it since 1970 in UTC.
        alarm_after: the number of windows with drift that raise an alarm.
        alarm_of: the number of last windows among which they are counted.
    """

    version: VersionRef
    reference: str
    sender: str
    rows: int
    span: timedelta
    alarm_after: int
    alarm_of: int


@dataclass(frozen=True)
class WindowRows:
    """The rows of a window that are in the ledger, one Arrow IPC stream per batch, and when each was received."""

    seen_at: tuple[datetime, ...]
    tables: tuple[bytes, ...]


@dataclass(frozen=True)
class Window:
    """A window that closes, and its report.

    Attributes:
        batches: the number of its batches in the ledger.
    """

    number: int
    batches: int
    report: DriftReport


def with_alarm_defaults(observer: Observer) -> Observer:
    """Return an observer with the default alarm rule where none is set.

    Raises:
        InvalidField: more windows must drift than are counted.
    """
    after, of = observer.alarm_after or ALARM_AFTER, observer.alarm_of or max(ALARM_OF, observer.alarm_after)
    if after > of:
        fix = f"is {after} of the last {of} windows; ask for at most as many as are looked at"
        raise InvalidField(FieldViolation("header.alarm_after", fix))
    return Observer(observer.version, observer.reference, observer.sender, observer.rows, observer.span, after, of)


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


@dataclass
class ObserverState:
    """The state of a sender.

    Attributes:
        acknowledged: the number of the last batch that was stored.
        window: the number of the open window; those before it are closed.
        window_rows: the number of rows in the open window.
        window_opened: when the open window began, if windows close by time.
        closed_until: the last time of the rows in closed windows, as text; empty before the first one.
        latest_time: the last time of the rows in all windows.
        late_rows: the number of rows that were left out because they were older than a closed window.
        late_reported: the number of these when the last window closed.
        detector: the serialized state of the sequential detector.
    """

    acknowledged: int
    window: int
    window_rows: int
    window_opened: datetime | None
    detector: bytes
    closed_until: str = ""
    latest_time: str = ""
    late_rows: int = 0
    late_reported: int = 0

    def parts(
        self, observer: Observer, rows: int, seen_at: datetime, times: NDArray[Any] | None = None
    ) -> Iterator[tuple[int, slice]]:
        """Yield the window and the rows of each part of a batch, and advance to the window that is open after it.

        Args:
            times: the time of each row, ascending; None if rows have no time.

        Raises:
            InvalidField: the times are of another kind than those before, or no times where windows close by time.
        """
        if times is not None:
            self._check_times(observer, times)
            yield from (
                self._timed_parts_by_rows(observer.rows, times)
                if observer.rows
                else self._parts_by_time(observer.span, times)
            )
        elif observer.rows:
            yield from self._parts_by_rows(observer.rows, rows)
        else:
            opened = EPOCH + (seen_at - EPOCH) // observer.span * observer.span
            if self.window_opened is not None and opened > self.window_opened and self.window_rows:
                self.window, self.window_rows = self.window + 1, 0
            self.window_opened = max(opened, self.window_opened or opened)  # A late batch belongs to the open window.
            self.window_rows += rows
            yield self.window, slice(0, rows)

    def _check_times(self, observer: Observer, times: NDArray[Any]) -> None:
        holds_times, latest = times.dtype.kind == "M", time_of(self.latest_time)
        if latest is not None and isinstance(latest, np.datetime64) != holds_times:
            fix = "is of another kind than in the rows before: times and integers; send one of them"
            raise InvalidField(FieldViolation(TIME, fix))
        if not observer.rows and not holds_times:
            fix = "is given, but rows have integers as times; close windows after a number of rows"
            raise InvalidField(FieldViolation("header.span", fix))

    def _timed_parts_by_rows(self, max_rows: int, times: NDArray[Any]) -> Iterator[tuple[int, slice]]:
        begin = 0
        while (begin := begin + self._late(times[begin:])) < len(times):
            end = min(len(times), begin + max(max_rows - self.window_rows, 1))
            yield self.window, slice(begin, end)
            self._add(end - begin, times[end - 1])
            if self.window_rows >= max_rows:
                self._close()
            begin = end

    def _parts_by_time(self, span: timedelta, times: NDArray[Any]) -> Iterator[tuple[int, slice]]:
        length = np.timedelta64(span)
        starts = EPOCH_TIME + (times.astype("M8[us]") - EPOCH_TIME) // length * length
        opened = None if self.window_opened is None else np.datetime64(self.window_opened.replace(tzinfo=None))
        begin = 0 if opened is None else int(np.searchsorted(starts, opened))
        self.late_rows += begin
        for start in np.unique(starts[begin:]):
            if opened is not None and start > opened and self.window_rows:
                self._close()
            opened, end = start, int(np.searchsorted(starts, start, "right"))
            self.window_opened = start.item().replace(tzinfo=UTC)
            yield self.window, slice(begin, end)
            self._add(end - begin, times[end - 1])
            begin = end

    def _late(self, times: NDArray[Any]) -> int:
        """Return how many of the rows are older than a closed window, and count them."""
        closed = time_of(self.closed_until)
        late = 0 if closed is None else int(np.searchsorted(times, closed))
        self.late_rows += late
        return late

    def _add(self, rows: int, last: Any) -> None:
        latest = time_of(self.latest_time)
        self.latest_time = time_text(last if latest is None else max(last, latest))
        self.window_rows += rows

    def _close(self) -> None:
        self.window, self.window_rows, self.closed_until = self.window + 1, 0, self.latest_time

    def _parts_by_rows(self, max_rows: int, rows: int) -> Iterator[tuple[int, slice]]:
        begin = 0
        while begin < rows:
            end = min(rows, begin + max(max_rows - self.window_rows, 1))
            yield self.window, slice(begin, end)
            self.window_rows += end - begin
            if self.window_rows >= max_rows:
                self.window, self.window_rows = self.window + 1, 0
            begin = end


def is_new(place: ObserverState, number: int) -> bool:
    """Return whether a batch is the next one; false for a repeated batch, which is already stored.

    Raises:
        InvalidField: batches in between are missing.
    """
    if number > place.acknowledged + 1:
        fix = f"is {number}, but {place.acknowledged + 1} comes next; send the batches in order, counted from 1"
        raise InvalidField(FieldViolation("batch.number", fix))
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


def keep_rows(session: Session, row: ObserverRow, window: int, seen_at: datetime, table: bytes) -> None:
    """Store rows of a window until it is compared."""
    own = {"model": row.model, "version": row.version, "reference": row.reference, "sender": row.sender}
    session.add(ObservedRowsRow(window=window, seen_at=seen_at, table=table, **own))


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
    session: Session, observer: Observer, row: ObserverRow, window: Window, actor: ActorContext
) -> tuple[DriftReport, bool]:
    """Store the report of a window, delete its rows, and raise an alarm if the rule requires it.

    Returns:
        The report and whether it raised an alarm.

    Raises:
        Outdated: the rows of the window in the ledger are not the ones that were compared.
    """
    deleted = session.execute(delete(ObservedRowsRow).where(*_of(observer), ObservedRowsRow.window == window.number))
    if deleted.rowcount != window.batches:  # type: ignore[attr-defined]
        raise Outdated
    kept = keep_report(session, window.report, actor, observed=True)
    row.late_reported += kept.late_rows
    row.drifted = [*row.drifted, kept.drift_detected][-observer.alarm_of :]
    return kept, _raise_alarm(session, observer, row, kept, actor)


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


def _key(observer: Observer) -> tuple[str, int, str, str]:
    return observer.version.model, observer.version.version, observer.reference, observer.sender


def _of(observer: Observer) -> Iterator[Any]:
    columns = (ObservedRowsRow.model, ObservedRowsRow.version, ObservedRowsRow.reference, ObservedRowsRow.sender)
    yield from (column == value for column, value in zip(columns, _key(observer), strict=True))
