"""Open pages that follow changes: each is rendered once for all who look at it with the same credential."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Protocol

from modelward.errors import ModelwardError, NotAuthenticated

TOGETHER_SECONDS = 0.1
"""Changes within so long are shown together; a watch that begins with a page has begun by then."""
PAUSES = 5
"""A page is rendered again after so many times the time that it took: a costly one takes a fraction of a core."""
MAX_PAUSE_SECONDS = 0.6
"""So that a change is shown within a second."""
LOOK_SECONDS = 30.0
"""A page is rendered again after so long without a change: engines fall silent and leases run out without one."""
RETRY_SECONDS = 1.0
"""Pause after the server could not be read."""
SILENCE_SECONDS = 20.0
"""After so long without a change a comment is sent, so that the connection of a browser that is gone ends."""

Newest = asyncio.Queue[bytes | None]
"""Holds the newest rendering that a page has not taken yet, and None at the end."""


def newest() -> Newest:
    """Return what holds the newest rendering for a page."""
    return asyncio.Queue(1)


def put(queue: Newest, content: bytes | None) -> None:
    """Replace what a page has not taken yet, but for the end."""
    if queue.full() and queue.get_nowait() is None:
        content = None
    queue.put_nowait(content)


class Changes(Protocol):
    """What tells of changes: those of the registry, or the steps of a comparison."""

    def telling(self, listener: Callable[[Any], None]) -> AbstractContextManager[None]:
        """Tell a listener of every change, and with None of the end, until the context is left."""


class LivePage:
    """A page as it is now.

    Args:
        live: the changes.
        render: returns the page.
        concerns: whether a change concerns the page.
    """

    def __init__(self, live: Changes, render: Callable[[], Awaitable[str]], concerns: Callable[[Any], bool]) -> None:
        self._live, self._render, self._concerns = live, render, concerns
        self._queues: set[Newest] = set()
        self._changed = asyncio.Event()
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether nobody looks at it any more, or is told of changes."""
        return self._ended

    @contextmanager
    def showing(self, queue: Newest) -> Iterator[None]:
        """Put into a queue how the page is now, and again after each change; None at the end."""
        self._queues.add(queue)
        if self._ended:
            put(queue, None)
        self._changed.set()  # It may have changed since the browser loaded it.
        self._task = self._task or asyncio.create_task(self._follow())
        try:
            yield
        finally:
            self._queues.discard(queue)
            if not self._queues:
                self._ended = True
                self._task.cancel()

    def _note(self, event: Any) -> None:
        if event is None or self._concerns(event):
            self._ended = self._ended or event is None
            self._changed.set()

    async def _follow(self) -> None:
        try:
            with self._live.telling(self._note):
                while not self._ended:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), LOOK_SECONDS)
                    await asyncio.sleep(TOGETHER_SECONDS)
                    self._changed.clear()
                    await asyncio.sleep(await self._show())
        finally:
            self._ended = True
            self._tell(None)

    async def _show(self) -> float:
        """Render the page for everybody, and return the seconds for which it is not rendered again."""
        begun = time.monotonic()
        try:
            self._tell(_event(await self._render()))
        except NotAuthenticated:
            self._ended = True
        except ModelwardError:
            self._changed.set()
            return RETRY_SECONDS
        return min(PAUSES * (time.monotonic() - begun), MAX_PAUSE_SECONDS)

    def _tell(self, content: bytes | None) -> None:
        for queue in self._queues:
            put(queue, content)


def _event(content: str) -> bytes:
    """Return a text as a server-sent event."""
    return "".join([*(f"data: {line}\n" for line in content.splitlines()), "\n"]).encode()


async def events(queue: Newest, until: datetime | None) -> AsyncIterator[bytes]:
    """Yield what is put into a queue as server-sent events, until None.

    Args:
        queue: that of an open page.
        until: when the credential ends; None if it does not.
    """
    yield b": connected\n\n"
    while (seconds := _seconds_to(until)) > 0:
        try:
            content = await asyncio.wait_for(queue.get(), min(seconds, SILENCE_SECONDS))
        except TimeoutError:
            content = b": still here\n\n"
        if content is None:
            return
        yield content


def _seconds_to(until: datetime | None) -> float:
    return math.inf if until is None else (until - datetime.now(UTC)).total_seconds()
