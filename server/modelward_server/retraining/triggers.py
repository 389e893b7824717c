"""Why a trigger makes its model due: pure functions of a schedule and of the model's inputs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from modelward.retraining import (
    ByClock,
    DriftEvidence,
    DueReason,
    Job,
    OnDrift,
    OnPerformance,
    PerformanceEvidence,
    PeriodicEvidence,
    RequestEvidence,
    Schedule,
    Trigger,
)
from modelward.shared.figures import beside, metric
from modelward_server.retraining.clock import describe

MAX_CLOCK_REASONS = 100
"""Maximum number of clock reasons of a job, the oldest: it may wait for long, and the firing history has them all."""


@dataclass(frozen=True)
class DriftInput:
    """The latest drift report of the version in production."""

    report_id: str
    at: datetime
    score: float
    detected: bool


@dataclass(frozen=True)
class MetricInput:
    """The latest value of a metric that was logged after the registration."""

    value: float
    at: datetime


@dataclass(frozen=True)
class DeclineInput:
    """The active performance alarm of a metric."""

    value: float
    baseline: float
    at: datetime


@dataclass(frozen=True)
class ScheduleInputs:
    """The inputs of the triggers of one model."""

    version: int = 0
    """The version in production; 0 if there is none, and then only clock triggers fire."""
    trained_at: datetime | None = None
    """When it was last trained; None without any version, and then clocks count from the schedule's creation."""
    report: DriftInput | None = None
    measured: Mapping[str, MetricInput] = field(default_factory=dict)
    registered: Mapping[str, float] = field(default_factory=dict)
    """The metrics at registration."""
    declined: Mapping[str, DeclineInput] = field(default_factory=dict)
    job: Job | None = None
    """The open job."""
    ended_at: datetime | None = None
    """When the last job ended."""
    jobs_made: tuple[datetime, ...] = ()
    """When the jobs of the last days were created, if a schedule has a budget."""


def by_age(reasons: Iterable[DueReason]) -> tuple[DueReason, ...]:
    """Sort reasons, the oldest first."""
    return tuple(sorted(reasons, key=lambda reason: reason.since))


def merged(known: Iterable[DueReason], seen: Iterable[DueReason]) -> tuple[DueReason, ...]:
    """Merge new reasons into those of a job, so that several triggers create one job."""
    reasons = {identity(reason): reason for reason in seen} | {identity(reason): reason for reason in known}
    by_clock = by_age(reason for reason in reasons.values() if isinstance(reason.evidence, PeriodicEvidence))
    others = (reason for reason in reasons.values() if not isinstance(reason.evidence, PeriodicEvidence))
    return by_age([*by_clock[:MAX_CLOCK_REASONS], *others])


def describe_trigger(trigger: Trigger) -> str:
    """Describe a trigger."""
    if isinstance(trigger, OnDrift):
        return "drift is detected" if trigger.min_score is None else f"drift score of {trigger.min_score:g} or more"
    return f"{trigger.metric} {_bound(trigger)}" if isinstance(trigger, OnPerformance) else describe(trigger)


def identity(reason: DueReason) -> object:
    """Return the identity of a reason within a job; a condition that continues to be met is the same reason."""
    evidence = reason.evidence
    if isinstance(evidence, RequestEvidence):
        return reason
    if isinstance(evidence, PeriodicEvidence):
        return reason.schedule_id, reason.trigger, evidence.fired_at
    return reason.schedule_id, type(evidence), getattr(evidence, "metric", "")


def by_clock(schedule: Schedule, number: int, trigger: ByClock, inputs: ScheduleInputs, fired: datetime) -> DueReason:
    """Return the reason of a clock trigger's firing."""
    trained, rule = inputs.trained_at or schedule.created_at, describe(trigger)
    summary = f"{rule}: due since {minute(fired)}, last trained {minute(trained)}"
    return DueReason(schedule.schedule_id, summary, fired, PeriodicEvidence(fired, trained), rule, number)


def by_condition(
    schedule: Schedule, number: int, trigger: OnDrift | OnPerformance, inputs: ScheduleInputs
) -> DueReason | None:
    """Return the reason of a condition trigger, or None if its condition is not met."""
    if isinstance(trigger, OnDrift):
        reason = _by_drift(trigger, schedule, inputs)
    else:
        reason = _by_performance(trigger, schedule, inputs)
    return None if reason is None else replace(reason, rule=describe_trigger(trigger), trigger=number)


def _by_drift(trigger: OnDrift, schedule: Schedule, inputs: ScheduleInputs) -> DueReason | None:
    report = inputs.report
    if report is None or not _drifted(trigger, report):
        return None
    score, least = beside(report.score, 0.5 if trigger.min_score is None else trigger.min_score)
    found = "drift detected" if trigger.min_score is None else f"at least {least}"
    summary = f"drift score {score}, {found} (report of {minute(report.at)})"
    evidence = DriftEvidence(report.report_id, inputs.version, report.score, trigger.min_score)
    return DueReason(schedule.schedule_id, summary, report.at, evidence)


def _drifted(trigger: OnDrift, report: DriftInput) -> bool:
    return report.detected if trigger.min_score is None else report.score >= trigger.min_score


def _by_performance(trigger: OnPerformance, schedule: Schedule, inputs: ScheduleInputs) -> DueReason | None:
    measured, registered = inputs.measured.get(trigger.metric), inputs.registered.get(trigger.metric)
    threshold = threshold_of(trigger, registered)
    if measured is None or threshold is None or not _broken(trigger, measured.value, threshold):
        return _by_decline(trigger, schedule, inputs)
    origin = registered if trigger.bound[0] in {"fallen_by", "risen_by"} else None
    evidence = PerformanceEvidence(
        trigger.metric, inputs.version, measured.value, threshold, origin, measured_at=measured.at
    )
    since = "" if origin is None else f" from {metric(origin)} at registration"
    value, _ = beside(measured.value, threshold, metric)
    summary = f"{trigger.metric} is {value}: {_bound(trigger)}{since} (logged {minute(measured.at)})"
    return DueReason(schedule.schedule_id, summary, measured.at, evidence)


def _by_decline(trigger: OnPerformance, schedule: Schedule, inputs: ScheduleInputs) -> DueReason | None:
    alarm = inputs.declined.get(trigger.metric)
    if alarm is None:
        return None
    evidence = PerformanceEvidence(
        trigger.metric, inputs.version, alarm.value, alarm.baseline, None, measured_at=alarm.at
    )
    value, before = beside(alarm.value, alarm.baseline, metric)
    summary = f"decline of {trigger.metric}: {value}, previously {before} (alarm of {minute(alarm.at)})"
    return DueReason(schedule.schedule_id, summary, alarm.at, evidence)


def threshold_of(trigger: OnPerformance, registered: float | None) -> float | None:
    """Return the threshold of the trigger's bound, or None without the value to which the bound is relative."""
    name, bound = trigger.bound
    if name in {"below", "above"}:
        return bound
    if registered is None:
        return None
    return registered - bound if name == "fallen_by" else registered + bound


def _broken(trigger: OnPerformance, value: float, threshold: float) -> bool:
    name, _ = trigger.bound
    breaks = {"below": value < threshold, "above": value > threshold, "fallen_by": value <= threshold}
    return breaks.get(name, value >= threshold)


_BOUNDS = {"fallen_by": "decreased by at least", "risen_by": "increased by at least"}


def _bound(trigger: OnPerformance) -> str:
    name, bound = trigger.bound
    return f"{_BOUNDS.get(name, name)} {bound:g}"


def minute(at: datetime) -> str:
    """Format an instant to the minute, in UTC."""
    return f"{at:%Y-%m-%d %H:%M} UTC"
