"""The drills that an engine has received, and its answers."""

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from modelward._follow import CurrentModel
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.drills_pb2 import ENGINE_PROOF_WAITING, Drill


@dataclass(frozen=True)
class DrillAnswer:
    """What an engine answers."""

    drill_id: str
    stopped_after: timedelta
    used_none: bool


class ReceivedDrills:
    """Drills of one model, from when they are received until their answers are taken.

    One thread receives, and another may answer: each step is one operation of a dict or a deque, which is atomic.
    """

    def __init__(self) -> None:
        self._received_at: dict[str, float] = {}
        self._answers: deque[DrillAnswer] = deque()

    def receive(self, events: Iterable[pb.ModelEvent], model: str, engine: str) -> None:
        """Keep the drills of the model that wait for the engine; one that comes again keeps its first time."""
        for event in events:
            if event.model == model and _waits_for(event.drill, engine):
                self._received_at.setdefault(event.drill.drill_id, time.monotonic())

    @property
    def waiting(self) -> Collection[str]:
        """The drills that are not answered."""
        return tuple(self._received_at)

    def answer(self, drill_ids: Collection[str], current: CurrentModel) -> None:
        """Try to end the use of the version as a halt does, and answer drills with what that took."""
        for drill_id in drill_ids:
            used_none = current.running is None
            if current.would_end():
                stopped_after = timedelta(seconds=time.monotonic() - self._received_at.pop(drill_id))
                self._answers.append(DrillAnswer(drill_id, stopped_after, used_none))

    def take_answers(self) -> Iterator[DrillAnswer]:
        """Yield the answers that are to be sent, each once."""
        with suppress(IndexError):
            while True:
                yield self._answers.popleft()


def _waits_for(drill: Drill, engine: str) -> bool:
    return any(one.engine == engine and one.proof == ENGINE_PROOF_WAITING for one in drill.engines)
