"""What becomes of a schedule's firings: its policy, its preview and its history."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from modelward.lifecycle import FreezeWindow


class CatchUp(StrEnum):
    """What becomes of times that were missed by more than five minutes, without a server or in a pause."""

    SKIP = "skip"
    ONCE = "once"
    """The first one of each trigger fires, the others are skipped."""
    ALL = "all"
    """Each one fires: the first makes a job, and the overlap policy says what becomes of the others."""


class Overlap(StrEnum):
    """What becomes of a firing while a job of the model is open."""

    COALESCE = "coalesce"
    """It is one reason more for the open job."""
    SKIP = "skip"
    QUEUE = "queue"
    """It waits; when the job has ended, those that wait make one job together."""


@dataclass(frozen=True)
class SchedulePolicy:
    """What becomes of a schedule's firings; by default none is held back, and what was missed is made good once."""

    starts_at: datetime | None = None
    """In force from then on; None: from its creation."""
    ends_at: datetime | None = None
    """No longer in force from then on; None: it has no end."""
    freezes: tuple[FreezeWindow, ...] = ()
    """When nothing may fire: a time of the clock within is skipped, drift and decline wait until the end."""
    jitter: timedelta = timedelta(0)
    """Each firing comes later by a part of this, which only the schedule's id, the trigger and the time decide."""
    catch_up: CatchUp = CatchUp.ONCE
    overlap: Overlap = Overlap.COALESCE
    cool_down: timedelta = timedelta(0)
    """How long after the end of a job of the model no firing makes another."""
    jobs_per_day: int = 0
    """How many jobs the model may get in a day, whoever made them, before firings make no more; 0: no bound."""
    time_zone: str = "UTC"
    """The zone of that day by its IANA name."""


@dataclass(frozen=True)
class Firing:
    """One time at which a schedule would fire."""

    at: datetime
    trigger: int
    """Which trigger, counted from 0."""
    summary: str
    skipped: str = ""
    """Why it would be skipped, as far as can be foreseen; empty: it would fire."""
    nominal_at: datetime | None = None
    """When it would come without the jitter."""


@dataclass(frozen=True)
class SchedulePreview:
    """When a schedule would fire by the clock."""

    firings: tuple[Firing, ...]
    conditions: tuple[str, ...]
    """Each trigger in words, in their order."""


class FiringOutcome(StrEnum):
    """What became of a firing."""

    FIRED = "fired"
    """It made a job."""
    JOINED = "joined"
    """It is a reason of a job that was there already."""
    QUEUED = "queued"
    """It waits for the end of the open job."""
    SKIPPED = "skipped"


@dataclass(frozen=True)
class FiringRecord:
    """What became of one firing; a schedule fires once at most for each trigger and time."""

    schedule_id: str
    model: str
    trigger: int
    """Which trigger, counted from 0."""
    fired_at: datetime
    outcome: FiringOutcome
    job_id: str
    """The job that it made or joined; empty when there is none."""
    summary: str
    """Why it fired, and why it was skipped if it was, in words."""
    decided_at: datetime


@dataclass(frozen=True)
class ScheduleProblem:
    """A trigger that cannot tell whether its model is due, as one whose exchange calendar has ended."""

    schedule_id: str
    trigger: int
    """Which trigger, counted from 0."""
    summary: str
    """What is wrong and how to mend it."""
    since: datetime
