"""What is due when, as pure functions of the schedule, the facts and the time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from modelward.retraining import (
    Cron,
    DriftEvidence,
    DueReason,
    Every,
    OnDrift,
    OnPerformance,
    PerformanceEvidence,
    RequestEvidence,
    Schedule,
    Trigger,
)
from modelward_server.retraining.schedule_evaluation import due_reasons
from modelward_server.retraining.triggers import DeclineInput, DriftInput, MetricInput, ScheduleInputs, merged

T0 = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def schedule(*triggers: Trigger) -> Schedule:
    return Schedule("weekly", "spx", "", triggers, False, "", "ada", T0, T0, "r1")


def inputs(value: float = 0.5, registered: float = 0.6, score: float = 0.4, detected: bool = False) -> ScheduleInputs:
    return ScheduleInputs(
        version=3,
        trained_at=T0,
        report=DriftInput("report-1", T0 + 3 * DAY, score, detected),
        measured={"accuracy": MetricInput(value, T0 + 2 * DAY)},
        registered={"accuracy": registered},
    )


def is_due(trigger: Trigger, known: ScheduleInputs, now: datetime = T0 + 5 * DAY) -> bool:
    return bool(due_reasons(schedule(trigger), known, now))


def test_a_span_is_due_when_it_has_passed_and_not_a_moment_before() -> None:
    [reason] = due_reasons(schedule(Every(7 * DAY)), inputs(), T0 + 7 * DAY)
    assert reason.since == T0 + 7 * DAY
    assert not is_due(Every(7 * DAY), inputs(), T0 + 7 * DAY - timedelta(microseconds=1))


def test_the_clock_counts_from_the_schedule_while_the_model_has_no_version() -> None:
    unborn = ScheduleInputs(version=0, trained_at=None)
    assert is_due(Every(5 * DAY), unborn)
    assert not is_due(Every(6 * DAY), unborn)


def test_years_without_a_server_make_one_reason_with_the_first_missed_firing() -> None:
    [reason] = due_reasons(schedule(Cron("0 6 * * MON")), inputs(), T0 + 700 * DAY)
    assert reason.since == datetime(2024, 1, 1, 6, tzinfo=UTC)


def test_drift_is_due_by_the_reports_decision_or_by_its_score() -> None:
    assert is_due(OnDrift(), inputs(detected=True))
    assert not is_due(OnDrift(), inputs(detected=False, score=0.9))
    assert is_due(OnDrift(0.4), inputs(score=0.4))
    assert not is_due(OnDrift(0.41), inputs(score=0.4, detected=True))


def test_a_score_of_nothing_is_reached_by_any_report_but_not_by_none() -> None:
    assert is_due(OnDrift(0.0), inputs(score=0.0))
    assert not is_due(OnDrift(0.0), replace(inputs(), report=None))


def test_bounds_on_a_metric() -> None:
    assert is_due(OnPerformance("accuracy", below=0.51), inputs(value=0.5))
    assert not is_due(OnPerformance("accuracy", below=0.5), inputs(value=0.5))
    assert is_due(OnPerformance("accuracy", above=0.49), inputs(value=0.5))
    assert not is_due(OnPerformance("accuracy", above=0.5), inputs(value=0.5))
    assert is_due(OnPerformance("accuracy", fallen_by=0.25), inputs(value=0.5, registered=0.75))
    assert not is_due(OnPerformance("accuracy", fallen_by=0.26), inputs(value=0.5, registered=0.75))
    assert is_due(OnPerformance("accuracy", risen_by=0.25), inputs(value=0.75, registered=0.5))
    assert not is_due(OnPerformance("accuracy", risen_by=0.25), inputs(value=0.5, registered=0.75))


def test_a_metric_that_nobody_logged_is_not_due() -> None:
    assert not is_due(OnPerformance("f1", below=1e9), inputs())
    assert not is_due(OnPerformance("accuracy", fallen_by=0.1), replace(inputs(), registered={}))


def test_a_standing_alarm_of_the_metric_is_due_whatever_the_bound() -> None:
    known = replace(inputs(), declined={"accuracy": DeclineInput(0.41, 0.58, T0 + 4 * DAY)})
    [reason] = due_reasons(schedule(OnPerformance("accuracy", below=0.1)), known, T0 + 5 * DAY)
    assert reason.evidence == PerformanceEvidence("accuracy", 3, 0.41, 0.58, None, T0 + 4 * DAY)
    assert reason.summary == "decline of accuracy: 0.41, previously 0.58 (alarm of 2024-01-05 00:00 UTC)"
    assert not is_due(OnPerformance("rmse", above=9.0), known)
    assert not is_due(OnDrift(), known)


def test_every_reason_is_named_with_its_evidence_the_oldest_first() -> None:
    triggers = (OnDrift(), OnPerformance("accuracy", fallen_by=0.1), Every(DAY))
    reasons = due_reasons(schedule(*triggers), inputs(detected=True, registered=0.7), T0 + 5 * DAY)
    assert [reason.since for reason in reasons] == [T0 + DAY, T0 + 2 * DAY, T0 + 3 * DAY]
    assert isinstance(reasons[1].evidence, PerformanceEvidence)
    assert reasons[1].evidence.registered == 0.7
    assert reasons[1].summary == (
        "accuracy is 0.5: decreased by at least 0.1 from 0.7 at registration (logged 2024-01-03 00:00 UTC)"
    )
    assert reasons[2].evidence == DriftEvidence("report-1", 3, 0.4, None)


def test_a_paused_schedule_sees_nothing() -> None:
    assert due_reasons(replace(schedule(Every(DAY)), paused=True), inputs(), T0 + 90 * DAY) == ()


@given(st.timedeltas(timedelta(minutes=1), 400 * DAY), st.timedeltas(timedelta(0), 800 * DAY), st.integers(0, 100))
def test_once_due_by_the_clock_always_due_until_trained(span: timedelta, passed: timedelta, later: int) -> None:
    if is_due(Every(span), inputs(), T0 + passed):
        assert is_due(Every(span), inputs(), T0 + passed + later * DAY)
        assert not is_due(Every(span), replace(inputs(), trained_at=T0 + passed), T0 + passed)


def test_several_triggers_make_one_list_of_reasons() -> None:
    asked = DueReason("", "asked", T0, RequestEvidence("ada", "new data"))
    [old] = due_reasons(schedule(OnDrift()), inputs(detected=True), T0 + 5 * DAY)
    later = replace(inputs(detected=True), report=DriftInput("report-2", T0 + 4 * DAY, 0.5, True))
    [new] = due_reasons(schedule(OnDrift()), later, T0 + 5 * DAY)
    [clock] = due_reasons(schedule(Every(DAY)), inputs(), T0 + 5 * DAY)
    assert merged([asked, old], [new, clock]) == (asked, clock, old)
