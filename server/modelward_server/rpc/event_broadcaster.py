"""The feed of changes: read from the audit log once for all watchers.

Every watcher keeps a place of its own in the order of changes. Who is near the end reads from the events in memory, who
is far behind reads from the log: so nothing is skipped, and a slow watcher costs no memory.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from itertools import takewhile
from typing import TypeVar

from cachetools import LRUCache
from sqlalchemy.exc import SQLAlchemyError

from modelward.errors import FieldViolation, InvalidField, ModelwardError, ResumeTokenExpired, Unavailable
from modelward.lifecycle import ModelEvent
from modelward.shared.convert.events import event_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.lifecycle.events import current_states, events_after
from modelward_server.rpc.unit_of_work import Calls
from modelward_server.runtime.background import note_failure, progressed, stalled
from modelward_server.runtime.retries import log_once
from modelward_server.storage.audit import last_sequence

Value = TypeVar("Value")

EVENTS_KEPT = 10_000
BATCH = 500
MESSAGE_BYTES = 1 << 20
SHARED = 64
"""How many batches are kept as messages: watchers of the same models ask for them at the same time."""
POLL_SECONDS = 0.25
"""How often the log is looked at for changes that another replica made; our own wake the feed at once."""


class Feed:
    """Tells watchers what changes."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._recent: deque[pb.ModelEvent] = deque(maxlen=EVENTS_KEPT)
        self._shared: LRUCache[tuple[int, int, frozenset[str]], list[pb.WatchModelsResponse]] = LRUCache(SHARED)
        self._head = self._kept_after = 0
        self._changed = asyncio.Event()
        self._written = asyncio.Event()
        self._closed = False

    def wake(self) -> None:
        """Look at the log at once."""
        self._written.set()

    def close(self) -> None:
        """End every watch, so that the watchers go on at another server or at this one when it is back."""
        self._closed = True
        self._announce()

    async def run(self) -> None:
        """Follow the log until cancelled."""
        await self._while_away(self._begin)
        while True:
            is_more = await self._while_away(self._read_on)
            await progressed()
            if not is_more:
                await self._pause()

    async def _while_away(self, step: Callable[[], Awaitable[Value]]) -> Value:
        """Try a step until the database is there for it; the watchers wait with us."""
        while True:
            try:
                return await step()
            except (ModelwardError, SQLAlchemyError) as error:
                await stalled(error)
                await asyncio.sleep(POLL_SECONDS)

    async def _begin(self) -> None:
        self._head = self._kept_after = await self._calls.read(last_sequence, urgent=True)
        self._announce()  # Who came before is behind what is kept from here on, and reads the log.

    async def _read_on(self) -> bool:
        self._written.clear()
        head = self._head
        events, self._head = await self._calls.read(lambda session: events_after(session, head, BATCH), urgent=True)
        for event in _protos(events):
            if len(self._recent) == EVENTS_KEPT:
                self._kept_after = self._recent[0].sequence
            self._recent.append(event)
        if self._head != head:
            self._announce()
        return self._head != head

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._written.wait(), POLL_SECONDS)
        except TimeoutError:
            return

    def _announce(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def watch(self, models: list[str], token: str) -> AsyncIterator[pb.WatchModelsResponse]:
        """Give every change in order: behind a token, or first how things stand and then what changes.

        Raises:
            InvalidField: the token is not one of a watch.
            ResumeTokenExpired: the token is from a log that went further than this one.
            Unavailable: the server stops.
        """
        wanted = frozenset(models)
        if token:
            place = await self._place(token)
        else:
            states, place = await self._calls.read(lambda session: current_states(session, models))
            for message in _messages(map(event_to_proto, states)):
                yield message
        async for batch in self._after(place):
            for message in self._told(batch, wanted):
                yield message

    def _told(self, batch: list[pb.ModelEvent], wanted: frozenset[str]) -> list[pb.WatchModelsResponse]:
        """Return the messages with what is wanted of a batch; a thousand watchers of one model share them."""
        key = (batch[0].sequence, batch[-1].sequence, wanted)
        if key not in self._shared:
            self._shared[key] = _messages(event for event in batch if not wanted or event.model in wanted)
        return self._shared[key]

    async def _place(self, token: str) -> int:
        if not (token.isascii() and token.isdigit() and len(token) < 19):
            raise InvalidField(FieldViolation("resume_token", "is not one that WatchModels gave; send the last one"))
        head = await self._calls.read(last_sequence)
        if int(token) > head:
            raise ResumeTokenExpired(f"the log goes up to {head}; watch anew, without a token", oldest=0)
        return int(token)

    async def _after(self, place: int) -> AsyncIterator[list[pb.ModelEvent]]:
        while True:
            changed = self._changed
            if self._closed:
                raise Unavailable("the server stops; go on with the last resume token")
            batch, place = await self._next(place)
            if batch:
                yield batch
            elif place >= self._head:
                await changed.wait()

    async def _next(self, place: int) -> tuple[list[pb.ModelEvent], int]:
        if place >= self._kept_after:
            fresh = list(takewhile(lambda event: event.sequence > place, reversed(self._recent)))
            return fresh[::-1], max(self._head, place)
        events, last = await self._calls.read(lambda session: events_after(session, place, BATCH))
        return list(_protos(events)), last


def _protos(events: Iterable[ModelEvent]) -> Iterator[pb.ModelEvent]:
    """Convert events; one that cannot be is logged, and holds up none of those behind it."""
    for event in events:
        try:
            yield event_to_proto(event)
        except Exception as error:
            note_failure(error)
            log_once("telling watchers of the record", event.sequence, error)


def _messages(events: Iterable[pb.ModelEvent]) -> list[pb.WatchModelsResponse]:
    """Put events into messages, each far below the size that clients take."""
    messages: list[pb.WatchModelsResponse] = []
    size = MESSAGE_BYTES
    for event in events:
        size += event.ByteSize()
        if size > MESSAGE_BYTES:
            messages.append(pb.WatchModelsResponse())
            size = event.ByteSize()
        messages[-1].events.append(event)
    return messages
