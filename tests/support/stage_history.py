"""What racing clients saw of one model, and the stage machine that one client alone would see."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from modelward import Stage, Transition

NOTHING = 0
"""The number of no version."""
OPEN_WAYS = {
    Stage.STAGING: (Stage.TRAINING, Stage.ARCHIVED),
    Stage.PRODUCTION: (Stage.STAGING,),
}
"""From where a version may be moved to each stage."""


@dataclass(frozen=True)
class Moved:
    """A version was moved; `archived` is the one that left production for it."""

    version: int
    to: Stage
    sequence: int
    archived: int


@dataclass(frozen=True)
class Refused:
    """A version was not moved, because it was in a stage that has no way there."""

    version: int
    to: Stage
    found_in: Stage


@dataclass(frozen=True)
class GaveUp:
    """A move met other writers too often and had no effect."""

    version: int
    to: Stage


@dataclass(frozen=True)
class Resolved:
    """The model's name meant a version in production, as of a place in the server's order of changes."""

    version: int
    sequence: int


@dataclass(frozen=True)
class NothingResolved:
    """The model had nothing in production."""


Event: TypeAlias = Moved | Refused | GaveUp | Resolved | NothingResolved


@dataclass(frozen=True)
class Standing:
    """Where the versions of one model stand, version 1 first, and up to which change that is known."""

    stages: tuple[Stage, ...]
    sequence: int = 0

    @property
    def production(self) -> int:
        return self.stages.index(Stage.PRODUCTION) + 1 if Stage.PRODUCTION in self.stages else NOTHING

    def with_stage(self, version: int, stage: Stage) -> "Standing":
        if version == NOTHING:
            return self
        return Standing((*self.stages[: version - 1], stage, *self.stages[version:]), self.sequence)


def step(before: Standing, event: Event) -> Standing | None:
    """Say where the versions stand after an event, or None when it cannot happen there."""
    match event:
        case GaveUp():
            return before
        case Refused(version, to, found_in):
            agrees = before.stages[version - 1] is found_in and found_in not in OPEN_WAYS[to]
            return before if agrees else None
        case Resolved(version, sequence):
            agrees = version == before.production and sequence >= before.sequence
            return Standing(before.stages, sequence) if agrees else None
        case NothingResolved():
            return before if before.production == NOTHING else None
        case Moved():
            return _after_move(before, event)


def _after_move(before: Standing, move: Moved) -> Standing | None:
    archived = before.production if move.to is Stage.PRODUCTION else NOTHING
    allowed = before.stages[move.version - 1] in OPEN_WAYS[move.to]
    if not allowed or move.archived != archived or move.sequence <= before.sequence:
        return None
    moved = before.with_stage(archived, Stage.ARCHIVED).with_stage(move.version, move.to)
    return Standing(moved.stages, move.sequence)


def replay(record: Iterable[Transition]) -> dict[int, Stage]:
    """Follow the registry's own record, the oldest first, and return where it leaves each version.

    Each move must start where the one before ended, and production must never be held twice.
    """
    stages: dict[int, Stage] = {}
    for move in record:
        assert stages.get(move.version.version) == move.from_stage
        stages[move.version.version] = move.to_stage
        assert list(stages.values()).count(Stage.PRODUCTION) <= 1
    return stages


def check_told(record: Iterable[Transition], seen: Iterable[Event]) -> None:
    """Look that the record has the moves that were seen, and no others but the archiving that goes with them."""
    moved = sorted((event for event in seen if isinstance(event, Moved)), key=lambda event: event.sequence)
    kept = [(move.version.version, move.to_stage, move.sequence) for move in record if not move.displaced_by]
    assert kept == [(event.version, event.to, event.sequence) for event in moved]
