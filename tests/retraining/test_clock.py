"""When triggers fire: cron in zones, clock changes, spans."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelward.errors import InvalidField
from modelward.retraining import Cron, Every, OnDrift
from modelward_server.retraining.clock import check_cron, describe, firings, first_firing

NEW_YORK = ZoneInfo("America/New_York")
INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
EXPRESSIONS = st.sampled_from(
    ["30 1 * * *", "30 2 * * *", "0 * * * *", "*/7 * * * *", "30 17 * * FRI", "0 6 1 * *", "0 0 29 2 *", "0 9 L * *"]
)
ZONES = st.sampled_from(["UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Tokyo"])


def test_a_cron_rule_fires_at_the_local_time_of_its_zone_in_summer_and_winter() -> None:
    times = islice(firings(Cron("30 17 * * FRI", "America/New_York"), datetime(2024, 3, 1, tzinfo=UTC)), 3)
    assert list(times) == [
        datetime(2024, 3, 1, 22, 30, tzinfo=UTC),
        datetime(2024, 3, 8, 22, 30, tzinfo=UTC),
        datetime(2024, 3, 15, 21, 30, tzinfo=UTC),
    ]


def test_a_local_time_that_the_clock_change_skips_fires_right_after_it() -> None:
    fired = first_firing(Cron("30 2 * * *", "America/New_York"), datetime(2024, 3, 10, 5, tzinfo=UTC))
    assert fired == datetime(2024, 3, 10, 7, 0, tzinfo=UTC)


def test_a_local_time_that_comes_twice_fires_once() -> None:
    times = islice(firings(Cron("30 1 * * *", "America/New_York"), datetime(2024, 11, 3, 4, tzinfo=UTC)), 2)
    assert list(times) == [datetime(2024, 11, 3, 5, 30, tzinfo=UTC), datetime(2024, 11, 4, 6, 30, tzinfo=UTC)]


def test_asked_within_the_hour_that_comes_twice_nothing_of_the_past_fires() -> None:
    second_time = datetime(2024, 11, 3, 6, 20, tzinfo=UTC)
    assert first_firing(Cron("30 1 * * *", "America/New_York"), second_time) == datetime(2024, 11, 4, 6, 30, tzinfo=UTC)


def test_leap_days_fire_on_leap_years_only() -> None:
    times = islice(firings(Cron("0 0 29 2 *"), datetime(2095, 1, 1, tzinfo=UTC)), 2)
    assert [time.year for time in times] == [2096, 2104]  # 2100 is no leap year.


def test_daily_fires_once_on_each_local_day_of_ten_years() -> None:
    times = islice(firings(Cron("30 1 * * *", "America/New_York"), datetime(2020, 1, 1, 5, tzinfo=UTC)), 3653)
    days = [time.astimezone(NEW_YORK).date() for time in times]
    assert days == [days[0] + timedelta(days=number) for number in range(3653)]


@settings(max_examples=60, deadline=None)
@given(EXPRESSIONS, ZONES, INSTANTS)
def test_firings_lie_behind_the_start_and_rise(expression: str, zone: str, after: datetime) -> None:
    times = list(islice(firings(Cron(expression, zone), after), 5))
    assert times == sorted(set(times))
    assert times[0] > after


@settings(max_examples=60, deadline=None)
@given(st.timedeltas(timedelta(minutes=1), timedelta(days=4000)), INSTANTS)
def test_a_span_fires_once_a_span(span: timedelta, after: datetime) -> None:
    assert list(islice(firings(Every(span), after), 3)) == [after + span, after + 2 * span, after + 3 * span]


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
