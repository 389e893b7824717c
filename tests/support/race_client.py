"""One process among many that race; it imports nothing that a racer does not need."""

import random
from dataclasses import dataclass

from modelward import Client, Stage
from tests.support.linearizability import Timed
from tests.support.observing_client import ObservingClient
from tests.support.stage_history import Event
from tests.support.waiting import PATIENCE_SECONDS

VERSIONS = 4
"""How many versions each model has."""


@dataclass(frozen=True)
class Scale:
    """How hard it is raced; promotions are attempts, of each model, by all processes in all rounds together."""

    processes: int
    models: int
    promotions: int
    rounds: int

    @property
    def calls(self) -> int:
        """How many attempts one process makes in one round."""
        return self.models * self.promotions // self.processes // self.rounds


def race(target: str, seed: int, scale: Scale) -> list[tuple[str, Timed[Event]]]:
    """Move and read versions at random, and tell what was seen of which model."""
    chosen = random.Random(seed)
    with Client(target, actor=f"racer-{seed}", timeout=PATIENCE_SECONDS) as client:
        witness = ObservingClient(client)
        for _ in range(scale.calls):
            to = chosen.choice([Stage.STAGING, Stage.PRODUCTION, Stage.PRODUCTION])
            witness.move(f"m{chosen.randrange(scale.models)}", chosen.randint(1, VERSIONS), to)
            witness.resolve(f"m{chosen.randrange(scale.models)}")
    return witness.seen
