"""Windows of live data: which rows belong to which window, when the open one closes, and which rows are late."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import VersionRef
from modelward_server.drift.row_order import TIME, time_of, time_text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_TIME = np.datetime64(0, "us")
GRACE_SHARE, MAX_GRACE = 0.1, timedelta(hours=1)
"""How long after its end a window without new rows stays open: a share of its duration, for a batch on its way."""
MAX_WAIT = timedelta(days=36_525)


@dataclass(frozen=True)
class Observer:
    """The sender of live data of a version, and how the data are divided into windows.

    Attributes:
        rows: the number of rows after which a window closes; 0 if it closes by time.
        span: the duration after which it closes; windows begin at multiples of it since 1970 in UTC.
        alarm_after: the number of windows with drift that raise an alarm.
        alarm_of: the number of last windows among which they are counted.
        time_column: the column with the times of rows; empty: that of the reference.
        group_column: the column with their groups.
        id_column: the column with the ids of their predictions; empty: they have none.
    """

    version: VersionRef
    reference: str
    sender: str
    rows: int
    span: timedelta
    alarm_after: int
    alarm_of: int
    time_column: str = ""
    group_column: str = ""
    id_column: str = ""


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

    def closes_at(self, observer: Observer, last: datetime, received: datetime) -> datetime | None:
        """Return when the open window closes without further rows; None if it closes by rows, or has none.

        That is as long after the last batch as the window lasted after the batch's rows, and then a grace. Rows that
        arrive late, or are replayed, so do not close a window earlier than they would have when they were observed.

        Args:
            last: the time of the last row.
            received: when its batch was received.
        """
        if observer.rows or not self.window_rows or self.window_opened is None:
            return None
        remaining = max(observer.span - (last - self.window_opened), timedelta(0))
        return received + min(remaining, MAX_WAIT) + min(observer.span * GRACE_SHARE, MAX_GRACE)

    @property
    def latest(self) -> datetime | None:
        """Return the last time of the rows in all windows; None if rows have no times, or integers."""
        latest = time_of(self.latest_time)
        return latest.astype("M8[us]").item().replace(tzinfo=UTC) if isinstance(latest, np.datetime64) else None

    def close_open(self, observer: Observer) -> None:
        """Close the open window, as its time is over; rows of its time are late from now on."""
        self._close()
        if self.window_opened is not None:
            with suppress(OverflowError):  # Of a window that ends after the year 9999.
                self.window_opened += observer.span

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
