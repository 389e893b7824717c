"""Which rows belong to which segment: by a column, by ranges of times, and by sessions beside closures."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelward.errors import InvalidField
from modelward.kinds import to_column
from modelward.segments import ClosureSessions, Regime, Segments, TimeRange
from modelward_server.drift.row_order import NO_KEYS, RowKeys
from modelward_server.drift.row_segments import RowSegments, divide, regime_mask

DAYS = np.arange("2024-01-01", "2025-01-01", dtype="M8[D]")
DAY = RowKeys("day")


def divided(by: Any, **regimes: Regime) -> RowSegments:
    columns = {"by": to_column(by, "by")}
    keys = DAY if regimes else NO_KEYS
    if regimes:
        columns["day"] = DAYS[: len(by)].astype("M8[us]")
    return divide(columns, keys, Segments("by", regimes))


@given(st.lists(st.sampled_from(["Tech", "Energy", "", None, "Banks"]), min_size=1, max_size=60))
def test_segments_of_a_column_cover_each_row_with_a_value_once(sectors: list[str | None]) -> None:
    found = divided(sectors)
    covered = np.sort(np.concatenate([one.rows for one in found.found] or [np.empty(0, np.int64)]))
    present = [row for row, sector in enumerate(sectors) if sector is not None]
    assert covered.tolist() == present
    assert found.left_out == len(sectors) - len(present)
    for one in found.found:
        assert {sectors[row] for row in one.rows} == {one.name}


def test_integers_and_booleans_are_segments_by_their_text() -> None:
    assert [one.name for one in divided([2, 10, None, 2]).found] == ["2", "10"]
    assert [one.name for one in divided([True, False]).found] == ["false", "true"]


@pytest.mark.parametrize(
    "end", ["20240101", "2024-01-01T00:00:00.123456789123", "99999", "-5000", "2024-06-31", "2024-01-01T25:00"]
)
def test_what_is_no_time_of_iso_8601_does_not_end_a_range_of_dates(end: str) -> None:
    for span in (TimeRange(end), TimeRange("", end)):
        with pytest.raises(InvalidField, match="give a year, month, date or time of ISO 8601"):
            divided(["a"] * 60, odd=span)


def test_nanoseconds_end_a_range_at_their_microsecond() -> None:
    found = divided(["a"] * 60, early=TimeRange("", "2024-01-10T00:00:00.000000999")).found
    assert [len(one.rows) for one in found if one.name == "early"] == [10]


def sessions(calendar: str, days: int, first: int, last: int | None = None) -> list[str]:
    """Return the days of 2024 at these places beside closures."""
    mask = regime_mask({"day": DAYS.astype("M8[us]")}, DAY, ClosureSessions(calendar, days, first, last))
    return [str(day) for day in DAYS[mask]]


def test_sessions_beside_the_closures_of_shanghai() -> None:
    """In 2024 the exchange was closed from 9 to 18 February, from 1 to 5 May and from 1 to 7 October (sse.com.cn)."""
    assert sessions("XSHG", 5, 1) == ["2024-02-19", "2024-05-06", "2024-10-08"]
    assert sessions("XSHG", 5, 3) == ["2024-02-21", "2024-05-08", "2024-10-10"]
    assert sessions("XSHG", 10, 1) == ["2024-02-19"]
    assert sessions("XSHG", 11, 1) == []
    assert sessions("XSHG", 10, -2, 2) == ["2024-02-07", "2024-02-08", "2024-02-19", "2024-02-20"]


@pytest.mark.system
def test_golden_week_of_tokyo() -> None:
    """Closed from 3 to 6 May 2024, and from 30 December 2023 to 3 January (jpx.co.jp)."""
    assert sessions("XTKS", 4, 1) == ["2024-01-04", "2024-05-07"]


def test_a_time_of_day_belongs_to_the_session_on_the_exchange_s_clock() -> None:
    times = np.array(["2024-02-18T23:30", "2024-02-19T02:00", "2024-02-19T16:30"], "M8[us]")  # UTC
    mask = regime_mask({"t": times}, RowKeys("t"), ClosureSessions("XSHG", 5))
    assert mask.tolist() == [True, True, False]  # 07:30 and 10:00 on the 19th, 00:30 on the 20th.


@pytest.mark.system
def test_an_evening_belongs_to_the_session_that_it_opened() -> None:
    """Futures of CME open at 17:00 in Chicago on the evening before; Good Friday 2024 was 29 March."""
    times = np.array(["2024-03-28T20:00", "2024-03-31T23:00", "2024-04-01T20:00"], "M8[us]")
    before, after = (
        regime_mask({"t": times}, RowKeys("t"), ClosureSessions("CMES", 3, place)).tolist() for place in (-1, 1)
    )
    assert (before, after) == ([True, False, False], [False, True, True])


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (TimeRange("2024-02", "2024-02"), 29),
        (TimeRange("2024-12-30"), 2),
        (TimeRange(last="2024-01-02"), 2),
        (TimeRange("2024-03-01", "2024-03-01"), 1),
        (TimeRange("2024", "2024"), 366),
        (TimeRange("2020", "2023"), 0),
    ],
)
def test_ranges_include_the_whole_period_that_an_end_names(span: TimeRange, expected: int) -> None:
    noon = DAYS.astype("M8[us]") + np.timedelta64(12, "h")
    for times in (noon, noon.astype("M8[ns]")):
        assert regime_mask({"day": times}, DAY, span).sum() == expected


def test_ranges_of_integers() -> None:
    times = np.arange(10)
    assert regime_mask({"day": times}, DAY, TimeRange("3", "5")).nonzero()[0].tolist() == [3, 4, 5]


def test_small_and_empty_segments_say_so() -> None:
    first, later = divided(["a"] * 3 + ["b"] * 12).found
    assert (first.note, later.note) == ("has only 3 rows; 10 are the fewest that are tested", "")
    *_, none = divided(["a"] * 12, none=TimeRange("2030", "2031")).found
    assert (none.note, none.window) == ("has no rows", None)


def test_segments_that_share_times_depend_on_each_other() -> None:
    first, second = TimeRange("2024-01", "2024-01"), TimeRange("2024-02", "2024-02")
    columns = {"day": DAYS.astype("M8[us]")}
    assert not divide(columns, DAY, Segments("", {"a": first, "b": second})).dependent
    assert divide(columns, DAY, Segments("", {"a": first, "b": TimeRange("2024-01-20", "2024-02")})).dependent


@pytest.mark.parametrize(
    ("columns", "keys", "segments", "said"),
    [
        ({"by": np.arange(101)}, NO_KEYS, Segments("by"), "101 values; 100 segments are the most"),
        ({"by": np.array([0.5])}, NO_KEYS, Segments("by"), "not integers"),
        ({"by": DAYS.astype("M8[us]")}, NO_KEYS, Segments("by"), "holds times"),
        ({"by": np.arange(3)}, NO_KEYS, Segments("sector"), "'sector'"),
        ({"day": np.arange(3)}, DAY, Segments("day"), "the column of times"),
        ({"x": np.arange(3)}, NO_KEYS, Segments("", {"a": TimeRange("1", "2")}), "needs the time of each row"),
        ({"day": np.arange(3)}, DAY, Segments("", {"a": TimeRange("2", "1")}), "give the later time"),
        ({"day": np.arange(3)}, DAY, Segments("", {"a": TimeRange("2024-01-01", "")}), "give an integer"),
        ({"day": DAYS.astype("M8[us]")}, DAY, Segments("", {"a": TimeRange("2024-13", "")}), "ISO 8601"),
        ({"day": np.arange(3)}, DAY, Segments("", {"a": ClosureSessions("XSHG")}), "are integers"),
        ({"day": DAYS.astype("M8[us]")}, DAY, Segments("", {"a": ClosureSessions("XSHG", 5, 3, 1)}), "later place"),
        ({"day": np.array(["1980-01-02"], "M8[us]")}, DAY, Segments("", {"a": ClosureSessions("XSHG")}), "leave those"),
    ],
)
def test_segments_that_do_not_fit_are_refused(columns: Any, keys: RowKeys, segments: Segments, said: str) -> None:
    with pytest.raises(InvalidField, match=said):
        divide(columns, keys, segments)
