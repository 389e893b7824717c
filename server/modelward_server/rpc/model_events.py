"""Model events as messages: converted once, and shared by the watchers of the same models."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Self

from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField, ResumeTokenExpired
from modelward.lifecycle import EventKind, ModelEvent
from modelward.shared.convert.events import KINDS, event_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.lifecycle.engine_changes import changes_after, last_change
from modelward_server.lifecycle.events import current_states, events_after
from modelward_server.rpc.answer_cache import keep
from modelward_server.runtime.background import note_failure
from modelward_server.runtime.event_broadcaster import EventBroadcaster
from modelward_server.runtime.merging import merged
from modelward_server.runtime.retries import log_once
from modelward_server.storage.audit import last_sequence
from modelward_server.storage.unit_of_work import UnitOfWork

BATCH_SIZE = 500
MAX_MESSAGE_BYTES = 1 << 20
ON_REQUEST = frozenset({EventKind.ENGINE, EventKind.JOB, EventKind.APPROVAL, EventKind.FINDING})
"""What only who names it receives."""
USUAL = frozenset(EventKind) - ON_REQUEST
"""What who names no kinds receives: what an engine acts on, and the kinds of before they could be named."""
MAX_SHARED_BATCHES = 64
"""Maximum number of batches kept as messages: watchers of the same models request them at the same time."""


class EventLog:
    """Events of one table, as messages.

    Args:
        unit_of_work: the transactions of the ledger.
        last: returns the number of the newest event.
        after: returns at most so many events after a number, and the number up to which it looked.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWork,
        last: Callable[[Session], int],
        after: Callable[[Session, int, int], tuple[list[ModelEvent], int]],
    ) -> None:
        self._unit_of_work, self._last, self._after = unit_of_work, last, after

    async def last_sequence(self, *, urgent: bool = False) -> int:
        return await self._unit_of_work.read(self._last, urgent=urgent)

    async def read_after(self, sequence: int, *, urgent: bool = False) -> tuple[Sequence[pb.ModelEvent], int]:
        events, last = await self._unit_of_work.read(
            lambda session: self._after(session, sequence, BATCH_SIZE), urgent=urgent
        )
        return list(_protos(events)), last


@dataclass(frozen=True)
class Selection:
    """The events that a watcher receives."""

    models: frozenset[str]
    """Only of these; of all models when empty."""
    kinds: frozenset[str]
    """The fields of these events."""

    @classmethod
    def of(cls, request: pb.WatchModelsRequest) -> Self:
        """Return what a request asks for."""
        kinds = {kind for kind, number in KINDS.items() if number in request.kinds} if request.kinds else USUAL
        return cls(frozenset(request.models), frozenset(kinds))

    def includes(self, event: pb.ModelEvent) -> bool:
        """Return whether an event is one of these."""
        return (not self.models or event.model in self.models) and event.WhichOneof("event") in self.kinds


class ModelWatches:
    """Serves watches of models from one broadcaster of the audit log, and one of the changes of engines."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work
        self._events = EventLog(unit_of_work, last_sequence, events_after)
        self._engine_events = EventLog(unit_of_work, last_change, changes_after)
        self.broadcaster = EventBroadcaster[pb.ModelEvent](self._events)
        self.engine_broadcaster = EventBroadcaster[pb.ModelEvent](self._engine_events)
        self._shared: dict[tuple[int, int, Selection, bool], list[pb.WatchModelsResponse]] = {}

    def wake(self) -> None:
        """Look for changes at once."""
        self.broadcaster.wake()
        self.engine_broadcaster.wake()

    def close(self) -> None:
        """End every watch, so that clients resume at another server or at this one after its restart."""
        self.broadcaster.close()
        self.engine_broadcaster.close()

    async def watch(self, request: pb.WatchModelsRequest) -> AsyncGenerator[pb.WatchModelsResponse, None]:
        """Yield every change in order: after a resume token, or first the current state and then the changes.

        Raises:
            InvalidField: the token is not one of a watch.
            ResumeTokenExpired: the token is from a log that went further than this one.
            Unavailable: the server stops.
        """
        selection = Selection.of(request)
        sources = []
        if EventKind.ENGINE in selection.kinds:
            engines = self.engine_broadcaster.subscribe(await self._engine_events.last_sequence())
            sources.append(self._messages_of(engines, selection, of_engines=True))
        first, position = await self._start(request, selection)
        for message in first:
            yield message
        sources.append(self._messages_of(self.broadcaster.subscribe(position), selection))
        async with aclosing(merged(*sources) if len(sources) > 1 else sources[0]) as messages:
            async for message in messages:
                yield message

    async def _start(
        self, request: pb.WatchModelsRequest, selection: Selection
    ) -> tuple[list[pb.WatchModelsResponse], int]:
        """Return the first messages, and the position after which the changes follow."""
        if request.resume_token:
            return [], await self._position(request.resume_token)
        if request.changes_only or EventKind.STATE not in selection.kinds:
            position = await self._events.last_sequence()
            return [pb.WatchModelsResponse(resume_token=str(position))], position
        with_drills = EventKind.DRILL in selection.kinds
        states, position = await self._unit_of_work.read(
            lambda session: current_states(session, request.models, with_drills=with_drills)
        )
        return _messages(map(event_to_proto, states)), position

    async def _messages_of(
        self, batches: AsyncIterator[list[pb.ModelEvent]], selection: Selection, *, of_engines: bool = False
    ) -> AsyncGenerator[pb.WatchModelsResponse, None]:
        """Yield the messages of batches with the events that are selected; watchers share them."""
        async for batch in batches:
            key = (batch[0].sequence, batch[-1].sequence, selection, of_engines)
            messages = self._shared.get(key)
            if messages is None:
                messages = _messages(filter(selection.includes, batch))
                keep(self._shared, key, messages, MAX_SHARED_BATCHES)
            for message in messages:
                yield message

    async def _position(self, token: str) -> int:
        if not (token.isascii() and token.isdigit() and len(token) < 19):
            raise InvalidField(FieldViolation("resume_token", "is not one of WatchModels; send the last one received"))
        head = await self._events.last_sequence()
        if int(token) > head:
            raise ResumeTokenExpired(f"the log goes up to {head}; watch again, without a token", oldest=0)
        return int(token)


def _protos(events: Iterable[ModelEvent]) -> Iterator[pb.ModelEvent]:
    """Convert events; one that cannot be converted is logged, and does not stop those after it."""
    for event in events:
        try:
            yield event_to_proto(event)
        except Exception as error:
            note_failure(error)
            log_once("sending watchers the record", event.sequence, error)


def _messages(events: Iterable[pb.ModelEvent]) -> list[pb.WatchModelsResponse]:
    """Pack events into messages, each far below the size that clients accept."""
    messages: list[pb.WatchModelsResponse] = []
    size = MAX_MESSAGE_BYTES
    for event in events:
        size += event.ByteSize()
        if size > MAX_MESSAGE_BYTES:
            messages.append(pb.WatchModelsResponse())
            size = event.ByteSize()
        messages[-1].events.append(event)
    return messages
