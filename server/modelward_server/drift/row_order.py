"""The order of rows: sorted by time and group, so that no result depends on the order in which they were sent."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modelward.data import Columns
from modelward.drift import TimeWindow
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import Kind, kind_of, missing_in
from modelward.shared.row_ids import MAX_EXACT_FLOAT
from modelward.shared.suggestions import unknown_columns
from modelward_server.statistics.panel import Panel
from modelward_server.storage.columns import joined, select_rows, without
from modelward_server.storage.table_memory import MIB, bytes_of

TIME, GROUP, ID = "time_column", "group_column", "id_column"
"""The fields of requests that name the columns."""
MAX_SORTED_BYTES = 96 * MIB
"""Rows up to this size are sorted in memory; of more, each part of this size must come after those before it."""
MIN_TIME, MAX_TIME = np.datetime64("0001-01-02", "us"), np.datetime64("9999-12-31", "us")
MAX_DIGITS = 18
"""Integers of more digits are no times."""
ASSUMED = "rows were taken to be in order of time; name the column with their time to sort them"
"""The note of results whose rows have no time."""
REFERENCE_ASSUMED = "rows of the reference were taken to be in order of time; set it with the column of their time"
LIVE_ASSUMED = "live rows were taken to be in order of time; send the reference's column with their time"


@dataclass(frozen=True)
class RowKeys:
    """The columns with the time and the group of each row.

    Attributes:
        time: empty: the rows are in the order of time.
        group: empty: each time has one row.
        of_reference: whether they are those of the reference; data may then lack a time, unless there are groups.
    """

    time: str = ""
    group: str = ""
    of_reference: bool = False

    def __post_init__(self) -> None:
        if self.group and not self.time:
            raise InvalidField(FieldViolation(TIME, f"is missing; {GROUP} has no effect without it, so name both"))
        if self.time and self.time == self.group:
            raise InvalidField(FieldViolation(GROUP, f"names {self.group!r}, as {TIME} does; name two columns"))

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the columns."""
        return frozenset((self.time, self.group)) - {""}

    def within(self, names: Collection[str]) -> "RowKeys":
        """Return these keys, or none if the data lack the time of the reference.

        Raises:
            InvalidField: there is no such column.
        """
        if self.of_reference and not self.group and self.time not in names:
            return NO_KEYS
        fields = {name: field for field, name in ((TIME, self.time), (GROUP, self.group)) if name}
        whose = "of the reference " if self.of_reference else ""
        unknown = [name for name in fields if name not in names]
        if unknown:
            fixes = unknown_columns(unknown, names)
            raise InvalidField(
                *(FieldViolation(fields[name], whose + fix) for name, fix in zip(unknown, fixes, strict=True))
            )
        return self

    def if_present(self, names: Collection[str]) -> "RowKeys":
        """Return the keys of the reference if the columns are there, or none; others as `within`."""
        return NO_KEYS if self.of_reference and not self.names <= {*names} else self.within(names)


NO_KEYS = RowKeys()


def keys_of(time: str, group: str, known: TimeWindow | None = None) -> RowKeys:
    """Return the keys that a request names, or else those of an earlier one, such as of the reference.

    Raises:
        InvalidField: a group is named without a time.
    """
    if known is None or time:
        same = known is not None and time == known.time_column
        return RowKeys(time, group or (known.group_column if known is not None and same else ""))
    return RowKeys(known.time_column, group or known.group_column, of_reference=not group)


def sort_rows(columns: Columns, keys: RowKeys, first_row: int = 0) -> NDArray[np.int64] | None:
    """Sort the rows of a table by time and group, in place.

    Times become integers or datetimes; groups become integers or text.

    Args:
        first_row: the number of rows before them, for errors.

    Returns:
        The position that each row had before; None if nothing moved, or there is no time.

    Raises:
        InvalidField: a column does not exist, a time or group is missing or of another kind, or a pair is repeated.
    """
    keys = keys.within(columns)
    if not keys.time:
        return None
    columns |= read_keys(columns, keys)
    times, codes = columns[keys.time], _codes(columns, keys)
    order = np.lexsort((codes, times))
    _check_unique(columns, keys, order, codes, first_row)
    if (order[1:] > order[:-1]).all():
        return None
    for values in columns.values():
        values[:] = values[order]
    return order


def read_keys(columns: Columns, keys: RowKeys) -> Columns:
    """Return the columns of times and groups, converted.

    Raises:
        InvalidField: a value is missing or of another kind.
    """
    times = {keys.time: _times(columns[keys.time], f"{TIME}: {keys.time!r}")}
    return times | ({keys.group: _groups(columns[keys.group], f"{GROUP}: {keys.group!r}")} if keys.group else {})


def panel_of(columns: Columns, keys: RowKeys) -> Panel | None:
    """Return the times and groups of sorted rows; None without a time."""
    keys = keys.within(columns)
    if not keys.time:
        return None
    times = columns[keys.time]
    index = np.concatenate(([0], np.cumsum(times[1:] != times[:-1]))).astype(np.int64)
    return Panel(index, _codes(columns, keys) if keys.group else None)


def window_of(columns: Columns, keys: RowKeys) -> TimeWindow | None:
    """Return the times and groups of sorted rows, as they are shown; None without a time."""
    panel = panel_of(columns, keys)
    if panel is None:
        return None
    times, groups = columns[keys.time], 0 if panel.groups is None else len(np.unique(panel.groups))
    return TimeWindow(
        keys.time, keys.group, time_text(times[0]), time_text(times[-1]), int(panel.times[-1]) + 1, groups
    )


def without_keys(columns: Columns, keys: RowKeys) -> Columns:
    """Return the columns that are neither time nor group."""
    return without(columns, keys.names)


def time_text(value: Any) -> str:
    """Return a time as text: an integer, a date, or a time of ISO 8601 in UTC."""
    if not isinstance(value, np.datetime64):
        return str(value)
    text = str(np.datetime_as_string(value, unit="auto"))
    return f"{text}Z" if "T" in text else text


def time_of(text: str) -> Any:
    """Return the time of a text of `time_text`; None for an empty one."""
    if not text:
        return None
    return int(text) if text.removeprefix("-").isdigit() else np.datetime64(text.removesuffix("Z"))


def parse_time(text: str, field: str) -> Any:
    """Return the time of a text that a client sent: an integer, a date, or a time of ISO 8601.

    Raises:
        InvalidField: it is none.
    """
    if text.removeprefix("-").isdecimal() and len(text) <= MAX_DIGITS:
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fix = f"is {text!r}; send a date or time of ISO 8601, such as 2024-06-28 or 2024-06-28T20:00:00Z, or an integer"
        raise InvalidField(FieldViolation(field, fix)) from None
    if len(text) <= len("2024-06-28"):
        return np.datetime64(at, "D")
    return np.datetime64(at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at, "us")


def without_repeated(columns: Columns, keys: RowKeys) -> tuple[Columns, int]:
    """Return the first row of each pair of time and group, in their order, and the number of other rows."""
    times, codes = columns[keys.time], _codes(columns, keys)
    order = np.lexsort((codes, times))
    same = _repeats(times, codes, order)
    kept = np.sort(order[np.concatenate(([True], ~same))])
    return select_rows(columns, kept), int(same.sum())


class SortedBatches:
    """The batches of a table that may be larger than memory, sorted by time and group, and without these columns.

    Rows of up to `MAX_SORTED_BYTES` are sorted together. Of more, each part must come after those before it.

    Args:
        batches: tables with the same columns.
        keys: the columns to sort by.

    Attributes:
        window: the times and groups of all rows after the iteration; None without a time.
    """

    def __init__(self, batches: Iterable[Columns], keys: RowKeys) -> None:
        self._batches, self._keys = batches, keys
        self._groups: set[Any] = set()
        self._rows = 0
        self.window: TimeWindow | None = None
        self._last: tuple[Any, Any] | None = None

    def __iter__(self) -> Iterator[tuple[Columns, NDArray[np.int64] | None]]:
        """Yield each part, and the numbers of its rows' times; None without a time."""
        held: list[Columns] = []
        for batch in self._batches:
            if not self._keys.within(batch).time:
                yield batch, None
                continue
            held.append(batch)
            if sum(map(bytes_of, held)) > MAX_SORTED_BYTES:
                yield self._sorted(held)
                held = []
        if held:
            yield self._sorted(held)

    def _sorted(self, held: list[Columns]) -> tuple[Columns, NDArray[np.int64] | None]:
        """Sort the next part, and add it to the window."""
        columns = joined(held)
        sort_rows(columns, self._keys, self._rows)
        self._rows += len(columns[self._keys.time])
        panel, window = panel_of(columns, self._keys), window_of(columns, self._keys)
        if panel is None or window is None:
            return columns, None
        self._check_follows(columns)
        self._add(columns, window)
        assert self.window is not None
        return without_keys(columns, self._keys), panel.times + (self.window.times - panel.length)

    def _check_follows(self, columns: Columns) -> None:
        first, last = (tuple(columns[name][row] for name in self._columns) for row in (0, -1))
        if self._last is not None and first <= self._last:
            fix = f"is not in order: data larger than {MAX_SORTED_BYTES // MIB} MiB must be sorted by time and group, "
            raise InvalidField(FieldViolation(TIME, f"{fix}but {time_text(first[0])} follows {self._shown}"))
        self._last = last

    @property
    def _shown(self) -> str:
        return "" if self._last is None else time_text(self._last[0])

    @property
    def _columns(self) -> tuple[str, ...]:
        return (self._keys.time, self._keys.group) if self._keys.group else (self._keys.time,)

    def _add(self, columns: Columns, window: TimeWindow) -> None:
        self._groups |= set(columns[self._keys.group].tolist()) if self._keys.group else set()
        before = self.window or replace(window, times=0)
        shared = int(before.times > 0 and before.last == window.first)
        times = before.times + window.times - shared
        self.window = replace(window, first=before.first, times=times, groups=len(self._groups))


def _codes(columns: Columns, keys: RowKeys) -> NDArray[np.int64]:
    """Return the rank of each row's group among the groups; zeros without a group."""
    if not keys.group:
        return np.zeros(len(columns[keys.time]), np.int64)
    groups = columns[keys.group]
    if groups.dtype != object:
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)
    encoded = pa.array(groups, pa.large_string()).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    ranks = np.empty(len(names), np.int64)
    ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return np.asarray(ranks[encoded.indices.to_numpy()], np.int64)


def _repeats(times: NDArray[Any], codes: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows but the first, in a sorting order, have the time and group of the row before."""
    times, codes = times[order], codes[order]
    return np.asarray((times[1:] == times[:-1]) & (codes[1:] == codes[:-1]))


def _check_unique(
    columns: Columns, keys: RowKeys, order: NDArray[np.int64], codes: NDArray[np.int64], first_row: int
) -> None:
    times = columns[keys.time][order]
    same = np.flatnonzero(_repeats(columns[keys.time], codes, order))
    if not len(same):
        return
    first, second = sorted(order[same[0] : same[0] + 2].tolist())
    pair = time_text(times[same[0]]) + (f" and {columns[keys.group][first]!r}" if keys.group else "")
    named = f"{keys.time!r} and {keys.group!r} have" if keys.group else f"{keys.time!r} has"
    fix = "each pair may have one row" if keys.group else f"name the column that distinguishes them in {GROUP}"
    raise InvalidField(
        FieldViolation(TIME, f"{named} {pair} in rows {first_row + first} and {first_row + second}; {fix}")
    )


def _times(values: NDArray[Any], field: str) -> NDArray[Any]:
    """Return times as datetimes in UTC or as integers."""
    _check_present(values, field, "time")
    kind = kind_of(values)
    if kind in {Kind.TIME, Kind.CATEGORY}:
        times = values if kind is Kind.TIME else _parsed(values, field)
        if times.dtype == np.dtype("M8[us]") and ((times < MIN_TIME) | (times > MAX_TIME)).any():
            raise _invalid(field, "holds times before year 1 or after 9999; leave those rows out")
        return times
    return _integers(values, field, "send dates, times, ISO 8601 text or integers")


def _groups(values: NDArray[Any], field: str) -> NDArray[Any]:
    """Return groups as text or integers."""
    _check_present(values, field, "group")
    return values if kind_of(values) is Kind.CATEGORY else _integers(values, field, "send text or integers")


def _integers(values: NDArray[Any], field: str, fix: str) -> NDArray[Any]:
    if kind_of(values) is not Kind.NUMBER:
        raise _invalid(field, f"holds {kind_of(values)}; {fix}")
    if values.dtype == np.int64:
        return values
    if not ((np.abs(values) < MAX_EXACT_FLOAT) & (values == np.floor(values))).all():
        raise _invalid(field, f"holds numbers that are not integers; {fix}")
    return values.astype(np.int64)


def _parsed(values: NDArray[Any], field: str) -> NDArray[Any]:
    """Return ISO 8601 text as datetimes in UTC."""
    text = pa.array(values, pa.large_string())
    for unit in ("us", "ns"):
        for zone in (None, "UTC"):
            try:
                return np.array(text.cast(pa.timestamp(unit, zone)).to_numpy(zero_copy_only=False))
            except pa.ArrowInvalid:
                continue
    raise _invalid(field, f"holds text such as {values[0]!r}; send ISO 8601, with or without a time zone in all rows")


def _check_present(values: NDArray[Any], field: str, what: str) -> None:
    missing = np.flatnonzero(missing_in(values))
    if len(missing):
        fix = f"give every row a {what}, or leave the row out"
        raise _invalid(field, f"is missing in {len(missing):,} of {len(values):,} rows, first in {missing[0]}; {fix}")


def _invalid(field: str, fix: str) -> InvalidField:
    name, _, column = field.partition(": ")
    return InvalidField(FieldViolation(name, f"{column} {fix}"))
