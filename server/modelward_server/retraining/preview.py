"""Preview of a schedule: the times at which clock triggers would fire, and which of them would be skipped."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from heapq import heappop, heappush, merge
from itertools import islice

from sqlalchemy.orm import Session

from modelward.errors import CalendarEnds
from modelward.retraining import OnDrift, OnPerformance, Schedule, Trigger
from modelward.schedules import Firing, SchedulePolicy, SchedulePreview
from modelward_server.retraining.clock import firing_times, format_local, grid_start
from modelward_server.retraining.repository import plans_of
from modelward_server.retraining.schedule_inputs import gather_inputs
from modelward_server.retraining.schedule_policy import jittered, skip_reason
from modelward_server.retraining.schedules import check_schedule, get_schedule
from modelward_server.retraining.triggers import ScheduleInputs, describe_trigger

DEFAULT_FIRINGS = 10
BEGINNING = datetime.min.replace(tzinfo=UTC)


def preview_schedule(
    session: Session, schedule_id: str, after: datetime | None, count: int, now: datetime
) -> SchedulePreview:
    """Return when a schedule's clock triggers would fire, after `after` or otherwise now.

    Raises:
        ScheduleNotFound: no schedule has that id.
        CalendarEnds: an exchange's calendar does not extend that far.
    """
    schedule = get_schedule(session, schedule_id)
    return preview(
        schedule, gather_inputs(session, schedule.model, [schedule], now), after or now, count or DEFAULT_FIRINGS
    )


def preview_draft(
    triggers: Sequence[Trigger], policy: SchedulePolicy, after: datetime | None, count: int, now: datetime
) -> SchedulePreview:
    """Return when the triggers of a draft would fire, counted from a training at `after` or otherwise now.

    Raises:
        InvalidField: a cron expression, a time zone or a calendar is invalid, or a period ends before it begins.
        CalendarEnds: an exchange's calendar does not extend that far.
    """
    check_schedule(triggers, policy, "draft.")
    begin = after or now
    draft = Schedule("", "", "", tuple(triggers), False, "", "", begin, begin, "", policy)
    return preview(draft, ScheduleInputs(), begin, count or DEFAULT_FIRINGS)


def preview(schedule: Schedule, inputs: ScheduleInputs, after: datetime, count: int) -> SchedulePreview:
    """Return the first `count` firings of all triggers after `after`, counted from the last training."""
    lines = (
        _trigger_firings(schedule, number, trigger, inputs, after) for number, trigger in enumerate(schedule.triggers)
    )
    found = islice(merge(*lines, key=lambda firing: firing.at), count)
    return SchedulePreview(tuple(found), tuple(map(describe_trigger, schedule.triggers)))


def next_firing(session: Session, model: str, now: datetime) -> datetime | None:
    """Return when a model's clock triggers fire next; None if they never do, as far as is known."""
    schedules = [plan.schedule for plan in plans_of(session, model)[0]]
    inputs = gather_inputs(session, model, schedules, now)
    times: list[datetime] = []
    for schedule in schedules:
        for number, trigger in enumerate(schedule.triggers):
            with suppress(Exception):  # The evaluation of the schedules reports the problem.
                times += (firing.at for firing in islice(_trigger_firings(schedule, number, trigger, inputs, now), 1))
    return min(times, default=None)


def _trigger_firings(
    schedule: Schedule, number: int, trigger: Trigger, inputs: ScheduleInputs, after: datetime
) -> Iterator[Firing]:
    """Yield a trigger's firings after `after`, in the order of their times."""
    if isinstance(trigger, OnDrift | OnPerformance):
        return
    jitter, trained = schedule.policy.jitter, inputs.trained_at or schedule.created_at
    earliest = max(after - min(jitter, after - BEGINNING), trained)
    for at, nominal in _with_jitter(schedule, number, firing_times(trigger, grid_start(trigger, trained, earliest))):
        if at > after:
            yield Firing(at, number, format_local(trigger, at), skip_reason(schedule, inputs, at), nominal)


def _with_jitter(schedule: Schedule, number: int, times: Iterator[datetime]) -> Iterator[tuple[datetime, datetime]]:
    """Yield each time with and without its jitter, ordered by the former: a long jitter changes the order."""
    held: list[tuple[datetime, datetime]] = []
    try:
        for nominal in times:
            heappush(held, (jittered(schedule, number, nominal), nominal))
            while held and held[0][0] <= nominal:
                yield heappop(held)
    except CalendarEnds:
        yield from sorted(held)
        raise
    yield from sorted(held)
