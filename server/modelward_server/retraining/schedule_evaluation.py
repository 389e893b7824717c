"""Evaluate a model's schedules: pure functions of the schedules, of the model's inputs, and of a given time.

A clock trigger fires at its times; a condition trigger fires when its condition is met and nothing prevents it.
`decide_firings` determines the outcome of each firing that is not decided yet: it creates a job, joins one, waits or is
skipped.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile

from modelward.errors import CalendarEnds
from modelward.retraining import AtSession, ByClock, DueReason, Every, OnDrift, OnPerformance, Schedule
from modelward.schedules import CatchUp, FiringOutcome, Overlap, ScheduleProblem
from modelward_server.retraining.clock import firing_times, grid_start
from modelward_server.retraining.schedule_policy import (
    budget_reason,
    cool_down_reason,
    earliest_firing,
    freeze_reason,
    in_force,
    jittered,
)
from modelward_server.retraining.trading_sessions import last_known
from modelward_server.retraining.triggers import ScheduleInputs, by_age, by_clock, by_condition, identity, minute
from modelward_server.runtime.retries import log_once

MISSED_AFTER = timedelta(minutes=5)
"""The delay of a decision after which a firing counts as missed."""
MAX_MISSED = 1000
"""Maximum number of firings of one trigger that are decided one by one after a long outage or pause."""


@dataclass(frozen=True)
class Plan:
    """A schedule, and the firings that are decided already."""

    schedule: Schedule
    counts_from: datetime
    """When its triggers were set; earlier clock times do not count."""
    through: datetime | None = None
    """The time up to which clock firings are decided; None before the first decision."""
    resumed_at: datetime | None = None
    decided: Mapping[int, datetime] = field(default_factory=dict)
    """The last decided firing of each trigger."""
    waiting: tuple[tuple[int, datetime, DueReason], ...] = ()
    """Queued firings, which wait for the end of the open job, each with its trigger and its time."""


@dataclass(frozen=True)
class FiringDecision:
    """The decision about one firing."""

    schedule: Schedule
    trigger: int
    at: datetime
    reason: DueReason
    outcome: FiringOutcome = FiringOutcome.FIRED
    skipped: str = ""
    """Why it is skipped; empty if it is not."""
    waited: bool = False
    """Whether it was queued before."""

    def skip(self, why: str) -> "FiringDecision":
        return replace(self, outcome=FiringOutcome.SKIPPED, skipped=why)


@dataclass(frozen=True)
class FiringDecisions:
    """The decisions about a model's firings at one time, and the problems of its schedules."""

    decisions: tuple[FiringDecision, ...]
    problems: tuple[ScheduleProblem, ...]

    @property
    def reasons(self) -> tuple[DueReason, ...]:
        """The reasons of the firings that create a job or join one, the oldest first."""
        due = {FiringOutcome.FIRED, FiringOutcome.JOINED}
        return by_age(one.reason for one in self.decisions if one.outcome in due)


def decide_firings(plans: Sequence[Plan], inputs: ScheduleInputs, now: datetime) -> FiringDecisions:
    """Decide the outcome of every firing up to `now` that is not decided yet, except those of paused schedules."""
    plans = [plan for plan in plans if not plan.schedule.paused]
    problems: list[ScheduleProblem] = []
    new = [one for plan in plans for one in _new_firings(plan, inputs, now, problems)]
    new.sort(key=lambda one: (one.at, one.schedule.schedule_id, one.trigger))
    release = partial(_unblocked, inputs=inputs, now=now)
    waited = [one for plan in plans for one in _guarded(plan, 0, problems, release)]
    decisions = tuple(_in_order([*waited, *new], inputs, now, problems))
    return FiringDecisions(decisions, tuple(problems))


def unexpected_problem(
    schedule_id: str, trigger: int, since: datetime, error: Exception, what: str = "the schedule"
) -> ScheduleProblem:
    """Convert an unexpected error into a problem, so that it stops only this schedule; the traceback is logged.

    Args:
        schedule_id: the schedule.
        trigger: the index of the trigger.
        since: a time that does not change between evaluations, so that the problem is recorded once.
        error: the error.
        what: the subject of the summary.
    """
    log_once("evaluating", f"{what} {schedule_id}".rstrip(), error)
    summary = f"{what} cannot be evaluated: {type(error).__name__}: {error!s:.200}; the server's log has more"
    return ScheduleProblem(schedule_id, trigger, summary, since)


def _guarded(
    plan: Plan, number: int, problems: list[ScheduleProblem], decisions: Callable[[Plan], Iterable[FiringDecision]]
) -> list[FiringDecision]:
    """Return the decisions of a plan; if computing them fails, add a problem and return none."""
    try:
        return list(decisions(plan))
    except Exception as error:
        problems.append(unexpected_problem(plan.schedule.schedule_id, number, plan.counts_from, error))
        return []


def due_reasons(schedule: Schedule, inputs: ScheduleInputs, now: datetime) -> tuple[DueReason, ...]:
    """Return why a schedule without decided firings makes its model due, the oldest reason first."""
    return decide_firings([Plan(schedule, schedule.created_at)], inputs, now).reasons


def _in_order(
    found: Iterable[FiringDecision], inputs: ScheduleInputs, now: datetime, problems: list[ScheduleProblem]
) -> Iterator[FiringDecision]:
    """Decide the firings in order, with regard to the open job, which the first of them may create."""
    is_open = inputs.job is not None
    for one in found:
        try:
            decision = one if one.outcome is FiringOutcome.SKIPPED else _against_open_job(one, is_open, inputs, now)
        except Exception as error:
            schedule = one.schedule
            problems.append(unexpected_problem(schedule.schedule_id, one.trigger, schedule.created_at, error))
            continue
        is_open = is_open or decision.outcome is FiringOutcome.FIRED
        yield decision


def _against_open_job(one: FiringDecision, is_open: bool, inputs: ScheduleInputs, now: datetime) -> FiringDecision:
    policy = one.schedule.policy
    if not is_open:
        over = budget_reason(policy, inputs, now)
        return one.skip(over) if over else one
    if one.waited or policy.overlap is Overlap.COALESCE:
        return replace(one, outcome=FiringOutcome.JOINED)
    if policy.overlap is Overlap.QUEUE:
        return replace(one, outcome=FiringOutcome.QUEUED)
    return one.skip("a job of the model is open")


def _unblocked(plan: Plan, inputs: ScheduleInputs, now: datetime) -> Iterator[FiringDecision]:
    """Yield the queued firings that need not wait any longer."""
    policy = plan.schedule.policy
    if (
        inputs.job
        or freeze_reason(policy, now)
        or cool_down_reason(policy, inputs, now)
        or budget_reason(policy, inputs, now)
    ):
        return
    for trigger, at, reason in plan.waiting:
        yield FiringDecision(plan.schedule, trigger, at, reason, waited=True)


def _new_firings(
    plan: Plan, inputs: ScheduleInputs, now: datetime, problems: list[ScheduleProblem]
) -> Iterator[FiringDecision]:
    """Yield the firings that are not decided yet, skipping those that are skipped regardless of other firings."""
    known = {identity(reason) for reason in inputs.job.reasons} if inputs.job else set()
    known |= {identity(reason) for _, _, reason in plan.waiting}
    for number, trigger in enumerate(plan.schedule.triggers):
        if isinstance(trigger, OnDrift | OnPerformance):
            fire = partial(_condition, number=number, trigger=trigger, inputs=inputs, now=now, known=known)
        else:
            fire = partial(_by_clock, number=number, trigger=trigger, inputs=inputs, now=now, problems=problems)
        yield from _guarded(plan, number, problems, fire)


def _condition(
    plan: Plan,
    number: int,
    trigger: OnDrift | OnPerformance,
    inputs: ScheduleInputs,
    now: datetime,
    known: Collection[object],
) -> Iterator[FiringDecision]:
    """Yield the firing of a condition that is met and not known yet, once nothing prevents it."""
    schedule = plan.schedule
    reason = by_condition(schedule, number, trigger, inputs)
    if reason is None or identity(reason) in known:
        return
    policy, last = schedule.policy, plan.decided.get(number)
    at = earliest_firing(policy, inputs, max(reason.since, plan.counts_from))
    is_decided = last is not None and at <= last
    if (
        is_decided
        or at > now
        or not in_force(policy, now)
        or (inputs.job is None and budget_reason(policy, inputs, now))
    ):
        return
    yield FiringDecision(schedule, number, at, reason)


def _by_clock(
    plan: Plan, number: int, trigger: ByClock, inputs: ScheduleInputs, now: datetime, problems: list[ScheduleProblem]
) -> Iterator[FiringDecision]:
    """Yield the firings of a clock trigger; missed ones are handled by the catch-up policy."""
    schedule, caught_up = plan.schedule, ""
    for at in _times(plan, number, trigger, inputs, now, problems):
        one = FiringDecision(schedule, number, at, by_clock(schedule, number, trigger, inputs, at))
        why = _skip_reason(one, inputs)
        if not why and _missed(plan, at, now):
            why = _missed_reason(schedule, at, caught_up)
            caught_up = caught_up or minute(at)
        yield one.skip(why) if why else one


def _skip_reason(one: FiringDecision, inputs: ScheduleInputs) -> str:
    """Return why a clock firing is skipped regardless of other firings; empty if it is not."""
    policy = one.schedule.policy
    if inputs.trained_at and one.at <= inputs.trained_at:
        return f"the model was trained {minute(inputs.trained_at)}"
    return freeze_reason(policy, one.at) or ("" if inputs.job else cool_down_reason(policy, inputs, one.at))


def _missed(plan: Plan, at: datetime, now: datetime) -> bool:
    in_pause = plan.resumed_at is not None and at <= plan.resumed_at
    return in_pause or now - max(at, plan.counts_from) > MISSED_AFTER


def _missed_reason(schedule: Schedule, at: datetime, caught_up: str) -> str:
    """Return why a missed firing is skipped; empty if it is caught up."""
    if schedule.policy.catch_up is CatchUp.SKIP:
        return "missed: no server ran or the schedule was paused, and what was missed is skipped"
    if schedule.policy.catch_up is CatchUp.ONCE and caught_up:
        return f"missed, and made good once with the firing of {caught_up}"
    return ""


def _times(
    plan: Plan, number: int, trigger: ByClock, inputs: ScheduleInputs, now: datetime, problems: list[ScheduleProblem]
) -> list[datetime]:
    """Return the undecided times of a trigger while it is in force; for `every`, which restarts, only the first."""
    schedule, trained = plan.schedule, inputs.trained_at or plan.schedule.created_at
    begin = plan.through or (trained if isinstance(trigger, Every) else max(plan.counts_from, trained))
    earliest = max(begin - schedule.policy.jitter, trained if isinstance(trigger, Every) else plan.counts_from)
    found: list[datetime] = []
    try:
        for nominal in takewhile(lambda at: at <= now, firing_times(trigger, grid_start(trigger, trained, earliest))):
            at = jittered(schedule, number, nominal)
            if begin < at <= now and in_force(schedule.policy, at):
                found.append(at)
            if len(found) == (1 if isinstance(trigger, Every) else MAX_MISSED):
                break
    except CalendarEnds as error:
        problems += _problem(schedule, number, trigger, error, now)
    return sorted(found)


def _problem(
    schedule: Schedule, number: int, trigger: ByClock, error: CalendarEnds, now: datetime
) -> Iterator[ScheduleProblem]:
    """Yield a problem if the calendar has ended by now; before that, only its last sessions are past."""
    assert isinstance(trigger, AtSession)
    ended = last_known(trigger) or schedule.created_at
    if ended < now:
        yield ScheduleProblem(schedule.schedule_id, number, error.message, ended)
