"""How much one client may ask for, so that one that runs wild does not take the server from all others.

The libraries that limit rates keep a list of times, or make a thread, or let who is over the limit wait inside. Here
each client is one number, and who is over the limit is told how long to wait.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext

from cachetools import TLRUCache

from modelward.errors import LimitReached
from modelward_server.interceptors.base import Call, Interceptor
from modelward_server.interceptors.client_id import client_of

BURST_SECONDS = 10.0
"""What a client that was quiet may do at once: the calls of so many seconds."""
CLIENTS_KEPT = 10_000
NEVER_LIMITED = {f"/modelward.v1.LifecycleService/{method}" for method in ("HaltModel", "ResumeModel", "RollbackModel")}
"""What stops losses must not wait behind what made the client run into its limit."""


class Rate:
    """A token bucket for each client, of which only the time is kept when it will be full again.

    Args:
        rate: calls a second.
    """

    def __init__(self, rate: float) -> None:
        self._seconds = 1 / rate
        self._room = max(BURST_SECONDS, self._seconds)
        # Forgets a client when its bucket is full: it is then as one that never came.
        self._full_at: TLRUCache[str, float] = TLRUCache(
            CLIENTS_KEPT, ttu=lambda _client, full_at, _now: full_at, timer=time.monotonic
        )

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, client: str) -> float:
        """Take a token and return 0.0; when there is none, return the seconds until there will be one."""
        now = time.monotonic()
        taken = max(self._full_at.get(client, now) - now, 0.0) + self._seconds
        if taken > self._room:
            return taken - self._room
        self._full_at[client] = now + taken
        return 0.0


class Open:
    """Counts what each client has open.

    Args:
        most: how many one may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def one_more(self, client: str, what: str, setting: str) -> Iterator[None]:
        """Count one while the context lasts.

        Raises:
            LimitReached: the client has as many as it may.
        """
        if self._open[client] >= self._most:
            raise _reached(f"{client} has {self._most} {what}, as many as one client may; end some first", setting)
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]


class ClientLimits(Interceptor):
    """Keeps each client to its limits; 0 is none. The calls of emergencies are not limited.

    Args:
        rate: calls a second.
        calls: calls under way at once, other than streams.
        streams: open streams.
    """

    def __init__(self, rate: float, calls: int, streams: int) -> None:
        self._rate = Rate(rate) if rate else None
        self._calls = Open(calls) if calls else None
        self._streams = Open(streams) if streams else None

    def around(self, call: Call) -> AbstractAsyncContextManager[object]:
        return nullcontext() if call.method in NEVER_LIMITED else self._limited(call)

    @asynccontextmanager
    async def _limited(self, call: Call) -> AsyncIterator[None]:
        client = client_of(call.context)
        self._take(client)
        kind = (self._streams, "open streams", "client_streams")
        opened, what, setting = kind if call.streams else (self._calls, "calls under way", "client_calls")
        with opened.one_more(client, what, setting) if opened else nullcontext():
            yield

    def _take(self, client: str) -> None:
        wait = 0.0 if self._rate is None else self._rate.take(client)
        if wait:
            said = f"{client} calls more often than one client may; wait {wait:.3f} s before the next call"
            raise _reached(said, "client_rate", wait)


def _reached(said: str, setting: str, wait: float | None = None) -> LimitReached:
    way_out = f"the operator can raise MODELWARD_{setting.upper()}"
    return LimitReached(f"{said}, or {way_out}", retry_seconds=wait, limit=setting)
