"""The feed of changes: read from the audit log once for all watchers.

Every watcher keeps a place of its own in the order of changes. Who is near the end reads from the events in memory, who
is far behind reads from the log: so nothing is skipped, and a slow watcher costs no memory.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from itertools import takewhile

from modelward._convert.events import event_to_proto
from modelward.errors import FieldViolation, InvalidField, ModelwardError, ResumeTokenExpired, Unavailable
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.lifecycle.events import current_states, events_after
from modelward_server.rpc.calls import Calls
from modelward_server.store.audit import last_sequence

EVENTS_KEPT = 10_000
BATCH = 500
POLL_SECONDS = 0.25
"""How often the log is looked at for changes that another replica made; our own wake the feed at once."""


class Feed:
    """Tells watchers what changes."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._recent: deque[pb.WatchModelsResponse] = deque(maxlen=EVENTS_KEPT)
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
        self._head = self._kept_after = await self._calls.read(last_sequence)
        while True:
            try:
                if not await self._read_on():
                    await self._pause()
            except ModelwardError:  # The database is away; the watchers wait with us.
                await asyncio.sleep(POLL_SECONDS)

    async def _read_on(self) -> bool:
        self._written.clear()
        head = self._head
        events, self._head = await self._calls.read(lambda session: events_after(session, head, BATCH))
        for event in events:
            if len(self._recent) == EVENTS_KEPT:
                self._kept_after = self._recent[0].event.sequence
            self._recent.append(_response(event_to_proto(event)))
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
        if token:
            place = await self._place(token)
        else:
            states, place = await self._calls.read(lambda session: current_states(session, models))
            for i, state in enumerate(states):
                # Only the last one carries a token: a watch that breaks off before begins anew.
                yield _response(event_to_proto(state), resume=i == len(states) - 1)
        wanted = set(models)
        async for response in self._after(place):
            if not wanted or response.event.model in wanted:
                yield response

    async def _place(self, token: str) -> int:
        if not (token.isascii() and token.isdigit() and len(token) < 19):
            raise InvalidField(FieldViolation("resume_token", "is not one that WatchModels gave; send the last one"))
        head = await self._calls.read(last_sequence)
        if int(token) > head:
            raise ResumeTokenExpired(f"the log goes up to {head}; watch anew, without a token", oldest=0)
        return int(token)

    async def _after(self, place: int) -> AsyncIterator[pb.WatchModelsResponse]:
        while True:
            changed = self._changed
            if self._closed:
                raise Unavailable("the server stops; go on with the last resume token")
            batch, place = await self._next(place)
            for response in batch:
                yield response
            if not batch and place >= self._head:
                await changed.wait()

    async def _next(self, place: int) -> tuple[list[pb.WatchModelsResponse], int]:
        if place >= self._kept_after:
            fresh = list(takewhile(lambda response: response.event.sequence > place, reversed(self._recent)))
            return fresh[::-1], max(self._head, place)
        events, last = await self._calls.read(lambda session: events_after(session, place, BATCH))
        return [_response(event_to_proto(event)) for event in events], last


def _response(event: pb.ModelEvent, resume: bool = True) -> pb.WatchModelsResponse:
    return pb.WatchModelsResponse(event=event, resume_token=str(event.sequence) if resume else "")
