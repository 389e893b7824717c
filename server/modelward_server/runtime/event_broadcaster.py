"""Broadcast of an event log: each event is read once for all subscribers.

Every subscriber has its own position in the log. A subscriber near the end reads the events kept in memory, one far
behind reads the log: no event is skipped, and a slow subscriber costs no memory.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import takewhile
from typing import Generic, Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from modelward.errors import ModelwardError, Unavailable
from modelward_server.runtime.background import progressed, stalled

MAX_EVENTS_KEPT = 10_000
POLL_SECONDS = 0.25
"""Interval at which the log is read for changes of other replicas; this server's own changes wake it at once."""
IDLE_SECONDS = 5.0
"""The same while there is no subscriber."""


class Sequenced(Protocol):
    """An event with its position in the log."""

    @property
    def sequence(self) -> int: ...


Event = TypeVar("Event", bound=Sequenced)
LoggedEvent_co = TypeVar("LoggedEvent_co", bound=Sequenced, covariant=True)
Value = TypeVar("Value")


class EventLog(Protocol[LoggedEvent_co]):
    """The log that is broadcast. `urgent` reads do not queue behind those of clients."""

    async def last_sequence(self, *, urgent: bool = False) -> int:
        """Return the position of the newest record."""
        ...

    async def read_after(self, sequence: int, *, urgent: bool = False) -> tuple[Sequence[LoggedEvent_co], int]:
        """Return the next events, and the position of the last record that was read."""
        ...


class EventBroadcaster(Generic[Event]):
    """Reads a log and passes its events to all subscribers."""

    def __init__(self, events: EventLog[Event]) -> None:
        self._events = events
        self._recent: deque[Event] = deque(maxlen=MAX_EVENTS_KEPT)
        self._head = self._kept_after = 0
        self._newest: list[Event] = []
        self._newest_after = -1
        """The position before the newest events; those between others are looked up. -1: none were read."""
        self._changed = asyncio.Event()
        self._written = asyncio.Event()
        self._closed = False
        self._subscribers = 0

    def wake(self) -> None:
        """Read the log at once, if anybody waits for its events."""
        if self._subscribers:
            self._written.set()

    def close(self) -> None:
        """End every subscription, so that clients resume at another server or at this one after its restart."""
        self._closed = True
        self._notify()

    async def run(self) -> None:
        """Follow the log until cancelled."""
        await self._retry(self._begin)
        while True:
            is_more = await self._retry(self._read_on)
            await progressed()
            if not is_more:
                await self._pause()

    async def _retry(self, step: Callable[[], Awaitable[Value]]) -> Value:
        """Repeat a step until the database is available; subscribers wait meanwhile."""
        while True:
            try:
                return await step()
            except (ModelwardError, SQLAlchemyError) as error:
                await stalled(error)
                await asyncio.sleep(POLL_SECONDS)

    async def _begin(self) -> None:
        self._head = self._kept_after = await self._events.last_sequence(urgent=True)
        self._newest_after = -1
        self._notify()  # Earlier subscribers are behind the events kept from here on, and read the log.

    async def _read_on(self) -> bool:
        self._written.clear()
        head = self._head
        events, self._head = await self._events.read_after(head, urgent=True)
        for event in events:
            if len(self._recent) == MAX_EVENTS_KEPT:
                self._kept_after = self._recent[0].sequence
            self._recent.append(event)
        if self._head != head:
            self._newest, self._newest_after = list(events), head
            self._notify()
        return self._head != head

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._written.wait(), POLL_SECONDS if self._subscribers else IDLE_SECONDS)
        except TimeoutError:
            return

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def subscribe(self, after: int) -> AsyncIterator[list[Event]]:
        """Yield batches of all events after a position, in order, without end.

        Raises:
            Unavailable: the server stops.
        """
        self._subscribers += 1
        self.wake()  # It may have been idle.
        try:
            while True:
                changed = self._changed
                if self._closed:
                    raise Unavailable("the server is stopping; reconnect with the last resume token")
                batch, after = await self._next(after)
                if batch:
                    yield batch
                elif after >= self._head:
                    await changed.wait()
        finally:
            self._subscribers -= 1

    async def _next(self, after: int) -> tuple[list[Event], int]:
        if after == self._newest_after:  # As for all who had received what came before.
            return self._newest, self._head
        if after >= self._kept_after:
            fresh = list(takewhile(lambda event: event.sequence > after, reversed(self._recent)))
            return fresh[::-1], max(self._head, after)
        events, last = await self._events.read_after(after)
        return list(events), last
