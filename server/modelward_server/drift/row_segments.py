"""Segments of rows: by the values of a column, by ranges of times, and by sessions beside closures of an exchange."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.data import Columns
from modelward.drift import Reference, TimeWindow
from modelward.errors import CalendarEnds, FieldViolation, InvalidField
from modelward.kinds import Kind, category_labels, is_time, kind_of
from modelward.segments import ClosureSessions, Regime, Segments, TimeRange
from modelward.shared.row_ids import MAX_EXACT_FLOAT
from modelward.shared.suggestions import unknown_columns
from modelward_server.drift.row_order import TIME, RowKeys, panel_of, read_keys, window_of
from modelward_server.exchange_sessions import (
    SessionRange,
    check_calendar,
    closures,
    session_dates,
    this_month,
)
from modelward_server.statistics.panel import Panel
from modelward_server.storage.columns import select_rows

COLUMN, REGIMES = "segments.column", "segments.regimes"
"""The fields of requests that describe segments."""
MAX_SEGMENTS = 100
"""Maximum number of values of a column of segments."""
MIN_TIMES = 10
"""Minimum number of times of a segment that is tested, without times of rows: fewer show next to nothing."""
ISO = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d{1,9})?)?)?Z?)?)?)?", re.ASCII)
"""A year, a month, a date, or a time in UTC."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RowSegment:
    """One segment of a table.

    Attributes:
        column: the column whose value it is; empty for a regime.
        name: the value, or the name of the regime.
        rows: the positions of its rows, ascending.
        window: its times and groups; None without a time.
        note: why it is not tested; empty if it is.
    """

    column: str
    name: str
    rows: NDArray[np.int64]
    window: TimeWindow | None
    note: str


@dataclass(frozen=True)
class RowSegments:
    """The segments of a table.

    Attributes:
        found: the segments: those of the column in the order of its values, then the regimes.
        dependent: whether segments that are tested share times, so that their results may depend on each other.
        left_out: the number of rows in which the column is missing.
    """

    found: tuple[RowSegment, ...]
    dependent: bool
    left_out: int


def divide(columns: Columns, keys: RowKeys, segments: Segments, field: str = COLUMN) -> RowSegments:
    """Divide sorted rows into segments.

    Args:
        columns: the table with its times, groups and the column of segments, sorted by `keys`.
        keys: the columns with the times and groups of the rows.
        segments: the segments.
        field: the field of the request that names the column.

    Raises:
        InvalidField: the column does not exist, holds times or numbers that are not integers, or has too many values;
            a regime needs times that the rows do not have, or its ends or calendar are invalid.
    """
    keys = keys.within(columns)
    panel = panel_of(columns, keys)
    masks = [(segments.column, name, mask) for name, mask in _by_column(columns, keys, segments.column, field)]
    in_column = sum(int(mask.sum()) for _, _, mask in masks)
    masks += [("", name, regime_mask(columns, keys, one, name)) for name, one in segments.regimes.items()]
    found = tuple(_segment(column, name, mask, columns, keys) for column, name, mask in masks)
    tested = [one.rows for one in found if not one.note]
    rows = len(next(iter(columns.values())))
    return RowSegments(found, _share_times(tested, panel), rows - in_column if segments.column else 0)


def column_names(columns: Columns, keys: RowKeys, segments: Segments | None) -> frozenset[str]:
    """Return the columns that are not features: those of times, groups and segments."""
    return keys.names | ({segments.column} - {""} if segments else frozenset())


def _segment(column: str, name: str, mask: Mask, columns: Columns, keys: RowKeys) -> RowSegment:
    rows = np.flatnonzero(mask)
    if not len(rows):
        return RowSegment(column, name, rows, None, "has no rows")
    window = window_of({key: columns[key][rows] for key in keys.names}, keys) if keys.time else None
    count, unit = (window.times, "times") if window else (len(rows), "rows")
    note = f"has only {count} {unit}; {MIN_TIMES} are the fewest that are tested" if count < MIN_TIMES else ""
    return RowSegment(column, name, rows, window, note)


def _share_times(tested: Sequence[NDArray[np.int64]], panel: Panel | None) -> bool:
    """Return whether segments have times in common; without times they may, as it is unknown which rows belong to
    which."""
    if panel is None or len(tested) < 2:
        return len(tested) > 1
    times = [np.unique(panel.times[rows]) for rows in tested]
    return sum(map(len, times)) > len(np.unique(np.concatenate(times)))


def _by_column(columns: Columns, keys: RowKeys, name: str, field: str) -> list[tuple[str, Mask]]:
    """Return the rows of each value of a column, in the order of the values."""
    if not name:
        return []
    if name not in columns:
        raise InvalidField(FieldViolation(field, unknown_columns([name], list(columns))[0]))
    if name == keys.time:
        raise InvalidField(
            FieldViolation(field, f"names {name!r}, the column of times; name ranges of them as regimes")
        )
    values = _values(columns[name], name, field)
    codes: dict[Any, int] = {}
    places = np.array([-1 if value is None else codes.setdefault(value, len(codes)) for value in values], np.int64)
    if len(codes) > MAX_SEGMENTS:
        fix = f"{name!r} has {len(codes):,} values; {MAX_SEGMENTS} segments are the most, so name a coarser column"
        raise InvalidField(FieldViolation(field, fix))
    return [(str(value), places == codes[value]) for value in sorted(codes)]


def _values(column: NDArray[Any], name: str, field: str) -> list[Any]:
    """Return the values of a column of segments: text, or integers; None where they are missing."""
    kind = kind_of(column)
    if is_time(column):
        raise InvalidField(FieldViolation(field, f"{name!r} holds times; name ranges of times as regimes"))
    if kind is not Kind.NUMBER:
        return category_labels(column)
    missing = np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), np.bool_)
    present = column[~missing]
    if not ((np.abs(present) < MAX_EXACT_FLOAT) & (present == np.floor(present))).all():
        fix = f"{name!r} holds numbers that are not integers; send text or integers, such as the number of a quantile"
        raise InvalidField(FieldViolation(field, fix))
    return [None if gone else int(value) for value, gone in zip(column.tolist(), missing.tolist(), strict=True)]


def rows_in(columns: Columns, keys: RowKeys, regime: Regime, field: str) -> Columns:
    """Return the rows of a regime, of a table in any order.

    Raises:
        InvalidField: as `divide`; or there are no such rows.
    """
    keys = keys.within(columns)
    read = columns | read_keys(columns, keys) if keys.time else columns
    mask = regime_mask(read, keys, regime, field=field)
    return select_rows(columns, mask)


def regime_mask(columns: Columns, keys: RowKeys, regime: Regime, name: str = "", field: str = "") -> Mask:
    """Return which rows belong to a regime.

    Args:
        columns: the table, sorted by `keys`.
        keys: the columns with the times and groups of the rows.
        regime: the regime.
        name: its name among the segments.
        field: the path of the regime in the request; empty: that of the segment.

    Raises:
        InvalidField: as `divide`.
    """
    field = field or f"{REGIMES}[{name!r}]"
    if not keys.time:
        raise InvalidField(FieldViolation(TIME, f"is missing; {field} needs the time of each row, so name its column"))
    times = columns[keys.time]
    if isinstance(regime, TimeRange):
        return _in_range(times, regime, f"{field}.range")
    return _at_sessions(times, regime, f"{field}.sessions")


def check_segments(segments: Segments, reference: Reference | None = None) -> None:
    """Validate segments before the data are read.

    Raises:
        InvalidField: the column is a feature of the reference, or a calendar is unknown.
    """
    if reference is not None and segments.column in [feature.name for feature in reference.features]:
        fix = f"names {segments.column!r}, a feature of reference {reference.name!r}; add a copy of it by another name"
        raise InvalidField(FieldViolation(COLUMN, fix))
    for name, regime in segments.regimes.items():
        check_regime(regime, f"{REGIMES}[{name!r}]")


def check_regime(regime: Regime, field: str) -> None:
    """Validate the calendar of a regime.

    Raises:
        InvalidField: it is unknown.
    """
    if isinstance(regime, ClosureSessions):
        check_calendar(regime.calendar, f"{field}.sessions.calendar")


def rows_of_sessions(columns: Columns, keys: RowKeys, sessions: SessionRange, field: str) -> NDArray[np.int64]:
    """Return which rows of a table are of some sessions, ascending.

    Raises:
        InvalidField: the rows have no dates or times, or none is of the sessions.
    """
    if not keys.time or columns[keys.time].dtype.kind != "M":
        fix = f"must name a column with dates or times; {field} needs them"
        raise InvalidField(FieldViolation("time_column", fix))
    dates = session_dates(columns[keys.time], sessions.calendar)
    first, last = np.datetime64(sessions.first), np.datetime64(sessions.last)
    rows = np.flatnonzero((dates >= first) & (dates <= last))
    if not len(rows):
        span = f", but its rows are of {dates[0]} to {dates[-1]}" if len(dates) else ""
        raise InvalidField(FieldViolation("data", f"has no row of {sessions}{span}; append those to it"))
    return rows


def _in_range(times: NDArray[Any], span: TimeRange, field: str) -> Mask:
    if times.dtype.kind == "M":
        times = times.astype("M8[us]")
    first, last = _end(times, span.first, f"{field}.first"), _end(times, span.last, f"{field}.last")
    if first is not None and last is not None and last < first:
        raise InvalidField(FieldViolation(f"{field}.last", f"is {span.last}, before {span.first}; give the later time"))
    inside = np.ones(len(times), np.bool_)
    if first is not None:
        inside &= times >= first
    if last is not None:  # The whole year, month, day or second that it names.
        inside &= times < last + 1
    return inside


def _end(times: NDArray[Any], text: str, field: str) -> Any:
    """Return an end of a range, of the kind of the times; None without a limit."""
    if not text:
        return None
    holds_times = times.dtype.kind == "M"
    try:
        return _instant(text) if holds_times else int(text)
    except ValueError:
        iso = "a year, month, date or time of ISO 8601, such as 2024-06-28"
        kind = (
            f"{iso}, as the times of the rows are dates or times"
            if holds_times
            else "an integer, as the times of the rows are"
        )
        raise InvalidField(FieldViolation(field, f"is {text!r}; give {kind}")) from None


def _instant(text: str) -> np.datetime64:
    """Return a year, month, date or time, which is at most as fine as a microsecond, as the times of rows here are.

    Raises:
        ValueError: it is none, such as a date without hyphens, which numpy takes for a year.
    """
    if not ISO.fullmatch(text):
        raise ValueError(text)
    instant = np.datetime64(text.removesuffix("Z"))
    return instant.astype("M8[us]") if instant.dtype == np.dtype("M8[ns]") else instant


def _at_sessions(times: NDArray[Any], regime: ClosureSessions, field: str) -> Mask:
    if times.dtype.kind != "M":
        raise InvalidField(FieldViolation(field, "needs dates or times, but the times of the rows are integers"))
    last = regime.first if regime.last is None else regime.last
    if last < regime.first:
        raise InvalidField(FieldViolation(f"{field}.last", f"is {last}, before {regime.first}; give the later place"))
    try:
        known = closures(regime.calendar, regime.days, this_month())
        dates = session_dates(times, regime.calendar)
    except CalendarEnds as error:
        raise InvalidField(FieldViolation(f"{field}.calendar", error.message)) from error
    outside = (dates < known.days[0]) | (dates > known.days[-1])
    if outside.any():
        span = f"has sessions from {known.days[0]} to {known.days[-1]}, but rows are of {dates[outside][0]}"
        raise InvalidField(FieldViolation(f"{field}.calendar", f"{span}; leave those out"))
    return np.isin(dates, known.days[known.between(regime.first, last)])
