"""What a schedule's policy says of an instant: pure functions of the policy and of what is known of the model."""

import hashlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from modelward.errors import FieldViolation, InvalidField
from modelward.retraining import Schedule
from modelward.schedules import SchedulePolicy
from modelward_server.retraining.clock import check_zone, spell
from modelward_server.retraining.triggers import Facts, minute

END_OF_TIME = datetime.max.replace(tzinfo=UTC)


def check_policy(policy: SchedulePolicy, field: str) -> None:
    """Refuse what the contract's constraints cannot see.

    Raises:
        InvalidField: the zone means nothing, or something ends before it begins.
    """
    check_zone(policy.time_zone, f"{field}.time_zone")
    if policy.starts_at and policy.ends_at and policy.ends_at <= policy.starts_at:
        raise InvalidField(FieldViolation(f"{field}.ends_at", "must lie behind starts_at"))
    for number, window in enumerate(policy.freezes):
        if window.end <= window.start:
            raise InvalidField(FieldViolation(f"{field}.freezes[{number}].until", "must lie behind its beginning"))


def jittered(schedule: Schedule, trigger: int, nominal: datetime) -> datetime:
    """Return when a firing comes: later by whole seconds below the jitter, the same ones on every server."""
    seconds = int(schedule.policy.jitter.total_seconds())
    if not seconds:
        return nominal
    name = f"{schedule.schedule_id}\0{trigger}\0{nominal.isoformat()}"
    delay = timedelta(seconds=int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % seconds)
    return nominal + min(delay, END_OF_TIME - nominal)


def in_force(policy: SchedulePolicy, at: datetime) -> bool:
    """Return whether `at` lies between start and end."""
    return (policy.starts_at is None or policy.starts_at <= at) and (policy.ends_at is None or at < policy.ends_at)


def frozen(policy: SchedulePolicy, at: datetime) -> str:
    """Return why nothing may fire at `at`, in words; empty when it may."""
    window = next((one for one in policy.freezes if one.start <= at < one.end), None)
    if window is None:
        return ""
    why = f": {window.reason}" if window.reason else ""
    return f"frozen from {minute(window.start)} until {minute(window.end)}{why}"


def cooling(policy: SchedulePolicy, facts: Facts, at: datetime) -> str:
    """Return why no job may be made so soon after the last one, in words; empty when it may."""
    if facts.ended_at is None or not facts.ended_at <= at < facts.ended_at + policy.cool_down:
        return ""
    return f"the last job ended {minute(facts.ended_at)}, and the cool-down takes {spell(policy.cool_down)}"


def spent(policy: SchedulePolicy, facts: Facts, now: datetime) -> str:
    """Return why no job may be made on this day any more, in words; empty when it may."""
    zone = ZoneInfo(policy.time_zone)
    today = now.astimezone(zone).date()
    made = sum(at.astimezone(zone).date() == today for at in facts.jobs_made)
    if not policy.jobs_per_day or made < policy.jobs_per_day:
        return ""
    return f"{made} jobs were made on {today} ({policy.time_zone}), and the budget is {policy.jobs_per_day}"


def released(policy: SchedulePolicy, facts: Facts, since: datetime) -> datetime:
    """Return from when on a condition that holds since `since` may fire: behind start, cool-down and freezes."""
    at = max(since, policy.starts_at or since)
    if facts.job is None and facts.ended_at is not None:
        at = max(at, facts.ended_at + policy.cool_down)
    for window in sorted(policy.freezes, key=lambda one: one.start):
        if window.start <= at < window.end:
            at = window.end
    return at


def foreseen(schedule: Schedule, facts: Facts, at: datetime) -> str:
    """Return why a firing at `at` would be skipped, as far as can be foreseen; empty when it would not be."""
    policy = schedule.policy
    if schedule.paused:
        return "the schedule is paused" + (f": {schedule.pause_reason}" if schedule.pause_reason else "")
    if policy.starts_at and at < policy.starts_at:
        return f"the schedule starts {minute(policy.starts_at)}"
    if policy.ends_at and at >= policy.ends_at:
        return f"the schedule ended {minute(policy.ends_at)}"
    return frozen(policy, at) or cooling(policy, facts, at)
