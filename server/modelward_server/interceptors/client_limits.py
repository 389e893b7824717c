"""Limits for each client, so that a misbehaving one does not take the server's capacity from the others.

Libraries for rate limiting keep a list of timestamps, start a thread, or block clients that are over the limit. Here
the state of each client is one number, and a client over the limit is told how long to wait.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from cachetools import TLRUCache

from modelward.errors import LimitReached
from modelward_server.interceptors.auth import HEALTH
from modelward_server.interceptors.base import OUR_METHODS, Behavior, Call, Interceptor
from modelward_server.interceptors.client_id import client_of

BURST_SECONDS = 10.0
"""Burst that a client may send after a quiet period: the calls of this many seconds."""
CLIENTS_KEPT = 10_000
NEVER_LIMITED = {
    f"/modelward.v1.LifecycleService/{method}" for method in ("HaltModel", "HaltModels", "ResumeModel", "RollbackModel")
}
"""Calls that stop losses must not be refused because the client has reached its limit."""


class RateLimiter:
    """A token bucket for each client, stored as the time at which it will be full again.

    Args:
        rate: calls per second.
    """

    def __init__(self, rate: float) -> None:
        self._seconds = 1 / rate
        self._room = max(BURST_SECONDS, self._seconds)
        # Drops a client when its bucket is full: its state then equals that of a new client.
        self._full_at: TLRUCache[str, float] = TLRUCache(
            CLIENTS_KEPT, ttu=lambda _client, full_at, _now: full_at, timer=time.monotonic
        )

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, client: str) -> float:
        """Take a token and return 0.0; when there is none, return the seconds until there will be one."""
        now = time.monotonic()
        until_full = max(self._full_at.get(client, now) - now, 0.0) + self._seconds
        if until_full > self._room:
            return until_full - self._room
        self._full_at[client] = now + until_full
        return 0.0


class OpenCalls:
    """Counts the open calls of each client.

    Args:
        max_open: maximum for one client.
    """

    def __init__(self, max_open: int) -> None:
        self._max_open = max_open
        self._open: Counter[str] = Counter()

    @contextmanager
    def admit(self, client: str, what: str, setting: str) -> Iterator[None]:
        """Count one as open while the context lasts.

        Raises:
            LimitReached: the client has reached its maximum.
        """
        if self._open[client] >= self._max_open:
            raise _limit_reached(f"{client} has {self._max_open} {what}, the maximum for one client; end some", setting)
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]


class ClientLimits(Interceptor):
    """Enforces the limits of each client; 0 means no limit. Emergency calls are not limited.

    Args:
        rate: calls per second.
        calls: concurrent calls other than streams.
        streams: open streams.
    """

    def __init__(self, rate: float, calls: int, streams: int) -> None:
        self._rate = RateLimiter(rate) if rate else None
        self._calls = OpenCalls(calls) if calls else None
        self._streams = OpenCalls(streams) if streams else None

    def applies_to(self, method: str) -> bool:
        return not method.startswith(HEALTH)  # It has limits of its own, for clients without a credential.

    async def run(self, inner: Behavior, call: Call) -> Any:
        if call.method in NEVER_LIMITED:
            return await inner(call)
        client = client_of(call.context)
        if call.method.startswith(OUR_METHODS):  # Tools ask reflection before each call.
            self._take(client)
        kind = (self._streams, "open streams", "client_streams")
        opened, what, setting = kind if call.is_streaming else (self._calls, "calls under way", "client_calls")
        with opened.admit(client, what, setting) if opened else nullcontext():
            return await inner(call)

    def _take(self, client: str) -> None:
        wait = 0.0 if self._rate is None else self._rate.take(client)
        if wait:
            message = f"{client} exceeds the call rate for one client; wait {wait:.3f} s before the next call"
            raise _limit_reached(message, "client_rate", wait)


def _limit_reached(message: str, setting: str, wait: float | None = None) -> LimitReached:
    alternative = f"the operator can raise MODELWARD_{setting.upper()}"
    return LimitReached(f"{message}, or {alternative}", retry_seconds=wait, limit=setting)
