"""Several servers of one database, and callers who know all of their addresses."""

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelward import Client, EventKind, ModelEvent, VersionRef
from tests.support.killable_server import KillableServer
from tests.support.ports import free_port
from tests.support.recovery_checks import Registry
from tests.support.waiting import PATIENCE_SECONDS

STALE = timedelta(seconds=15)
"""How long an engine accepts not to reach any server."""
LAST = "last"
"""The model whose first version ends every watch."""


class Replicas(Registry):
    """Servers that start at once and come back at the port that they had."""

    def __init__(self, folder: Path, database: str, servers: int) -> None:
        self._folder, self._database = folder, database
        self._logs = itertools.count()
        self._ports = [free_port() for _ in range(servers)]
        with ThreadPoolExecutor(servers) as pool:
            self.servers = list(pool.map(self._serve, range(servers)))
        self.server = self.servers[0]
        self.targets = ",".join(server.target for server in self.servers)

    def _serve(self, number: int, workers: int = 1) -> KillableServer:
        flags = ["--port", str(self._ports[number]), "--processes", str(workers)]
        log = self._folder / f"log{next(self._logs)}"
        return KillableServer(self._folder / "data", log, *flags, "--database-url", self._database)

    def bring_back(self, number: int, workers: int) -> None:
        self.servers[number] = self._serve(number, workers)

    def end(self) -> None:
        for server in self.servers:
            server.kill()


class Callers:
    """A caller who logs metrics, two who watch everything, and an engine that follows a model.

    Each goes on whatever happens to the servers, and remembers what it was told and how long it had to wait.
    """

    def __init__(self, targets: str, version: VersionRef, cache: Path) -> None:
        self._targets, self._version, self._cache = targets, version, cache
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(4)
        self.logged = 0
        """How many metrics were taken; each has its number as its value."""
        self.followed: list[VersionRef] = []
        self.longest_wait: dict[str, float] = {}
        """In seconds, by what was waited for."""
        self.watched: list[Future[list[ModelEvent]]] = [self._pool.submit(self._watch) for _ in range(2)]
        self._work = [self._pool.submit(self._log), self._pool.submit(self._follow)]

    def end(self) -> None:
        """Let every caller finish; raise what went wrong in one."""
        self._ended.set()
        for work in self._work:
            work.result(PATIENCE_SECONDS)

    def _log(self) -> None:
        with Client(self._targets, timeout=PATIENCE_SECONDS, actor="logger") as client:
            while not self._ended.is_set():
                self._timed("a write", lambda: client.log_metrics(self._version, {"seen": self.logged + 1.0}))
                self.logged += 1

    def _timed(self, what: str, call: Callable[[], object]) -> None:
        begun = time.monotonic()
        call()
        self._waited(what, time.monotonic() - begun)

    def _waited(self, what: str, seconds: float) -> None:
        self.longest_wait[what] = max(self.longest_wait.get(what, 0.0), seconds)

    def _watch(self) -> list[ModelEvent]:
        """Return what was told, from the first change until the one that ends every watch."""
        events = []
        with Client(self._targets, timeout=PATIENCE_SECONDS) as client:
            for event in client.watch():
                if event.kind is EventKind.STATE:
                    continue
                events.append(event)
                self._waited("news", (datetime.now(UTC) - event.happened_at).total_seconds())
                if event.model == LAST:
                    break
        return events

    def _follow(self) -> None:
        """Look at what is current all the time: it must always be there, and never be stale."""
        model = self._version.model
        with (
            Client(self._targets, timeout=PATIENCE_SECONDS) as client,
            client.follow(model, cache=self._cache, max_staleness=STALE) as live,
        ):
            while not self._ended.wait(0.01):
                if live.current.version.ref not in self.followed[-1:]:
                    self.followed.append(live.current.version.ref)
