"""Dataclasses of schedule firings: policy, preview and history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from modelward._record import Record, TableRecord, brief, counted, quoted, sentence
from modelward.lifecycle import FreezeWindow


class CatchUp(StrEnum):
    """The handling of firings missed by more than five minutes, without a server or during a pause."""

    SKIP = "skip"
    """None of them fires."""
    ONCE = "once"
    """The first missed one of each trigger fires, the others are skipped."""
    ALL = "all"
    """Each missed one fires: the first creates a job, and the overlap policy applies to the others."""


class Overlap(StrEnum):
    """The handling of a firing while a job of the model is open."""

    COALESCE = "coalesce"
    """It is added to the open job as a reason."""
    SKIP = "skip"
    """It is skipped, and recorded so."""
    QUEUE = "queue"
    """It waits; when the job has ended, the waiting firings create one job together."""


@dataclass(frozen=True, repr=False)
class SchedulePolicy(Record):
    """The firing policy of a schedule; by default firings are not delayed, and missed ones are made up for once."""

    starts_at: datetime | None = None
    """Start of the schedule; None means from its creation."""
    ends_at: datetime | None = None
    """End of the schedule; None means no end."""
    freezes: tuple[FreezeWindow, ...] = ()
    """Periods without firings: clock times within are skipped, drift and performance triggers wait until the end."""
    jitter: timedelta = timedelta(0)
    """Maximum random delay of each firing, determined by the schedule's id, the trigger and the time only."""
    catch_up: CatchUp = CatchUp.ONCE
    """What happens with firings that were missed."""
    overlap: Overlap = Overlap.COALESCE
    """What happens with a firing while a job of the model is open."""
    cool_down: timedelta = timedelta(0)
    """The time after the end of a model's job in which no firing creates another."""
    jobs_per_day: int = 0
    """Maximum number of the model's jobs per day, counting manual ones, before firings create no more; 0: no limit."""
    time_zone: str = "UTC"
    """IANA name of the time zone of that day."""


@dataclass(frozen=True, repr=False)
class Firing(Record):
    """One time at which a schedule would fire."""

    at: datetime
    """When it would fire, jitter included, in UTC."""
    trigger: int
    """Index of the trigger, from 0."""
    summary: str
    """The trigger in words; of a drift or performance trigger, what was measured."""
    skipped: str = ""
    """Why it would be skipped, as far as can be predicted; empty if it would fire."""
    nominal_at: datetime | None = None
    """The time without jitter."""

    def _describe(self) -> str:
        return f"{brief(self.at)}: {quoted(self.skipped or self.summary)}{', skipped' if self.skipped else ''}"


@dataclass(frozen=True, repr=False)
class SchedulePreview(TableRecord):
    """The firings of a schedule after a time: of all triggers in the past, of clock triggers in the future."""

    firings: tuple[Firing, ...]
    """The firings, the earliest first."""
    conditions: tuple[str, ...]
    """Each trigger in words, in their order."""

    def _describe(self) -> str:
        first = f"first {brief(self.firings[0].at)}" if self.firings else ""
        return sentence(counted(len(self.firings), "firing"), first, counted(len(self.conditions), "trigger"))

    def _rows(self) -> Sequence[Firing]:
        return self.firings


class FiringOutcome(StrEnum):
    """The outcome of a firing."""

    FIRED = "fired"
    """It created a job."""
    JOINED = "joined"
    """It was added as a reason to an existing job."""
    QUEUED = "queued"
    """It waits for the end of the open job."""
    SKIPPED = "skipped"
    """It had no effect; the summary says why."""


@dataclass(frozen=True, repr=False)
class FiringRecord(Record):
    """The record of one firing; a schedule fires at most once for each trigger and time."""

    schedule_id: str
    """The schedule, which may be deleted by now."""
    model: str
    """The model's name."""
    trigger: int
    """Index of the trigger, from 0."""
    fired_at: datetime
    """The time for which it fired, in UTC."""
    outcome: FiringOutcome
    """What it led to."""
    job_id: str
    """The job that it created or joined; empty when there is none."""
    summary: str
    """Why it fired, and if it was skipped, why, in words."""
    decided_at: datetime
    """When the server decided about it, in UTC."""

    def _describe(self) -> str:
        return f"{quoted(self.schedule_id)} of {quoted(self.model)}: {self.outcome}, {brief(self.fired_at)}"


@dataclass(frozen=True, repr=False)
class ScheduleProblem(Record):
    """A trigger that cannot be evaluated, for example because its exchange calendar has ended."""

    schedule_id: str
    """The schedule."""
    trigger: int
    """Index of the trigger, from 0."""
    summary: str
    """What is wrong and how to fix it."""
    since: datetime
    """Since when it cannot be evaluated, in UTC."""
