"""What becomes of firings: years of schedules in seconds, with the time as a parameter."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelward.lifecycle import FreezeWindow
from modelward.retraining import AtSession, Cron, Every, Job, JobState, OnDrift, Schedule, Trigger
from modelward.schedules import CatchUp, FiringOutcome, Overlap, SchedulePolicy
from modelward_server.retraining.schedule_evaluation import FiringDecision, Plan, decide_firings
from modelward_server.retraining.triggers import DriftInput, ScheduleInputs
from tests.support.scale import examples

T0 = datetime(2024, 1, 1, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
NOON = Cron("0 12 * * *")
FIRED, JOINED, QUEUED, SKIPPED = FiringOutcome
EVERYTHING = SchedulePolicy(catch_up=CatchUp.ALL)


def schedule(*triggers: Trigger, policy: SchedulePolicy = EVERYTHING, name: str = "daily") -> Schedule:
    return Schedule(name, "spx", "", triggers, False, "", "ada", T0, T0, "r1", policy)


def job(at: datetime) -> Job:
    return Job("job", "spx", 1, JobState.PENDING, (), "", None, 0, 3, at, (), 0, "ada", at, at, None)


class Model:
    """A model in memory whose schedules somebody looks at now and then."""

    def __init__(self, *schedules: Schedule, trained: datetime = T0) -> None:
        self.plans = [Plan(one, one.created_at) for one in schedules]
        self.inputs = ScheduleInputs(version=1, trained_at=trained)
        self.history: list[FiringDecision] = []

    def look(self, now: datetime) -> list[FiringDecision]:
        """Decide what fires up to now, and remember it as the ledger does."""
        decisions = decide_firings(self.plans, self.inputs, now).decisions
        self.plans = [self._remember(plan, decisions, now) for plan in self.plans]
        if any(one.outcome is FIRED for one in decisions):
            self.inputs = replace(self.inputs, job=job(now), jobs_made=(*self.inputs.jobs_made, now))
        self.history += decisions
        return list(decisions)

    def _remember(self, plan: Plan, decisions: tuple[FiringDecision, ...], now: datetime) -> Plan:
        mine = [one for one in decisions if one.schedule is plan.schedule]
        if not mine:
            return plan
        queued = [(one.trigger, one.at, one.reason) for one in mine if one.outcome is QUEUED]
        earliest_firing = {(one.trigger, one.at) for one in mine if one.waited}
        waiting = [one for one in plan.waiting if one[:2] not in earliest_firing]
        decided = dict(plan.decided) | {one.trigger: one.at for one in mine}
        through = plan.through if all(one.waited for one in mine) else now
        return replace(plan, through=through, decided=decided, waiting=(*waiting, *queued))

    def finish(self, now: datetime) -> None:
        """End the open job."""
        self.inputs = replace(self.inputs, job=None, ended_at=now, trained_at=now)

    def outcomes(self) -> list[tuple[datetime, FiringOutcome]]:
        return [(one.at, one.outcome) for one in self.history]


def noon(day: int) -> datetime:
    return T0 + day * DAY + 12 * HOUR


def steps(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    while start <= end:
        yield start
        start += step


def wall(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return when a clock on the wall shows a time first, or the end of the gap if it never does."""
    instant = datetime.combine(day, at, zone).astimezone(UTC)
    if instant.astimezone(zone).time() == at:
        return instant
    before = instant.astimezone(zone).replace(tzinfo=UTC)  # As the wall has it behind the gap, minute by minute back.
    while (instant - MINUTE).astimezone(zone).replace(tzinfo=UTC) == before - MINUTE:
        instant, before = instant - MINUTE, before - MINUTE
    return instant


@pytest.mark.system
@pytest.mark.parametrize("zone", ["America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Tokyo"])
@pytest.mark.parametrize("at", [time(1, 30), time(2, 15), time(0, 0), time(12, 0)], ids=str)
@pytest.mark.weekly
def test_four_years_fire_once_each_local_day_over_every_clock_change(zone: str, at: time) -> None:
    model = Model(schedule(Cron(f"{at.minute} {at.hour} * * *", zone)))
    end = T0 + 4 * 366 * DAY
    for now in steps(T0, end, 18 * HOUR):
        model.look(now)
        if model.inputs.job and now.day % 5 == 0:
            model.inputs = replace(model.inputs, job=None)  # It ends without a training.
    local = ZoneInfo(zone)
    days = [(T0 - DAY).date() + number * DAY for number in range(4 * 366 + 3)]
    expected = [one for day in days if T0 < (one := wall(day, at, local)) <= model.history[-1].at]
    assert [one.at for one in model.history] == expected
    assert end - expected[-1] < 2 * DAY


@pytest.mark.system
def test_a_century_of_leap_days_fires_on_leap_days_only() -> None:
    model = Model(schedule(Cron("0 0 29 2 *")))
    for now in steps(T0, datetime(2124, 1, 1, tzinfo=UTC), 30 * DAY):
        model.look(now)
    leap = [year for year in range(2024, 2124, 4) if year != 2100]
    assert [one.at for one in model.history] == [datetime(year, 2, 29, tzinfo=UTC) for year in leap]


@pytest.mark.parametrize("catch_up", CatchUp)
def test_after_ten_days_without_a_server_the_policy_says_what_is_made_good(catch_up: CatchUp) -> None:
    model = Model(schedule(NOON, policy=SchedulePolicy(catch_up=catch_up)))
    model.look(noon(0))
    model.finish(noon(0) + HOUR)
    model.look(noon(10) + MINUTE)  # Firings of days 1 to 9 were missed, that of day 10 is in time.
    made_good = {
        CatchUp.SKIP: [SKIPPED] * 9 + [FIRED],
        CatchUp.ONCE: [FIRED] + [SKIPPED] * 8 + [JOINED],
        CatchUp.ALL: [FIRED] + [JOINED] * 9,
    }
    assert [outcome for _, outcome in model.outcomes()] == [FIRED, *made_good[catch_up]]
    assert [at for at, _ in model.outcomes()] == [noon(day) for day in range(11)]


def test_what_was_missed_can_run_one_job_after_the_other() -> None:
    model = Model(schedule(NOON, policy=SchedulePolicy(catch_up=CatchUp.ALL, overlap=Overlap.QUEUE)))
    model.look(noon(2) + MINUTE)
    assert [outcome for _, outcome in model.outcomes()] == [FIRED, QUEUED, QUEUED]
    assert model.look(noon(2) + HOUR) == []
    model.finish(noon(2) + 2 * HOUR)
    assert [(one.at, one.outcome) for one in model.look(noon(2) + 3 * HOUR)] == [(noon(1), FIRED), (noon(2), JOINED)]


def test_a_pause_is_a_time_in_which_firings_are_missed_even_a_short_one() -> None:
    model = Model(schedule(NOON, policy=SchedulePolicy(catch_up=CatchUp.SKIP)))
    model.plans = [replace(plan, resumed_at=noon(0) + MINUTE) for plan in model.plans]
    [missed] = model.look(noon(0) + 2 * MINUTE)
    assert missed.outcome is SKIPPED
    assert "paused" in missed.skipped


def test_a_thousand_missed_firings_are_decided_at_once_and_the_rest_are_let_be() -> None:
    model = Model(schedule(Cron("* * * * *"), policy=SchedulePolicy()))
    assert Counter(one.outcome for one in model.look(T0 + 30 * DAY)) == {FIRED: 1, SKIPPED: 999}
    assert [one.at for one in model.look(T0 + 30 * DAY + MINUTE)] == [T0 + 30 * DAY + MINUTE]


@pytest.mark.parametrize(
    ("overlap", "met"), [(Overlap.SKIP, SKIPPED), (Overlap.COALESCE, JOINED), (Overlap.QUEUE, QUEUED)]
)
def test_a_firing_that_meets_an_open_job(overlap: Overlap, met: FiringOutcome) -> None:
    model = Model(schedule(NOON, policy=SchedulePolicy(overlap=overlap)))
    for day in range(3):
        model.look(noon(day))
    assert [outcome for _, outcome in model.outcomes()] == [FIRED, met, met]


def test_nothing_fires_before_the_start_in_a_freeze_and_after_the_end() -> None:
    freeze = FreezeWindow(noon(3), noon(5), "FOMC week")
    policy = SchedulePolicy(starts_at=noon(1), ends_at=noon(7), freezes=(freeze,), overlap=Overlap.COALESCE)
    model = Model(schedule(NOON, policy=policy))
    for day in range(20):
        model.look(noon(day))
    outcomes = [FIRED, JOINED, SKIPPED, SKIPPED, JOINED, JOINED]
    assert model.outcomes() == [(noon(day), outcome) for day, outcome in enumerate(outcomes, 1)]
    assert model.history[2].skipped == "frozen from 2024-01-04 12:00 UTC until 2024-01-06 12:00 UTC: FOMC week"


def test_drift_waits_for_the_end_of_a_freeze_and_of_the_cool_down() -> None:
    freeze = FreezeWindow(T0, T0 + 5 * DAY)
    model = Model(schedule(OnDrift(), policy=SchedulePolicy(freezes=(freeze,), cool_down=8 * DAY)))
    model.inputs = replace(model.inputs, report=DriftInput("report-1", T0 + DAY, 0.9, True))
    assert [model.look(T0 + day * DAY) for day in range(1, 5)] == [[]] * 4
    [one] = model.look(T0 + 5 * DAY)
    assert (one.at, one.reason.since, one.outcome) == (T0 + 5 * DAY, T0 + DAY, FIRED)
    model.finish(T0 + 6 * DAY)
    model.inputs = replace(model.inputs, report=DriftInput("report-2", T0 + 7 * DAY, 0.9, True))
    assert [model.look(T0 + day * DAY) for day in range(7, 14)] == [[]] * 7
    assert [one.at for one in model.look(T0 + 14 * DAY)] == [T0 + 14 * DAY]


def test_drift_that_holds_on_fires_once_while_its_job_is_open() -> None:
    model = Model(schedule(OnDrift(), policy=SchedulePolicy(overlap=Overlap.SKIP)))
    model.inputs = replace(model.inputs, report=DriftInput("report-1", T0 + DAY, 0.9, True), job=job(T0))
    decisions = [model.look(T0 + day * DAY) for day in range(1, 5)]
    assert [len(one) for one in decisions] == [1, 0, 0, 0]
    assert decisions[0][0].outcome is SKIPPED


def test_the_cool_down_counts_from_the_end_of_the_job() -> None:
    model = Model(schedule(NOON, policy=SchedulePolicy(cool_down=2 * DAY)))
    for day in range(6):
        model.look(noon(day))
        if model.inputs.job:
            model.finish(noon(day) + HOUR)
    assert [outcome for _, outcome in model.outcomes()] == [FIRED, SKIPPED, SKIPPED, FIRED, SKIPPED, SKIPPED]


def test_the_budget_is_of_a_day_in_the_zone_of_the_schedule() -> None:
    policy = SchedulePolicy(jobs_per_day=2, time_zone="America/New_York")
    model = Model(schedule(Cron("0 * * * *"), policy=policy))
    for now in steps(T0 + HOUR, T0 + 3 * DAY, HOUR):
        model.look(now)
        if model.inputs.job:
            model.finish(now + MINUTE)
    zone = ZoneInfo("America/New_York")
    fired = [at.astimezone(zone) for at, outcome in model.outcomes() if outcome is FIRED]
    assert Counter(at.day for at in fired) == {31: 2, 1: 2, 2: 2, 3: 2}
    assert {at.hour for at in fired[2:]} == {0, 1}
    assert "the budget is 2" in next(one.skipped for one in model.history if one.skipped)


def test_two_schedules_of_one_model_make_one_job() -> None:
    model = Model(schedule(NOON, name="b"), schedule(NOON, name="a"), schedule(Every(DAY), name="c"))
    decisions = model.look(T0 + DAY)
    found = [(one.schedule.schedule_id, one.outcome) for one in decisions]
    assert found == [("a", FIRED), ("b", JOINED), ("c", JOINED)]


@pytest.mark.system
def test_a_year_of_half_days_with_a_job_for_each_session() -> None:
    model = Model(schedule(AtSession("XNYS", after_close=15 * MINUTE), policy=SchedulePolicy()))
    for now in steps(T0, T0 + 366 * DAY, 4 * MINUTE * 60):
        model.look(now)
        if model.inputs.job:
            model.finish(now + MINUTE)
    fired = {at.astimezone(ZoneInfo("America/New_York")) for at, outcome in model.outcomes() if outcome is FIRED}
    assert len(fired) == 252
    assert {f"{at:%m-%d}" for at in fired if at.hour == 13} == {"07-03", "11-29", "12-24"}


@pytest.mark.system
def test_past_its_horizon_a_calendar_is_a_problem_and_the_other_triggers_fire() -> None:
    now = datetime(2100, 1, 1, tzinfo=UTC)
    model = schedule(AtSession("XNYS", after_close=15 * MINUTE), Every(DAY))
    verdict = decide_firings([Plan(model, now - DAY, now - DAY)], ScheduleInputs(version=1, trained_at=now - DAY), now)
    assert [one.trigger for one in verdict.decisions] == [1]
    [problem] = verdict.problems
    assert (problem.schedule_id, problem.trigger) == ("daily", 0)
    assert "XNYS has sessions from" in problem.summary
    assert problem.since < now


@pytest.mark.system
@settings(max_examples=examples(25))
@given(st.text(min_size=1, max_size=20), st.timedeltas(timedelta(0), DAY))
@pytest.mark.weekly
def test_jitter_is_the_same_on_every_server_below_its_bound_and_loses_no_firing(name: str, jitter: timedelta) -> None:
    policy = replace(EVERYTHING, jitter=jitter)
    seldom, often = (Model(schedule(Cron("0 */6 * * *"), policy=policy, name=name)) for _ in range(2))
    for now in steps(T0, T0 + 10 * DAY, 5 * DAY):
        seldom.look(now)
    for now in steps(T0, T0 + 10 * DAY, 3 * HOUR):
        often.look(now)
    assert sorted(one.at for one in seldom.history) == sorted(one.at for one in often.history)
    nominal = [T0 + number * 6 * HOUR for number in range(1, 41)]
    late = [one.at for one in often.history]
    assert all(nominal[0] <= at < nominal[-1] + max(jitter, MINUTE) for at in late)
    assert 40 - 5 <= len(late) <= 40


@settings(max_examples=examples(25))
@given(st.lists(st.timedeltas(MINUTE, 3 * DAY), min_size=1, max_size=20), st.sampled_from(list(Overlap)))
def test_however_often_somebody_looks_each_time_is_decided_once(gaps: list[timedelta], overlap: Overlap) -> None:
    model, now = Model(schedule(NOON, policy=SchedulePolicy(overlap=overlap))), T0
    for number, gap in enumerate(gaps):
        now += gap
        model.look(now)
        assert model.look(now) == []
        if number % 3 == 2 and model.inputs.job:
            model.finish(now)
            model.look(now)
    times = [one.at for one in model.history if not one.waited]
    assert times == [noon(day) for day in range(len(times))]
    assert noon(len(times)) > now
