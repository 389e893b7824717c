"""Retraining: which models are due and why, the queue of jobs, and what the schedules did and will do."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.errors import ModelwardError
from modelward.lifecycle import EventKind
from modelward.retraining import DueModel, Job, JobState, Schedule
from modelward.schedules import Firing, FiringRecord
from modelward_server.console.pages.lists import ROWS, first

TEMPLATE = "retraining"
FOLLOWS = frozenset({EventKind.JOB, EventKind.DRIFT_ALARM, EventKind.PERFORMANCE_ALARM, EventKind.VERSION_CHANGED})
NEXT = 5
"""The most firings that are predicted for each schedule."""
JOBS = {JobState.FAILED: 15, JobState.LEASED: 20, JobState.PENDING: 15}
"""The most jobs of each state that somebody must look at or waits for, in the order of the page."""


@dataclass(frozen=True)
class Planned:
    """A schedule and its next firings."""

    schedule: Schedule
    conditions: Sequence[str]
    """Each trigger in words."""
    firings: Sequence[Firing]
    problem: str
    """Why its firings cannot be predicted; empty if they can."""


@dataclass(frozen=True)
class Upcoming:
    """A firing of a schedule to come."""

    schedule: Schedule
    firing: Firing


@dataclass(frozen=True)
class View:
    """What the page shows."""

    due: Sequence[DueModel]
    jobs: Sequence[Job]
    """Dead ones first, then those that a worker holds, then those that wait."""
    more_jobs: bool
    """Whether there may be more."""
    schedules: Sequence[Planned]
    upcoming: Sequence[Upcoming]
    """The next first."""
    firings: Sequence[FiringRecord]
    """The newest first."""
    rows: int
    """The most rows of a list; one that has as many may have more."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the page."""
    due, queue, schedules, firings = await asyncio.gather(
        first(client.list_due(), ROWS),
        asyncio.gather(*(first(client.list_jobs(states=(state,)), most) for state, most in JOBS.items())),
        first(client.list_schedules(), ROWS),
        first(client.list_firings(), ROWS),
    )
    planned = await asyncio.gather(*(_planned(client, schedule) for schedule in schedules))
    upcoming = [Upcoming(one.schedule, firing) for one in planned for firing in one.firings]
    upcoming.sort(key=lambda one: one.firing.at)
    jobs = [job for of_state in queue for job in of_state]
    more = any(len(found) == most for found, most in zip(queue, JOBS.values(), strict=True))
    return View(due, jobs, more, planned, upcoming[:ROWS], firings, ROWS)


async def _planned(client: AsyncClient, schedule: Schedule) -> Planned:
    try:
        preview = await client.preview_schedule(schedule.schedule_id, count=NEXT)
    except ModelwardError as error:  # The calendar of its exchange ends, or it was deleted meanwhile.
        return Planned(schedule, (), (), error.message)
    return Planned(schedule, preview.conditions, () if schedule.paused else preview.firings, "")
