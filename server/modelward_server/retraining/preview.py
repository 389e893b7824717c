"""When a schedule would fire by the clock, and which of these times it would skip."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from heapq import heappop, heappush, merge
from itertools import islice

from sqlalchemy.orm import Session

from modelward.errors import CalendarEnds
from modelward.retraining import OnDrift, OnPerformance, Schedule, Trigger
from modelward.schedules import Firing, SchedulePolicy, SchedulePreview
from modelward_server.retraining.clock import firings, local, on_grid
from modelward_server.retraining.repository import plans_of
from modelward_server.retraining.schedule_inputs import gather
from modelward_server.retraining.schedule_policy import foreseen, jittered
from modelward_server.retraining.schedules import check_schedule, get_schedule
from modelward_server.retraining.triggers import Facts, describe_trigger

DEFAULT_FIRINGS = 10
BEGINNING = datetime.min.replace(tzinfo=UTC)


def preview_schedule(
    session: Session, schedule_id: str, after: datetime | None, count: int, now: datetime
) -> SchedulePreview:
    """Show when a schedule would fire by the clock, behind `after` or else now.

    Raises:
        ScheduleNotFound: there is none of that id.
        CalendarEnds: an exchange's calendar does not reach that far.
    """
    schedule = get_schedule(session, schedule_id)
    return preview(schedule, gather(session, schedule.model, [schedule], now), after or now, count or DEFAULT_FIRINGS)


def preview_draft(
    triggers: Sequence[Trigger], policy: SchedulePolicy, after: datetime | None, count: int, now: datetime
) -> SchedulePreview:
    """Show when triggers that no schedule has would fire, counted from a training at `after` or else now.

    Raises:
        InvalidField: a cron expression, a zone or a calendar means nothing, or something ends before it begins.
        CalendarEnds: an exchange's calendar does not reach that far.
    """
    check_schedule(triggers, policy, "draft.")
    begin = after or now
    draft = Schedule("", "", "", tuple(triggers), False, "", "", begin, begin, "", policy)
    return preview(draft, Facts(), begin, count or DEFAULT_FIRINGS)


def preview(schedule: Schedule, facts: Facts, after: datetime, count: int) -> SchedulePreview:
    """Return the first `count` firings of all triggers behind `after`, counted from the last training."""
    lines = (_line(schedule, number, trigger, facts, after) for number, trigger in enumerate(schedule.triggers))
    found = islice(merge(*lines, key=lambda firing: firing.at), count)
    return SchedulePreview(tuple(found), tuple(map(describe_trigger, schedule.triggers)))


def next_firing(session: Session, model: str, now: datetime) -> datetime | None:
    """Return when a model's schedules fire next by the clock; None when they never do, as far as is known."""
    schedules = [plan.schedule for plan in plans_of(session, model)[0]]
    facts = gather(session, model, schedules, now)
    times: list[datetime] = []
    for schedule in schedules:
        for number, trigger in enumerate(schedule.triggers):
            with suppress(Exception):  # Whoever decides the firings tells what is wrong.
                times += (firing.at for firing in islice(_line(schedule, number, trigger, facts, now), 1))
    return min(times, default=None)


def _line(schedule: Schedule, number: int, trigger: Trigger, facts: Facts, after: datetime) -> Iterator[Firing]:
    """Yield a trigger's firings behind `after`, in the order of their times."""
    if isinstance(trigger, OnDrift | OnPerformance):
        return
    jitter, trained = schedule.policy.jitter, facts.trained_at or schedule.created_at
    earliest = max(after - min(jitter, after - BEGINNING), trained)
    for at, nominal in _shaken(schedule, number, firings(trigger, on_grid(trigger, trained, earliest))):
        if at > after:
            yield Firing(at, number, local(trigger, at), foreseen(schedule, facts, at), nominal)


def _shaken(schedule: Schedule, number: int, times: Iterator[datetime]) -> Iterator[tuple[datetime, datetime]]:
    """Yield each time with its jitter and without, in the order of the former: a long jitter changes the order."""
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
