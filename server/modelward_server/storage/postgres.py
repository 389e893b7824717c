"""Connections to PostgreSQL that wait for nothing without a limit: not for the network, a lock, or the server."""

import math
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Engine, event

Value = TypeVar("Value")
PQGen = Generator[Any, Any, Value]

CONNECT_SECONDS = 5
LOCK_SECONDS = 10
"""How long a statement waits for another transaction's lock."""
STATEMENT_SECONDS = 15
"""How long one statement may take."""
IDLE_SECONDS = 120
"""After which PostgreSQL ends a transaction of ours that does nothing: its owner hangs, and others need its locks."""
SILENCE_SECONDS = STATEMENT_SECONDS + 3
"""How long nothing may come of a statement: PostgreSQL itself hangs, or the way to it does."""
PING_SECONDS = 5
"""How long nothing may come of the question whether a connection is alive."""
RETRY_SECONDS = 1.0
"""How long no connection is tried after one that was not answered."""
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3}
ON_THE_WAY = {"connect_timeout": CONNECT_SECONDS, **KEEPALIVES}
"""What libpq is told: a machine that vanished is noticed within 20 seconds, also between two statements."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when nothing comes of a statement for `silence_seconds`."""

    silence_seconds = float(SILENCE_SECONDS)

    def __del__(self, *_: object) -> None:
        # A thread that outlives its server's stop gives its connection back to a pool that is no more.
        self.close()

    def wait(self, gen: PQGen[Value], *args: Any, **kwargs: Any) -> Value:
        return super().wait(self._watched(gen), *args, **kwargs)

    def _watched(self, gen: PQGen[Value]) -> PQGen[Value]:
        """Pass on what a statement waits for, until that does not come."""
        heard, silence = time.monotonic(), PING_SECONDS if self.autocommit else self.silence_seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now = time.monotonic()
                heard = now if ready else heard
                if now - heard > silence:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer for {silence:g} seconds")
                wanted = gen.send(ready)
        except StopIteration as end:
            value: Value = end.value
            return value


class Breaker:
    """Refuses connections at once while PostgreSQL leaves them unanswered, but for one that tries.

    Each attempt holds a thread for as long as it waits: of many calls, each would wait for all before it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._retry_at = 0.0
        self._open = False

    def connect(self, make: Callable[[], Value]) -> Value:
        """Make a connection.

        Raises:
            OperationalError: another one was not answered a moment ago, and whatever `make` raises.
        """
        self._check()
        try:
            made = make()
        except psycopg.errors.ConnectionTimeout:
            self._open, self._retry_at = True, time.monotonic() + RETRY_SECONDS
            raise
        except BaseException:
            self._retry_at = 0.0  # Somebody answered, or nobody is there, which is told as fast.
            raise
        self._open = False
        return made

    def _check(self) -> None:
        with self._lock:
            if self._open and time.monotonic() < self._retry_at:
                raise psycopg.OperationalError("it left a connection unanswered a moment ago")
            if self._open:
                self._retry_at = math.inf  # This one tries.


def bound_waits(engine: Engine) -> None:
    """Make the connections of an engine bounded; what its URL says of the same counts more."""
    breaker = Breaker()

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        options = f"{_limits()} {given.get('options', '')}".strip()
        return breaker.connect(lambda: BoundedConnection.connect(*args, **(ON_THE_WAY | given | {"options": options})))


def bound_way(engine: Engine) -> None:
    """Make the connections of an engine bounded on the way only: a migration may take its time."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        return psycopg.connect(*args, **(ON_THE_WAY | given))


def _limits() -> str:
    limits = {
        "statement_timeout": STATEMENT_SECONDS,
        "lock_timeout": LOCK_SECONDS,
        "idle_in_transaction_session_timeout": IDLE_SECONDS,
    }
    return " ".join(f"-c {name}={seconds}s" for name, seconds in limits.items())
