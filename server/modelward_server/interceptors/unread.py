"""A limit on how long a client may leave a streamed response unread.

A timeout for each response would cost a fifth of the time of notifying watchers: here each call has one timer, which
looks now and then at how long the response under way has waited.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from modelward.errors import DeadlineExceeded
from modelward_server.interceptors.base import Send

MAX_UNREAD_SECONDS = 120.0
"""A watch that ends for this resumes with its token."""


@asynccontextmanager
async def unread_limit(send: Send) -> AsyncIterator[UnreadLimit]:
    """Yield what sends responses, as fast as the client reads them.

    Raises:
        DeadlineExceeded: the client read nothing for too long; the resources that its call occupies are then released.
    """
    try:
        async with asyncio.timeout(None) as timeout:
            limit = UnreadLimit(send, timeout)
            try:
                yield limit
            finally:
                limit.end()
    except TimeoutError:
        if not timeout.expired():
            raise
        raise DeadlineExceeded(f"the client read nothing for {MAX_UNREAD_SECONDS:g} s") from None


class UnreadLimit:
    """Sends the responses of one call, and times it out when one is not read."""

    def __init__(self, send: Send, timeout: asyncio.Timeout) -> None:
        self._send, self._timeout = send, timeout
        self._loop = asyncio.get_running_loop()
        self._begun: float | None = None
        self._timer = self._loop.call_later(MAX_UNREAD_SECONDS, self._look)

    async def send(self, answer: object) -> None:
        """Send a response; it returns when the client can take the next one."""
        self._begun = self._loop.time()
        await self._send(answer)
        self._begun = None

    def end(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        left = MAX_UNREAD_SECONDS - (0.0 if self._begun is None else now - self._begun)
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._timeout.reschedule(now)
