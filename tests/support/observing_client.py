"""A client that remembers what it saw of which model, and when."""

import time
from collections.abc import Callable

from modelward import Client, Stage, errors
from tests.support.linearizability import Timed
from tests.support.stage_history import NOTHING, Event, GaveUp, Moved, NothingResolved, Refused, Resolved


class ObservingClient:
    """Calls a registry and writes down every call with its result."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.seen: list[tuple[str, Timed[Event]]] = []

    def move(self, model: str, version: int, to: Stage) -> None:
        self._note(model, lambda: self._moved(model, version, to))

    def resolve(self, model: str) -> None:
        self._note(model, lambda: self._resolved(model))

    def _note(self, model: str, call: Callable[[], Event]) -> None:
        invoked = time.monotonic_ns()  # One clock for all processes of a machine.
        event = call()
        self.seen.append((model, Timed(invoked, time.monotonic_ns(), event)))

    def _moved(self, model: str, version: int, to: Stage) -> Event:
        try:
            done = self._client.promote(f"{model}/{version}", to=to, reason="it passed its tests")
        except errors.IllegalTransition as error:
            return Refused(version, to, Stage(error.metadata["from"]))
        except errors.ConcurrentChange:
            return GaveUp(version, to)
        return Moved(version, to, done.transition.sequence, done.archived.version if done.archived else NOTHING)

    def _resolved(self, model: str) -> Event:
        try:
            found = self._client.resolve(model)
        except errors.NothingResolved:
            return NothingResolved()
        return Resolved(found.version.version, found.sequence)
