"""Preview of a schedule: when it would fire, and which of its firings would be skipped.

Past time is replayed with the reports and metrics on record; in the future only clock triggers can be predicted.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from heapq import merge
from itertools import islice

from sqlalchemy.orm import Session

from modelward.retraining import Schedule, Trigger
from modelward.schedules import SchedulePolicy, SchedulePreview
from modelward_server.retraining.clock_firings import trigger_firings
from modelward_server.retraining.replay import Replay
from modelward_server.retraining.repository import plans_of
from modelward_server.retraining.schedule_inputs import gather_inputs
from modelward_server.retraining.schedules import check_schedule, get_schedule
from modelward_server.retraining.triggers import ScheduleInputs, describe_trigger

DEFAULT_FIRINGS = 10


def preview_schedule(
    session: Session, schedule_id: str, after: datetime | None, count: int, now: datetime
) -> SchedulePreview:
    """Return when a schedule would fire, after `after` or otherwise now.

    Args:
        session: the transaction.
        schedule_id: the schedule.
        after: only firings after this time; the time until `now` is replayed.
        count: maximum number of firings; 0 means the default.
        now: the current time.

    Raises:
        ScheduleNotFound: no schedule has that id.
        CalendarEnds: an exchange's calendar does not extend that far.
    """
    schedule, count = get_schedule(session, schedule_id), count or DEFAULT_FIRINGS
    if after is None or after >= now:
        return preview(schedule, gather_inputs(session, schedule.model, [schedule], now), after or now, count)
    replayed = Replay(session, schedule, after, now)
    past = tuple(islice(replayed.firings(), count))
    coming = preview(schedule, replayed.inputs, now, count - len(past))
    return replace(coming, firings=(*past, *coming.firings))


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
    """Return the first `count` firings of all clock triggers after `after`, counted from the last training."""
    lines = (
        trigger_firings(schedule, number, trigger, inputs, after) for number, trigger in enumerate(schedule.triggers)
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
                times += (firing.at for firing in islice(trigger_firings(schedule, number, trigger, inputs, now), 1))
    return min(times, default=None)
