"""PostgreSQL connections with bounded waits: for the network, for locks and for the server."""

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
"""Maximum wait of a statement for another transaction's lock."""
STATEMENT_SECONDS = 15
"""Maximum duration of one statement."""
IDLE_SECONDS = 120
"""Time after which PostgreSQL ends an idle transaction of ours: its owner hangs, and others need its locks."""
SILENCE_SECONDS = STATEMENT_SECONDS + 3
"""Maximum wait for any response to a statement: beyond it PostgreSQL itself hangs, or the network does."""
PING_SECONDS = 5
"""Maximum wait for the response to a liveness check of a connection."""
RETRY_SECONDS = 1.0
"""Time without connection attempts after one that was not answered."""
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3}
CONNECTION_OPTIONS = {"connect_timeout": CONNECT_SECONDS, **KEEPALIVES}
"""Options for libpq: a machine that vanished is noticed within 20 seconds, also between two statements."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when a statement gets no response for `silence_seconds`."""

    silence_seconds = float(SILENCE_SECONDS)

    def __del__(self, *_: object) -> None:
        # A thread that outlives the server's stop returns its connection to a pool that no longer exists.
        self.close()

    def wait(self, gen: PQGen[Value], *args: Any, **kwargs: Any) -> Value:
        return super().wait(self._watched(gen), *args, **kwargs)

    def _watched(self, gen: PQGen[Value]) -> PQGen[Value]:
        """Forward the statement's wait conditions until no response arrives in time."""
        last_response, silence = time.monotonic(), PING_SECONDS if self.autocommit else self.silence_seconds
        try:
            condition = next(gen)
            while True:
                ready = yield condition
                now = time.monotonic()
                last_response = now if ready else last_response
                if now - last_response > silence:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer for {silence:g} seconds")
                condition = gen.send(ready)
        except StopIteration as end:
            value: Value = end.value
            return value


class CircuitBreaker:
    """Refuses connections at once while PostgreSQL does not answer, except for one probe at a time.

    Each attempt blocks a thread until it times out: without this, each of many calls would wait for all before it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._retry_at = 0.0
        self._open = False

    def connect(self, make: Callable[[], Value]) -> Value:
        """Open a connection.

        Raises:
            OperationalError: another attempt was not answered a moment ago. Exceptions of `make` propagate.
        """
        self._check()
        try:
            connection = make()
        except psycopg.errors.ConnectionTimeout:
            self._open, self._retry_at = True, time.monotonic() + RETRY_SECONDS
            raise
        except BaseException:
            self._retry_at = 0.0  # The server answered, or refused the connection, which fails as fast.
            raise
        self._open = False
        return connection

    def _check(self) -> None:
        with self._lock:
            if self._open and time.monotonic() < self._retry_at:
                raise psycopg.OperationalError("it did not answer a connection attempt a moment ago")
            if self._open:
                self._retry_at = math.inf  # This attempt is the probe.


def limit_waits(engine: Engine) -> None:
    """Limit all waits of an engine's connections; options in its URL take precedence."""
    breaker = CircuitBreaker()

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        options = f"{_limits()} {given.get('options', '')}".strip()
        connection_options = CONNECTION_OPTIONS | given | {"options": options}
        return breaker.connect(lambda: BoundedConnection.connect(*args, **connection_options))


def limit_connection_waits(engine: Engine) -> None:
    """Limit an engine's waits for the network only: the statements of a migration may take long."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        return psycopg.connect(*args, **(CONNECTION_OPTIONS | given))


def _limits() -> str:
    limits = {
        "statement_timeout": STATEMENT_SECONDS,
        "lock_timeout": LOCK_SECONDS,
        "idle_in_transaction_session_timeout": IDLE_SECONDS,
    }
    return " ".join(f"-c {name}={seconds}s" for name, seconds in limits.items())
