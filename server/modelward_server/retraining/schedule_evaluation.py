"""What becomes of a model's firings: pure functions of its schedules, of what is known of it, and of an explicit now.

A trigger by the clock fires at its times; one that looks at the model fires when its condition holds and nothing
holds it back. `decide` says what each firing does that nobody has decided yet: it makes a job, joins one, waits or is
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
from modelward_server.retraining.clock import firings, on_grid
from modelward_server.retraining.schedule_policy import cooling, frozen, in_force, jittered, released, spent
from modelward_server.retraining.trading_sessions import last_known
from modelward_server.retraining.triggers import Facts, by_age, by_clock, by_condition, identity, minute
from modelward_server.runtime.retries import log_once

MISSED_AFTER = timedelta(minutes=5)
"""How late a firing may be decided before it counts as missed."""
MOST_MISSED = 1000
"""How many firings of one trigger are decided one by one after a long time without a server or in a pause."""


@dataclass(frozen=True)
class Plan:
    """A schedule, and how far its firings are decided."""

    schedule: Schedule
    counts_from: datetime
    """When its triggers were set; no time of the clock before counts."""
    through: datetime | None = None
    """Up to when the times of the clock are decided; None before the first one was."""
    resumed_at: datetime | None = None
    decided: Mapping[int, datetime] = field(default_factory=dict)
    """The last firing of each trigger that was decided."""
    waiting: tuple[tuple[int, datetime, DueReason], ...] = ()
    """Firings that wait for the end of the open job, each with its trigger and its time."""


@dataclass(frozen=True)
class Decision:
    """What a firing does."""

    schedule: Schedule
    trigger: int
    at: datetime
    reason: DueReason
    outcome: FiringOutcome = FiringOutcome.FIRED
    skipped: str = ""
    """Why nothing comes of it."""
    waited: bool = False
    """Whether it was queued before."""

    def skip(self, why: str) -> "Decision":
        return replace(self, outcome=FiringOutcome.SKIPPED, skipped=why)


@dataclass(frozen=True)
class Verdict:
    """What is decided of a model at one time."""

    decisions: tuple[Decision, ...]
    problems: tuple[ScheduleProblem, ...]

    @property
    def reasons(self) -> tuple[DueReason, ...]:
        """The reasons of the firings that make a job or join one, the oldest first."""
        due = {FiringOutcome.FIRED, FiringOutcome.JOINED}
        return by_age(one.reason for one in self.decisions if one.outcome in due)


def decide(plans: Sequence[Plan], facts: Facts, now: datetime) -> Verdict:
    """Decide what every firing up to `now` does that is not decided yet; those of paused schedules are not."""
    plans = [plan for plan in plans if not plan.schedule.paused]
    problems: list[ScheduleProblem] = []
    fresh = [one for plan in plans for one in _fresh(plan, facts, now, problems)]
    fresh.sort(key=lambda one: (one.at, one.schedule.schedule_id, one.trigger))
    release = partial(_released, facts=facts, now=now)
    waited = [one for plan in plans for one in _guarded(plan, 0, problems, release)]
    decisions = tuple(_in_turn([*waited, *fresh], facts, now, problems))
    return Verdict(decisions, tuple(problems))


def unforeseen(
    schedule_id: str, trigger: int, since: datetime, error: Exception, what: str = "the schedule"
) -> ScheduleProblem:
    """Make a problem of what nobody foresaw, so that it stops this schedule alone; the log has the traceback.

    Args:
        since: what stays the same from one look to the next, so that history has the problem once.
    """
    log_once("evaluating", f"{what} {schedule_id}".rstrip(), error)
    summary = f"{what} cannot be evaluated: {type(error).__name__}: {error!s:.200}; the server's log has more"
    return ScheduleProblem(schedule_id, trigger, summary, since)


def _guarded(
    plan: Plan, number: int, problems: list[ScheduleProblem], decisions: Callable[[Plan], Iterable[Decision]]
) -> list[Decision]:
    """Return the decisions of a plan; none but a problem when they cannot be made."""
    try:
        return list(decisions(plan))
    except Exception as error:
        problems.append(unforeseen(plan.schedule.schedule_id, number, plan.counts_from, error))
        return []


def due_reasons(schedule: Schedule, facts: Facts, now: datetime) -> tuple[DueReason, ...]:
    """Return why a schedule of which nothing is decided yet makes its model due, the oldest reason first."""
    return decide([Plan(schedule, schedule.created_at)], facts, now).reasons


def _in_turn(
    found: Iterable[Decision], facts: Facts, now: datetime, problems: list[ScheduleProblem]
) -> Iterator[Decision]:
    """Let one firing after the other meet the open job, which the first of them may make."""
    is_open = facts.job is not None
    for one in found:
        try:
            decision = one if one.outcome is FiringOutcome.SKIPPED else _meet(one, is_open, facts, now)
        except Exception as error:
            schedule = one.schedule
            problems.append(unforeseen(schedule.schedule_id, one.trigger, schedule.created_at, error))
            continue
        is_open = is_open or decision.outcome is FiringOutcome.FIRED
        yield decision


def _meet(one: Decision, is_open: bool, facts: Facts, now: datetime) -> Decision:
    policy = one.schedule.policy
    if not is_open:
        over = spent(policy, facts, now)
        return one.skip(over) if over else one
    if one.waited or policy.overlap is Overlap.COALESCE:
        return replace(one, outcome=FiringOutcome.JOINED)
    if policy.overlap is Overlap.QUEUE:
        return replace(one, outcome=FiringOutcome.QUEUED)
    return one.skip("a job of the model is open")


def _released(plan: Plan, facts: Facts, now: datetime) -> Iterator[Decision]:
    """Yield the firings that waited and need not wait any longer."""
    policy = plan.schedule.policy
    if facts.job or frozen(policy, now) or cooling(policy, facts, now) or spent(policy, facts, now):
        return
    for trigger, at, reason in plan.waiting:
        yield Decision(plan.schedule, trigger, at, reason, waited=True)


def _fresh(plan: Plan, facts: Facts, now: datetime, problems: list[ScheduleProblem]) -> Iterator[Decision]:
    """Yield what fires that nobody has decided; what can be skipped without a look at other firings is."""
    known = {identity(reason) for reason in facts.job.reasons} if facts.job else set()
    known |= {identity(reason) for _, _, reason in plan.waiting}
    for number, trigger in enumerate(plan.schedule.triggers):
        if isinstance(trigger, OnDrift | OnPerformance):
            fire = partial(_condition, number=number, trigger=trigger, facts=facts, now=now, known=known)
        else:
            fire = partial(_by_clock, number=number, trigger=trigger, facts=facts, now=now, problems=problems)
        yield from _guarded(plan, number, problems, fire)


def _condition(
    plan: Plan, number: int, trigger: OnDrift | OnPerformance, facts: Facts, now: datetime, known: Collection[object]
) -> Iterator[Decision]:
    """Yield the firing of a condition that holds and is not known, once nothing holds it back."""
    schedule = plan.schedule
    reason = by_condition(schedule, number, trigger, facts)
    if reason is None or identity(reason) in known:
        return
    policy, last = schedule.policy, plan.decided.get(number)
    at = released(policy, facts, max(reason.since, plan.counts_from))
    is_decided = last is not None and at <= last
    if is_decided or at > now or not in_force(policy, now) or (facts.job is None and spent(policy, facts, now)):
        return
    yield Decision(schedule, number, at, reason)


def _by_clock(
    plan: Plan, number: int, trigger: ByClock, facts: Facts, now: datetime, problems: list[ScheduleProblem]
) -> Iterator[Decision]:
    """Yield the firings of a trigger by the clock, those that were missed as the catch-up policy has it."""
    schedule, caught_up = plan.schedule, ""
    for at in _times(plan, number, trigger, facts, now, problems):
        one = Decision(schedule, number, at, by_clock(schedule, number, trigger, facts, at))
        why = _skipped(one, facts)
        if not why and _missed(plan, at, now):
            why = _not_caught_up(schedule, at, caught_up)
            caught_up = caught_up or minute(at)
        yield one.skip(why) if why else one


def _skipped(one: Decision, facts: Facts) -> str:
    """Return why a time of the clock passes, whatever other firings do; empty when it does not."""
    policy = one.schedule.policy
    if facts.trained_at and one.at <= facts.trained_at:
        return f"the model was trained {minute(facts.trained_at)}"
    return frozen(policy, one.at) or ("" if facts.job else cooling(policy, facts, one.at))


def _missed(plan: Plan, at: datetime, now: datetime) -> bool:
    in_pause = plan.resumed_at is not None and at <= plan.resumed_at
    return in_pause or now - max(at, plan.counts_from) > MISSED_AFTER


def _not_caught_up(schedule: Schedule, at: datetime, caught_up: str) -> str:
    """Return why a missed time passes; empty when it is made good."""
    if schedule.policy.catch_up is CatchUp.SKIP:
        return "missed: no server ran or the schedule was paused, and what was missed is skipped"
    if schedule.policy.catch_up is CatchUp.ONCE and caught_up:
        return f"missed, and made good once with the firing of {caught_up}"
    return ""


def _times(
    plan: Plan, number: int, trigger: ByClock, facts: Facts, now: datetime, problems: list[ScheduleProblem]
) -> list[datetime]:
    """Return the times of a trigger in force that are not decided; of `every`, which counts anew, the first one."""
    schedule, trained = plan.schedule, facts.trained_at or plan.schedule.created_at
    begin = plan.through or (trained if isinstance(trigger, Every) else max(plan.counts_from, trained))
    earliest = max(begin - schedule.policy.jitter, trained if isinstance(trigger, Every) else plan.counts_from)
    found: list[datetime] = []
    try:
        for nominal in takewhile(lambda at: at <= now, firings(trigger, on_grid(trigger, trained, earliest))):
            at = jittered(schedule, number, nominal)
            if begin < at <= now and in_force(schedule.policy, at):
                found.append(at)
            if len(found) == (1 if isinstance(trigger, Every) else MOST_MISSED):
                break
    except CalendarEnds as error:
        problems += _problem(schedule, number, trigger, error, now)
    return sorted(found)


def _problem(
    schedule: Schedule, number: int, trigger: ByClock, error: CalendarEnds, now: datetime
) -> Iterator[ScheduleProblem]:
    """Yield what is wrong if the calendar has ended by now; before that, its last sessions are simply past."""
    assert isinstance(trigger, AtSession)
    ended = last_known(trigger) or schedule.created_at
    if ended < now:
        yield ScheduleProblem(schedule.schedule_id, number, error.message, ended)
