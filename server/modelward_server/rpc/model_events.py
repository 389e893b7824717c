"""Model events as messages: converted once, and shared by the watchers of the same models."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

from cachetools import LRUCache

from modelward.errors import FieldViolation, InvalidField, ResumeTokenExpired
from modelward.lifecycle import ModelEvent
from modelward.shared.convert.events import event_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.lifecycle.events import current_states, events_after
from modelward_server.runtime.background import note_failure
from modelward_server.runtime.event_broadcaster import EventBroadcaster
from modelward_server.runtime.retries import log_once
from modelward_server.storage.audit import last_sequence
from modelward_server.storage.unit_of_work import UnitOfWork

BATCH_SIZE = 500
MAX_MESSAGE_BYTES = 1 << 20
MAX_SHARED_BATCHES = 64
"""Maximum number of batches kept as messages: watchers of the same models request them at the same time."""


class AuditEvents:
    """The events of the audit log, as messages."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def last_sequence(self, *, urgent: bool = False) -> int:
        return await self._unit_of_work.read(last_sequence, urgent=urgent)

    async def read_after(self, sequence: int, *, urgent: bool = False) -> tuple[Sequence[pb.ModelEvent], int]:
        events, last = await self._unit_of_work.read(
            lambda session: events_after(session, sequence, BATCH_SIZE), urgent=urgent
        )
        return list(_protos(events)), last


class ModelWatches:
    """Serves watches of models from one broadcaster."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work
        self._events = AuditEvents(unit_of_work)
        self.broadcaster = EventBroadcaster[pb.ModelEvent](self._events)
        self._shared: LRUCache[tuple[int, int, frozenset[str]], list[pb.WatchModelsResponse]]
        self._shared = LRUCache(MAX_SHARED_BATCHES)

    async def watch(self, models: list[str], token: str) -> AsyncIterator[pb.WatchModelsResponse]:
        """Yield every change in order: after a resume token, or first the current state and then the changes.

        Raises:
            InvalidField: the token is not one of a watch.
            ResumeTokenExpired: the token is from a log that went further than this one.
            Unavailable: the server stops.
        """
        watched = frozenset(models)
        if token:
            position = await self._position(token)
        else:
            states, position = await self._unit_of_work.read(lambda session: current_states(session, models))
            for message in _messages(map(event_to_proto, states)):
                yield message
        async for batch in self.broadcaster.subscribe(position):
            for message in self._of_models(batch, watched):
                yield message

    def _of_models(self, batch: list[pb.ModelEvent], models: frozenset[str]) -> list[pb.WatchModelsResponse]:
        """Return the messages of a batch about some models, or all when none is named; watchers share them."""
        key = (batch[0].sequence, batch[-1].sequence, models)
        if key not in self._shared:
            self._shared[key] = _messages(event for event in batch if not models or event.model in models)
        return self._shared[key]

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
