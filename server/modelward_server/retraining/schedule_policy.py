"""Evaluate a schedule's policy at an instant: pure functions of the policy and of the model's inputs."""

import hashlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from modelward.errors import FieldViolation, InvalidField
from modelward.retraining import Schedule
from modelward.schedules import SchedulePolicy
from modelward.shared.figures import duration
from modelward_server.retraining.clock import check_zone
from modelward_server.retraining.triggers import ScheduleInputs, minute

END_OF_TIME = datetime.max.replace(tzinfo=UTC)


def check_policy(policy: SchedulePolicy, field: str) -> None:
    """Validate a policy beyond the constraints of the contract.

    Raises:
        InvalidField: the time zone is invalid, or a period ends before it begins.
    """
    check_zone(policy.time_zone, f"{field}.time_zone")
    if policy.starts_at and policy.ends_at and policy.ends_at <= policy.starts_at:
        raise InvalidField(FieldViolation(f"{field}.ends_at", "must be later than starts_at"))
    for number, window in enumerate(policy.freezes):
        if window.end <= window.start:
            raise InvalidField(FieldViolation(f"{field}.freezes[{number}].until", "must be later than its beginning"))


def jittered(schedule: Schedule, trigger: int, nominal: datetime) -> datetime:
    """Return a firing time with its jitter: whole seconds less than the maximum, the same on every server."""
    seconds = int(schedule.policy.jitter.total_seconds())
    if not seconds:
        return nominal
    name = f"{schedule.schedule_id}\0{trigger}\0{nominal.isoformat()}"
    delay = timedelta(seconds=int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % seconds)
    return nominal + min(delay, END_OF_TIME - nominal)


def in_force(policy: SchedulePolicy, at: datetime) -> bool:
    """Return whether `at` is between start (inclusive) and end (exclusive)."""
    return (policy.starts_at is None or policy.starts_at <= at) and (policy.ends_at is None or at < policy.ends_at)


def freeze_reason(policy: SchedulePolicy, at: datetime) -> str:
    """Return why firing is frozen at `at`; empty if it is not."""
    window = next((one for one in policy.freezes if one.start <= at < one.end), None)
    if window is None:
        return ""
    why = f": {window.reason}" if window.reason else ""
    return f"frozen from {minute(window.start)} until {minute(window.end)}{why}"


def cool_down_reason(policy: SchedulePolicy, inputs: ScheduleInputs, at: datetime) -> str:
    """Return why the cool-down after the last job prevents a new one; empty if it does not."""
    if inputs.ended_at is None or not inputs.ended_at <= at < inputs.ended_at + policy.cool_down:
        return ""
    return f"the last job ended {minute(inputs.ended_at)}, and the cool-down takes {duration(policy.cool_down)}"


def budget_reason(policy: SchedulePolicy, inputs: ScheduleInputs, now: datetime) -> str:
    """Return why the daily budget prevents a new job; empty if it does not."""
    zone = ZoneInfo(policy.time_zone)
    today = now.astimezone(zone).date()
    count = sum(at.astimezone(zone).date() == today for at in inputs.jobs_made)
    if not policy.jobs_per_day or count < policy.jobs_per_day:
        return ""
    return f"{count} jobs were created on {today} ({policy.time_zone}), and the budget is {policy.jobs_per_day}"


def earliest_firing(policy: SchedulePolicy, inputs: ScheduleInputs, since: datetime) -> datetime:
    """Return when a condition that has been met since `since` may fire: after start, cool-down and freezes."""
    at = max(since, policy.starts_at or since)
    if inputs.job is None and inputs.ended_at is not None:
        at = max(at, inputs.ended_at + policy.cool_down)
    for window in sorted(policy.freezes, key=lambda one: one.start):
        if window.start <= at < window.end:
            at = window.end
    return at


def skip_reason(schedule: Schedule, inputs: ScheduleInputs, at: datetime) -> str:
    """Return why a firing at `at` would be skipped, as far as is known now; empty if it would not be."""
    policy = schedule.policy
    if schedule.paused:
        return "the schedule is paused" + (f": {schedule.pause_reason}" if schedule.pause_reason else "")
    if policy.starts_at and at < policy.starts_at:
        return f"the schedule starts {minute(policy.starts_at)}"
    if policy.ends_at and at >= policy.ends_at:
        return f"the schedule ended {minute(policy.ends_at)}"
    return freeze_reason(policy, at) or cool_down_reason(policy, inputs, at)
