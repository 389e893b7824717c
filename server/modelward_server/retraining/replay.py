"""Replay of a schedule over past time: when it would have fired, from the reports and metrics on record.

Each firing is assumed to be followed by a training at once, as in a preview; trainings that really took place after the
beginning do not count. The firings are decided by the same functions as those of a running schedule.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelward.retraining import OnDrift, OnPerformance, Schedule
from modelward.schedules import Firing, FiringOutcome
from modelward_server.retraining.clock_firings import trigger_firings
from modelward_server.retraining.past_production import next_met, tenures
from modelward_server.retraining.schedule_evaluation import FiringDecision, Plan, decide_firings
from modelward_server.retraining.schedule_inputs import with_trigger_inputs
from modelward_server.retraining.schedule_policy import budget_reason, earliest_firing
from modelward_server.retraining.triggers import ScheduleInputs, by_condition
from modelward_server.storage.retraining_tables import JobRow
from modelward_server.storage.tables import VersionRow

JOINED = "another trigger fires at the same time"
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Nothing on record is older."""


class Replay:
    """The past of one schedule.

    Args:
        session: the transaction.
        schedule: the schedule; that it may be paused now does not count.
        after: the beginning; the model was last trained when it really was before, or otherwise then.
        now: the end.
    """

    def __init__(self, session: Session, schedule: Schedule, after: datetime, now: datetime) -> None:
        self._session = session
        self._schedule = replace(schedule, paused=False, pause_reason="")
        self._now = now
        self._tenures = tenures(session, schedule.model)
        after = max(after, EARLIEST)
        self._plan = Plan(self._schedule, after, through=after)
        ended = _last_end(session, schedule.model, after)
        trained = [at for at in (ended, self._registered(after)) if at]
        self.inputs = ScheduleInputs(trained_at=max(trained, default=after), ended_at=ended)
        """The state of the model after the firings so far."""

    def firings(self) -> Iterator[Firing]:
        """Yield what would have fired or would have been skipped, in order.

        Raises:
            CalendarEnds: an exchange's calendar does not go back that far.
        """
        at = self._plan.counts_from
        while True:
            clocks = list(self._next_clocks(at))
            times = [*(one.at for one in clocks), *self._next_conditions(at)]
            at = min(times, default=self._now)
            if at >= self._now:
                return
            clock = {one.trigger: one for one in clocks if one.at == at}
            yield from (_firing(one, clock.get(one.trigger)) for one in self._decide(at))

    def _next_clocks(self, after: datetime) -> Iterator[Firing]:
        for number, trigger in enumerate(self._schedule.triggers):
            yield from islice(trigger_firings(self._schedule, number, trigger, self.inputs, after), 1)

    def _next_conditions(self, after: datetime) -> Iterator[datetime]:
        """Yield when each condition may fire next: when it is met, or when nothing prevents it any more."""
        inputs = self._inputs_at(after)
        for number, trigger in enumerate(self._schedule.triggers):
            if isinstance(trigger, OnDrift | OnPerformance):
                waiting = by_condition(self._schedule, number, trigger, inputs)
                met = [waiting.since if waiting else None, self._next_met(trigger, after)]
                yield from (at for since in met if since and (at := self._earliest(since)) > after)

    def _next_met(self, trigger: OnDrift | OnPerformance, after: datetime) -> datetime | None:
        times = (next_met(self._session, trigger, one, after) for one in self._tenures if one.until > after)
        return next((at for at in times if at), None)

    def _earliest(self, since: datetime) -> datetime:
        """Return the first time from `since` on at which the policy lets a condition fire."""
        policy = self._schedule.policy
        at = earliest_firing(policy, self.inputs, max(since, self._plan.counts_from))
        if not budget_reason(policy, self.inputs, at):
            return at
        zone = ZoneInfo(policy.time_zone)
        return datetime.combine(at.astimezone(zone).date() + timedelta(days=1), time(), zone).astimezone(UTC)

    def _decide(self, at: datetime) -> tuple[FiringDecision, ...]:
        """Decide what fires at a time; if anything does, the model is trained."""
        decisions = decide_firings([self._plan], self._inputs_at(at), at).decisions
        decided = {one.trigger: one.at for one in decisions}
        self._plan = replace(self._plan, through=at, decided={**self._plan.decided, **decided})
        if any(one.outcome is FiringOutcome.FIRED for one in decisions):
            made = (*(one for one in self.inputs.jobs_made if one > at - timedelta(days=2)), at)
            self.inputs = replace(self.inputs, trained_at=at, ended_at=at, jobs_made=made)
        return decisions

    def _inputs_at(self, at: datetime) -> ScheduleInputs:
        row = self._in_production(at)
        if row is None:
            return self.inputs
        return with_trigger_inputs(self._session, row, self.inputs, [self._schedule], until=at)

    def _in_production(self, at: datetime) -> VersionRow | None:
        return next((one.row for one in self._tenures if one.since <= at < one.until), None)

    def _registered(self, at: datetime) -> datetime | None:
        """Return the registration of the version in production at a time, or otherwise of the newest one then."""
        row = self._in_production(at)
        if row is not None and row.created_at <= at:
            return row.created_at
        newest = select(func.max(VersionRow.created_at)).where(VersionRow.model == self._schedule.model)
        return self._session.scalar(newest.where(VersionRow.created_at <= at))


def _last_end(session: Session, model: str, at: datetime) -> datetime | None:
    return session.scalar(select(func.max(JobRow.ended_at)).where(JobRow.model == model, JobRow.ended_at <= at))


def _firing(one: FiringDecision, clock: Firing | None) -> Firing:
    """Return a decision as a firing; one of a clock trigger keeps its local time and its time without jitter."""
    joined = JOINED if one.outcome in {FiringOutcome.JOINED, FiringOutcome.QUEUED} else ""
    found = clock or Firing(one.at, one.trigger, one.reason.summary, nominal_at=one.at)
    return replace(found, skipped=one.skipped or joined)
