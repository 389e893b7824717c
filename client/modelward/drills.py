"""Dataclasses of drills: how long until every engine of a model would have stopped, measured without stopping it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from modelward._record import Record, TableRecord, quoted, sentence


class EngineProof(StrEnum):
    """Whether an engine has proven in a drill that it would have stopped."""

    WAITING = "waiting"
    """It has not answered, and the drill has not ended."""
    PROVEN = "proven"
    """It answered before the drill ended: it would no longer use any version, or it used none."""
    NOT_PROVEN = "not_proven"
    """It had not answered when the drill ended."""


@dataclass(frozen=True, repr=False)
class DrilledEngine(Record):
    """An engine that was running when a drill started."""

    engine: str
    """The engine's name."""
    version: int
    """The number of the version that it had reported last."""
    proof: EngineProof
    """Whether it has proven that it would have stopped."""
    answered_after: timedelta | None = None
    """The time from the start of the drill until the server received the answer; None without one."""
    stopped_after: timedelta | None = None
    """The engine's own measurement: from receiving the drill until it would have used no version; None without one."""
    used_none: bool = False
    """Whether it used no version already, because the model is halted or has none in the stage."""


@dataclass(frozen=True, repr=False)
class Drill(TableRecord):
    """A drill of one model's halt: its engines do all that they do at a halt, but stop nothing."""

    drill_id: str
    """Its id, given by the server."""
    model: str
    """The model."""
    reason: str
    """Why it was started."""
    started_by: str
    """Who started it."""
    started_at: datetime
    """When, in UTC."""
    ends_at: datetime
    """When it ends at the latest, in UTC."""
    engines: Sequence[DrilledEngine]
    """The engines that were running when it started, by name."""
    ended_at: datetime | None = None
    """When it ended, in UTC: with the last answer, or when the time was over; None while it runs."""

    @property
    def proven(self) -> int:
        """The number of engines that have proven that they would have stopped."""
        return sum(one.proof is EngineProof.PROVEN for one in self.engines)

    @property
    def not_proven(self) -> int:
        """The number of engines that had not answered when it ended."""
        return sum(one.proof is EngineProof.NOT_PROVEN for one in self.engines)

    @property
    def longest(self) -> timedelta | None:
        """The longest time from the start until an answer; None without an answer."""
        return max((one.answered_after for one in self.engines if one.answered_after is not None), default=None)

    def _rows(self) -> Sequence[DrilledEngine]:
        return self.engines

    def _describe(self) -> str:
        state = f"{self.not_proven} not proven" if self.ended_at else "runs"
        longest = "" if self.longest is None else f", {self.longest.total_seconds():.3f} s at the longest"
        what = f"{quoted(self.drill_id)}: {self.model}, {self.proven} of {len(self.engines)} engines proven"
        return sentence(f"{what}, {state}{longest}", self.reason)
