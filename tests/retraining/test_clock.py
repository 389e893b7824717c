"""When triggers fire: cron in zones, clock changes, spans."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelward.errors import InvalidField
from modelward.retraining import Cron, Every, OnDrift
from modelward_server.retraining.clock import check_cron, describe, firing_times, first_firing
from tests.support.scale import examples

NEW_YORK = ZoneInfo("America/New_York")
INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
EXPRESSIONS = st.sampled_from(
    ["30 1 * * *", "30 2 * * *", "0 * * * *", "*/7 * * * *", "30 17 * * FRI", "0 6 1 * *", "0 0 29 2 *", "0 9 L * *"]
)
ZONES = st.sampled_from(["UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Tokyo"])


def test_a_cron_rule_fires_at_the_local_time_of_its_zone_in_summer_and_winter() -> None:
    times = islice(firing_times(Cron("30 17 * * FRI", "America/New_York"), datetime(2024, 3, 1, tzinfo=UTC)), 3)
    assert list(times) == [
        datetime(2024, 3, 1, 22, 30, tzinfo=UTC),
        datetime(2024, 3, 8, 22, 30, tzinfo=UTC),
        datetime(2024, 3, 15, 21, 30, tzinfo=UTC),
    ]


def test_a_local_time_that_the_clock_change_skips_fires_right_after_it() -> None:
    fired = first_firing(Cron("30 2 * * *", "America/New_York"), datetime(2024, 3, 10, 5, tzinfo=UTC))
    assert fired == datetime(2024, 3, 10, 7, 0, tzinfo=UTC)


def test_a_local_time_that_comes_twice_fires_once() -> None:
    times = islice(firing_times(Cron("30 1 * * *", "America/New_York"), datetime(2024, 11, 3, 4, tzinfo=UTC)), 2)
    assert list(times) == [datetime(2024, 11, 3, 5, 30, tzinfo=UTC), datetime(2024, 11, 4, 6, 30, tzinfo=UTC)]


@pytest.mark.parametrize("minutes", ["*/30", "0,30", "0-59/30"])
def test_minutes_of_a_named_hour_come_once_in_the_hour_that_repeats(minutes: str) -> None:
    times = islice(
        firing_times(Cron(f"{minutes} 1 * * *", "America/New_York"), datetime(2024, 11, 3, 4, tzinfo=UTC)), 3
    )
    seen = [f"{time.astimezone(NEW_YORK):%d %H:%M}" for time in times]
    assert seen == ["03 01:00", "03 01:30", "04 01:00"]


@pytest.mark.parametrize("minutes", ["*/30", "0,30"])
def test_minutes_of_a_named_hour_that_is_skipped_come_once_after_it(minutes: str) -> None:
    times = islice(
        firing_times(Cron(f"{minutes} 2 * * *", "America/New_York"), datetime(2024, 3, 10, 5, tzinfo=UTC)), 2
    )
    assert [f"{time.astimezone(NEW_YORK):%d %H:%M}" for time in times] == ["10 03:00", "11 02:00"]


@pytest.mark.parametrize(("expression", "hours"), [("30 * * * *", 1), ("30 */1 * * *", 1), ("*/30 * * * *", 0.5)])
def test_a_star_for_the_hours_goes_on_through_a_clock_change(expression: str, hours: float) -> None:
    for begin in (datetime(2024, 11, 3, 3, 30, tzinfo=UTC), datetime(2024, 3, 10, 3, 30, tzinfo=UTC)):
        times = islice(firing_times(Cron(expression, "America/New_York"), begin), 12)
        assert list(times) == [begin + number * timedelta(hours=hours) for number in range(1, 13)]


@pytest.mark.system
@settings(max_examples=examples(60))
@given(st.sampled_from(["*", "*/20", "30", "0,30"]), st.integers(0, 3), ZONES, INSTANTS)
def test_a_named_hour_has_each_local_time_once(minutes: str, hour: int, zone: str, after: datetime) -> None:
    times = islice(firing_times(Cron(f"{minutes} {hour} * * *", zone), after), 130)
    seen = [f"{time.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}" for time in times]
    assert len(set(seen)) == 130


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize("expression", ["0 0 * * *", "*/30 2 * * *", "* * * * *", "0 0 29 2 *", "0 0 L * *"])
def test_nothing_fires_behind_the_end_of_time(expression: str, zone: str) -> None:
    end = datetime.max.replace(tzinfo=UTC)
    for before in (timedelta(0), timedelta(minutes=1), timedelta(hours=20), timedelta(days=2)):
        assert all(time > end - before for time in islice(firing_times(Cron(expression, zone), end - before), 5000))
    begin = datetime.min.replace(tzinfo=UTC)
    assert first_firing(Cron(expression, zone), begin) is not None


def test_asked_within_the_hour_that_comes_twice_nothing_of_the_past_fires() -> None:
    second_time = datetime(2024, 11, 3, 6, 20, tzinfo=UTC)
    assert first_firing(Cron("30 1 * * *", "America/New_York"), second_time) == datetime(2024, 11, 4, 6, 30, tzinfo=UTC)


def test_leap_days_fire_on_leap_years_only() -> None:
    times = islice(firing_times(Cron("0 0 29 2 *"), datetime(2095, 1, 1, tzinfo=UTC)), 2)
    assert [time.year for time in times] == [2096, 2104]  # 2100 is no leap year.


def test_daily_fires_once_on_each_local_day_of_ten_years() -> None:
    times = islice(firing_times(Cron("30 1 * * *", "America/New_York"), datetime(2020, 1, 1, 5, tzinfo=UTC)), 3653)
    days = [time.astimezone(NEW_YORK).date() for time in times]
    assert days == [days[0] + timedelta(days=number) for number in range(3653)]


@settings(max_examples=examples(60))
@given(EXPRESSIONS, ZONES, INSTANTS)
def test_firings_lie_behind_the_start_and_rise(expression: str, zone: str, after: datetime) -> None:
    times = list(islice(firing_times(Cron(expression, zone), after), 5))
    assert times == sorted(set(times))
    assert times[0] > after


@settings(max_examples=examples(60))
@given(st.timedeltas(timedelta(minutes=1), timedelta(days=4000)), INSTANTS)
def test_a_span_fires_once_a_span(span: timedelta, after: datetime) -> None:
    assert list(islice(firing_times(Every(span), after), 3)) == [after + span, after + 2 * span, after + 3 * span]


def test_a_span_beyond_the_calendar_never_fires() -> None:
    assert first_firing(Every(timedelta(days=3_000_000)), datetime(2024, 1, 1, tzinfo=UTC)) is None


def test_drift_never_fires_by_the_clock() -> None:
    assert first_firing(OnDrift(), datetime(2024, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("cron", "field"),
    [
        (Cron("99 * * * *"), "rule.expression"),
        (Cron("* * * *"), "rule.expression"),
        (Cron("* * * * * *"), "rule.expression"),
        (Cron("@daily"), "rule.expression"),
        (Cron("0 0 30 2 *"), "rule.expression"),
        (Cron("0 0 * * *", "Mars/Olympus"), "rule.time_zone"),
        (Cron("0 0 * * *", "../etc/passwd"), "rule.time_zone"),
        (Cron("0 0 * * *", "America"), "rule.time_zone"),
        (Cron("0 0 * * *", ""), "rule.time_zone"),
    ],
    ids=str,
)
def test_a_bad_cron_rule_is_refused_by_the_field_that_is_wrong(cron: Cron, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_cron(cron, "rule")
    assert [violation.field for violation in refused.value.violations] == [field]


def test_triggers_are_put_into_words() -> None:
    assert describe(Cron("30 17 * * FRI", "America/New_York")) == "At 17:30 on Friday, America/New_York"
    assert describe(Every(timedelta(days=7))) == "7 days after the last training"
