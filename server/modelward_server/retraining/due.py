"""What is due when: pure functions of a schedule, of what is known of its model, and of an explicit now."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from modelward.retraining import (
    Cron,
    DriftEvidence,
    DueReason,
    Every,
    OnDrift,
    OnPerformance,
    PerformanceEvidence,
    PeriodicEvidence,
    RequestEvidence,
    Schedule,
    Trigger,
)
from modelward_server.retraining.clock import describe, first_firing


@dataclass(frozen=True)
class Reported:
    """The latest drift report of the version in production."""

    report_id: str
    at: datetime
    score: float
    detected: bool


@dataclass(frozen=True)
class Measured:
    """The latest value of a metric, as it was logged after the registration."""

    value: float
    at: datetime


@dataclass(frozen=True)
class Declined:
    """The standing alarm of a decline in a metric."""

    value: float
    baseline: float
    at: datetime


@dataclass(frozen=True)
class Facts:
    """What the triggers look at, of one model."""

    version: int
    """The version in production; 0 when there is none, and then only the clock counts."""
    trained_at: datetime | None
    """When it was last trained; None without any version, and then the clock counts from the schedule's creation."""
    report: Reported | None = None
    measured: Mapping[str, Measured] = field(default_factory=dict)
    registered: Mapping[str, float] = field(default_factory=dict)
    """The metrics at registration."""
    declined: Mapping[str, Declined] = field(default_factory=dict)


def due_reasons(schedule: Schedule, facts: Facts, now: datetime) -> tuple[DueReason, ...]:
    """Return every reason that a schedule sees at `now`, the oldest first; none while it is paused."""
    if schedule.paused:
        return ()
    found = (_reason(trigger, schedule, facts, now) for trigger in schedule.triggers)
    return by_age(reason for reason in found if reason is not None)


def by_age(reasons: Iterable[DueReason]) -> tuple[DueReason, ...]:
    """Sort reasons, the oldest first."""
    return tuple(sorted(reasons, key=lambda reason: reason.since))


def merged(known: Iterable[DueReason], seen: Iterable[DueReason]) -> tuple[DueReason, ...]:
    """Add to the reasons of a job those that were seen since, so that several triggers make one job."""
    reasons = {_identity(reason): reason for reason in seen} | {_identity(reason): reason for reason in known}
    return by_age(reasons.values())


def describe_trigger(trigger: Trigger) -> str:
    """Put a trigger into words."""
    if isinstance(trigger, OnDrift):
        return "drift is detected" if trigger.min_score is None else f"drift scores {trigger.min_score:g} or more"
    return f"{trigger.metric} {_bound(trigger)}" if isinstance(trigger, OnPerformance) else describe(trigger)


def _identity(reason: DueReason) -> object:
    evidence = reason.evidence
    if isinstance(evidence, RequestEvidence):
        return reason
    return reason.schedule_id, type(evidence), getattr(evidence, "metric", "")


def _reason(trigger: Trigger, schedule: Schedule, facts: Facts, now: datetime) -> DueReason | None:
    if isinstance(trigger, Every | Cron):
        return _by_clock(trigger, schedule, facts, now)
    if isinstance(trigger, OnDrift):
        return _by_drift(trigger, schedule, facts)
    return _by_performance(trigger, schedule, facts)


def _by_clock(trigger: Every | Cron, schedule: Schedule, facts: Facts, now: datetime) -> DueReason | None:
    trained = facts.trained_at or schedule.created_at
    fired = first_firing(trigger, trained)
    if fired is None or fired > now:
        return None
    summary = f"{describe(trigger)}: due since {_minute(fired)}, last trained {_minute(trained)}"
    return DueReason(schedule.schedule_id, summary, fired, PeriodicEvidence(fired, trained))


def _by_drift(trigger: OnDrift, schedule: Schedule, facts: Facts) -> DueReason | None:
    report = facts.report
    if report is None or not _drifted(trigger, report):
        return None
    found = "drift detected" if trigger.min_score is None else f"at least {trigger.min_score:g}"
    summary = f"drift score {report.score:.3g}, {found} (report of {_minute(report.at)})"
    evidence = DriftEvidence(report.report_id, facts.version, report.score, trigger.min_score)
    return DueReason(schedule.schedule_id, summary, report.at, evidence)


def _drifted(trigger: OnDrift, report: Reported) -> bool:
    return report.detected if trigger.min_score is None else report.score >= trigger.min_score


def _by_performance(trigger: OnPerformance, schedule: Schedule, facts: Facts) -> DueReason | None:
    measured, registered = facts.measured.get(trigger.metric), facts.registered.get(trigger.metric)
    threshold = _threshold(trigger, registered)
    if measured is None or threshold is None or not _broken(trigger, measured.value, threshold):
        return _by_decline(trigger, schedule, facts)
    origin = registered if trigger.bound[0] in {"fallen_by", "risen_by"} else None
    evidence = PerformanceEvidence(
        trigger.metric, facts.version, measured.value, threshold, origin, measured_at=measured.at
    )
    since = "" if origin is None else f" since registration with {origin:g}"
    summary = f"{trigger.metric} is {measured.value:g}: {_bound(trigger)}{since} (logged {_minute(measured.at)})"
    return DueReason(schedule.schedule_id, summary, measured.at, evidence)


def _by_decline(trigger: OnPerformance, schedule: Schedule, facts: Facts) -> DueReason | None:
    alarm = facts.declined.get(trigger.metric)
    if alarm is None:
        return None
    evidence = PerformanceEvidence(
        trigger.metric, facts.version, alarm.value, alarm.baseline, None, measured_at=alarm.at
    )
    summary = f"{trigger.metric} is {alarm.value:.4g} after {alarm.baseline:.4g} (alarm of {_minute(alarm.at)})"
    return DueReason(schedule.schedule_id, summary, alarm.at, evidence)


def _threshold(trigger: OnPerformance, registered: float | None) -> float | None:
    """Return the value that the trigger's bound means, or None without the value that it counts from."""
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


def _bound(trigger: OnPerformance) -> str:
    name, bound = trigger.bound
    return f"{name.replace('_', ' ')} {bound:g}"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
