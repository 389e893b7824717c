"""Clients that go on working whatever happens to the server."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from modelward import Client, ModelVersion, Stage
from tests.support.observing_client import ObservingClient

MOVERS = 2
VERSIONS = 4
"""Of the model that is moved about; they must be there."""
MOVED, GROWN = "moved", "grown"
PAUSE_SECONDS = 0.3
"""Between two registrations: each one is more work for MLflow, which must keep up."""


class Traffic:
    """Movers move the versions of one model at random; a grower puts version after version of another into production.

    Args:
        address: of a server that comes and goes, and comes back within `patience` seconds.
        file: what is registered.
    """

    def __init__(self, address: str, file: Path, patience: float) -> None:
        self._address, self._file, self._patience = address, file, patience
        self._ended = threading.Event()
        self._connected = threading.Barrier(MOVERS + 2)
        self._pool = ThreadPoolExecutor(MOVERS + 1)
        self.witnesses: list[ObservingClient] = []
        self.promoted: list[ModelVersion] = []
        self._work: list[Future[None]] = [self._pool.submit(self._move, seed) for seed in range(MOVERS)]
        self._work.append(self._pool.submit(self._grow))
        self._connected.wait(patience)

    @property
    def answers(self) -> int:
        """How many answers have come until now."""
        return len(self.promoted) + sum(len(witness.seen) for witness in self.witnesses)

    def end(self) -> None:
        """Let every client finish its call; raise what went wrong in one."""
        self._ended.set()
        self._pool.shutdown()
        for work in self._work:
            work.result()

    @contextmanager
    def _client(self, actor: str) -> Iterator[Client]:
        """Open a client and make its first call: without an answer to it, a client gives up after seconds."""
        with Client(self._address, actor=actor, timeout=self._patience) as client:
            client.get_model(MOVED)
            self._connected.wait(self._patience)
            yield client

    def _move(self, seed: int) -> None:
        chosen = random.Random(seed)
        with self._client(f"mover-{seed}") as client:
            witness = ObservingClient(client)
            self.witnesses.append(witness)
            while not self._ended.is_set():
                to = chosen.choice([Stage.STAGING, Stage.PRODUCTION])
                witness.move(MOVED, chosen.randint(1, VERSIONS), to)
                witness.resolve(MOVED)

    def _grow(self) -> None:
        with self._client("grower") as client:
            while not self._ended.wait(PAUSE_SECONDS):
                version = client.register(GROWN, self._file, metrics={"accuracy": 0.5})
                client.promote(version, to="staging")
                self.promoted.append(client.promote(version, to="production", reason="it passed its tests").version)
