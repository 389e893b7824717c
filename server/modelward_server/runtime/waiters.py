"""Waiting calls: each retries its attempt whenever it may have become possible."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from modelward.errors import Unavailable

Value = TypeVar("Value")
POLL_SECONDS = 1.0
"""Interval at which waiters check for changes of other replicas; this server's own changes wake them."""


class Waiters:
    """The waiting calls of one server.

    Args:
        retry_on: the errors by which an attempt reports that nothing is available yet.
    """

    def __init__(self, retry_on: tuple[type[Exception], ...]) -> None:
        self._retry_on = retry_on
        self._changed = asyncio.Event()
        self._closed = False

    def wake(self) -> None:
        """Let every waiter check at once."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """End every wait, so that clients retry at another server or at this one after its restart."""
        self._closed = True
        self.wake()

    async def first(
        self, attempt: Callable[[], Awaitable[Value]], is_possible: Callable[[], Awaitable[bool]], seconds: float
    ) -> Value:
        """Return the result of the first attempt that succeeds, or raise the last attempt's error after `seconds`.

        Args:
            is_possible: determines, without a lock or a change, whether another attempt may succeed.

        Raises:
            Unavailable: the server stops.
        """
        end = time.monotonic() + seconds
        while True:
            changed = self._changed
            try:
                return await attempt()
            except self._retry_on:
                if not await self._becomes_possible(is_possible, changed, end):
                    raise

    async def _becomes_possible(
        self, is_possible: Callable[[], Awaitable[bool]], changed: asyncio.Event, end: float
    ) -> bool:
        """Wait until an attempt may succeed; return whether that was before the end."""
        while (left := end - time.monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), min(left, POLL_SECONDS))
            if self._closed:
                raise Unavailable("the server is stopping; retry")
            changed = self._changed
            if await is_possible():
                return True
        return False
