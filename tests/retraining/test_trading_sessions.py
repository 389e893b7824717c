"""Triggers by exchange sessions, against the holidays and early closes that the exchanges published."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest

from modelward.errors import CalendarEnds, InvalidField
from modelward.retraining import AtSession, SessionChoice
from modelward_server.exchange_sessions import check_calendar
from modelward_server.retraining.clock import describe, firing_times, format_local

NEW_YORK, LONDON, TOKYO = ZoneInfo("America/New_York"), ZoneInfo("Europe/London"), ZoneInfo("Asia/Tokyo")
DAY = timedelta(days=1)
# nyse.com, "Holidays & Trading Hours"; 9 January 2025 was the day of mourning for President Carter.
NYSE_CLOSED = {
    *(
        date(2023, *day)
        for day in [(1, 2), (1, 16), (2, 20), (4, 7), (5, 29), (6, 19), (7, 4), (9, 4), (11, 23), (12, 25)]
    ),
    *(
        date(2024, *day)
        for day in [(1, 1), (1, 15), (2, 19), (3, 29), (5, 27), (6, 19), (7, 4), (9, 2), (11, 28), (12, 25)]
    ),
    *(date(2025, *day) for day in [(1, 1), (1, 9), (1, 20), (2, 17), (4, 18), (5, 26), (6, 19), (7, 4), (9, 1)]),
    *(date(2025, *day) for day in [(11, 27), (12, 25)]),
}
NYSE_AT_ONE = {
    *(date(2023, *day) for day in [(7, 3), (11, 24)]),
    *(date(2024, *day) for day in [(7, 3), (11, 29), (12, 24)]),
    *(date(2025, *day) for day in [(7, 3), (11, 28), (12, 24)]),
}


def at(day: date, hour: int, minute: int, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(hour, minute), zone).astimezone(UTC)


def nyse_days() -> list[date]:
    days = (date(2023, 1, 1) + number * DAY for number in range(3 * 365 + 1))
    return [day for day in days if day.weekday() < 5 and day not in NYSE_CLOSED]


def fired(trigger: AtSession) -> list[datetime]:
    """Return the firings of 2023 to 2025 in New York."""
    end = at(date(2026, 1, 1), 0, 0, NEW_YORK)
    return list(takewhile(lambda one: one < end, firing_times(trigger, at(date(2023, 1, 1), 0, 0, NEW_YORK))))


@pytest.mark.system
def test_three_years_of_minutes_after_the_close_honour_holidays_half_days_and_clock_changes() -> None:
    expected = [at(day, 13 if day in NYSE_AT_ONE else 16, 30, NEW_YORK) for day in nyse_days()]
    assert len(expected) == 250 + 252 + 250
    assert fired(AtSession("XNYS", after_close=timedelta(minutes=30))) == expected


@pytest.mark.system
def test_the_first_session_of_the_month_passes_over_holidays_and_weekends() -> None:
    months = {(day.year, day.month): day for day in reversed(nyse_days())}
    expected = [at(day, 10, 30, NEW_YORK) for day in sorted(months.values())]
    assert fired(AtSession("XNYS", SessionChoice.FIRST_OF_MONTH, after_open=timedelta(hours=1))) == expected
    assert expected[0] == at(date(2023, 1, 3), 10, 30, NEW_YORK)  # New Year's Day was a Sunday, kept on the Monday.


def test_the_first_session_of_the_week_is_tuesday_after_a_holiday() -> None:
    weeks = {day.isocalendar()[:2]: day for day in reversed(nyse_days())}
    expected = [at(day, 9, 30, NEW_YORK) for day in sorted(weeks.values())]
    assert fired(AtSession("XNYS", SessionChoice.FIRST_OF_WEEK, after_open=timedelta(0))) == expected
    assert at(date(2024, 9, 3), 9, 30, NEW_YORK) in expected  # Labor Day was the Monday.


@pytest.mark.system
def test_london_closes_at_half_past_noon_before_christmas_and_new_year() -> None:
    times = islice(firing_times(AtSession("XLON", after_close=timedelta(0)), at(date(2024, 12, 23), 0, 0, LONDON)), 7)
    assert [one.astimezone(LONDON).strftime("%m-%d %H:%M") for one in times] == [
        "12-23 16:30",
        "12-24 12:30",
        "12-27 16:30",
        "12-30 16:30",
        "12-31 12:30",
        "01-02 16:30",
        "01-03 16:30",
    ]


def test_tokyo_closes_half_an_hour_later_since_november_2024() -> None:
    times = islice(firing_times(AtSession("XTKS", after_close=timedelta(0)), at(date(2024, 11, 1), 0, 0, TOKYO)), 2)
    assert list(times) == [at(date(2024, 11, 1), 15, 0, TOKYO), at(date(2024, 11, 5), 15, 30, TOKYO)]


def test_an_offset_over_midnight_belongs_to_the_session_before() -> None:
    trigger = AtSession("XNYS", after_close=timedelta(hours=20))
    assert next(firing_times(trigger, at(date(2024, 7, 6), 11, 0, NEW_YORK))) == at(date(2024, 7, 6), 12, 0, NEW_YORK)


def test_behind_its_last_session_and_before_its_first_one_a_calendar_fails_loudly() -> None:
    trigger = AtSession("XNYS", after_close=timedelta(0))
    for instant in (datetime(2100, 1, 1, tzinfo=UTC), datetime(1900, 1, 1, tzinfo=UTC)):
        with pytest.raises(CalendarEnds, match="XNYS has sessions from") as caught:
            next(firing_times(trigger, instant))
        assert caught.value.metadata.keys() == {"calendar", "first_session", "last_session"}
    with pytest.raises(CalendarEnds):
        list(firing_times(trigger, datetime(2024, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize("name", ["", "NYSE", "XXXX", "../XNYS", "xnys"])
def test_a_calendar_that_there_is_not_is_refused_by_its_field(name: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_calendar(name, "rule.calendar")
    assert [violation.field for violation in refused.value.violations] == ["rule.calendar"]
    check_calendar("XNYS", "rule.calendar")


def test_triggers_by_sessions_are_put_into_words() -> None:
    trigger = AtSession("XNYS", SessionChoice.FIRST_OF_MONTH, after_open=timedelta(minutes=90))
    assert describe(trigger) == "1:30:00 after the opening of the first session of the month, XNYS"
    assert format_local(trigger, datetime(2024, 7, 3, 17, 30, tzinfo=UTC)) == "2024-07-03 13:30 America/New_York"
    with pytest.raises(InvalidField, match="exactly one"):
        AtSession("XNYS")


def test_the_last_session_of_the_month_passes_over_holidays_and_weekends() -> None:
    months = {(day.year, day.month): day for day in nyse_days()}
    expected = [at(day, 13 if day in NYSE_AT_ONE else 16, 0, NEW_YORK) for day in sorted(months.values())]
    assert fired(AtSession("XNYS", SessionChoice.LAST_OF_MONTH, after_close=timedelta(0))) == expected
    assert at(date(2024, 11, 29), 13, 0, NEW_YORK) in expected  # The day after Thanksgiving closes early.


def test_the_last_session_of_the_week_is_thursday_before_good_friday() -> None:
    weeks = {day.isocalendar()[:2]: day for day in nyse_days()}
    expected = [at(day, 9, 30, NEW_YORK) for day in sorted(weeks.values())][:-1]  # Its week ends in 2026.
    assert fired(AtSession("XNYS", SessionChoice.LAST_OF_WEEK, after_open=timedelta(0))) == expected
    assert at(date(2024, 3, 28), 9, 30, NEW_YORK) in expected


SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("place", "phrase", "expected"),
    [  # sse.com.cn: in 2024 closed from 9 to 18 February, from 1 to 5 May and from 1 to 7 October.
        (1, "first session after", [date(2024, 2, 19), date(2024, 5, 6), date(2024, 10, 8)]),
        (3, "third session after", [date(2024, 2, 21), date(2024, 5, 8), date(2024, 10, 10)]),
        (-1, "last session before", [date(2024, 2, 8), date(2024, 4, 30), date(2024, 9, 30)]),
        (-2, "second session from the last before", [date(2024, 2, 7), date(2024, 4, 29), date(2024, 9, 27)]),
    ],
)
def test_a_session_by_its_place_beside_closures_of_five_days(place: int, phrase: str, expected: list[date]) -> None:
    trigger = AtSession("XSHG", after_close=timedelta(0), closure_days=5, closure_session=place)
    times = firing_times(trigger, at(date(2024, 1, 1), 0, 0, SHANGHAI))
    assert list(islice(times, 3)) == [at(day, 15, 0, SHANGHAI) for day in expected]
    assert phrase in describe(trigger)


@pytest.mark.parametrize(
    ("place", "phrase"), [(4, "4th session after"), (11, "11th session"), (-22, "22nd session from")]
)
def test_later_places_are_counted(place: int, phrase: str) -> None:
    assert phrase in describe(AtSession("XSHG", after_close=timedelta(0), closure_days=5, closure_session=place))


def test_a_place_of_zero_beside_a_closure_is_refused() -> None:
    with pytest.raises(InvalidField, match="first session after a closure"):
        AtSession("XSHG", after_close=timedelta(0), closure_days=5, closure_session=0)
