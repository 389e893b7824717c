"""The method that receives live data: batches in, acknowledgements and reports of windows out."""

import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

import numpy as np
from sqlalchemy.orm import Session

from modelward.data import to_arrow
from modelward.drift import DEFAULT_REFERENCE
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.convert.common import ref_from_proto, span_from_proto
from modelward.shared.convert.drift import report_to_proto
from modelward.v1 import drift_pb2 as pb
from modelward.v1.drift_pb2_grpc import DriftServiceServicer
from modelward_server.actor_context import ActorContext
from modelward_server.drift import live_monitoring
from modelward_server.drift.live_monitoring import RowsPart
from modelward_server.drift.multivariate import reference_cells
from modelward_server.drift.profile import Profile
from modelward_server.drift.window_closing import ClosedWindow, WindowCloser, WindowClosers
from modelward_server.drift.windows import Observer, ObserverState
from modelward_server.rpc.datasets import reading_executor
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork, actor_of
from modelward_server.rpc.observed_batches import (
    Batch,
    BatchReader,
    BatchTable,
    ReadBatches,
    Received,
    Refusal,
    number_of_batches,
    received,
    refused_as,
)
from modelward_server.rpc.read_ahead import ReadAhead
from modelward_server.statistics import sequential_detector
from modelward_server.statistics.distances import NormalizedRanks
from modelward_server.storage.columns import select_rows
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.sources import Sources
from modelward_server.storage.unit_of_work import UnitOfWork


class LiveMonitoringServicer(DriftServiceServicer):
    """The method that monitors live data."""

    _unit_of_work: RequestUnitOfWork
    _closers: WindowClosers
    _sources: Sources

    async def Observe(
        self, request_iterator: AsyncIterator[pb.ObserveRequest], context: Context
    ) -> AsyncIterator[pb.ObserveResponse]:
        watch = await self._watch(await _header(request_iterator))
        await ensure_open(self._unit_of_work, watch.observer, actor_of(context))
        async for answer in self._close_windows(watch, context):
            yield answer  # Windows that closed before a server died.
        yield await self._unit_of_work.read(watch.standing)
        async with ReadAhead(_batches(request_iterator), number_of_batches) as arrived:
            async for group in arrived.groups():
                async for answer in self._observe(watch, [*map(received, group)], context):
                    yield answer

    async def _observe(
        self, watch: "Watch", messages: Sequence[Received], context: Context
    ) -> AsyncIterator[pb.ObserveResponse]:
        """Store batches that have arrived, in one transaction, and compare the windows that they close.

        If one of them is refused, those before it are stored.
        """
        while messages:
            taken = await self._take(watch, messages, context)
            done = [message for message in messages if message.last <= taken.place.acknowledged]
            async for answer in self._answers(watch, taken, len(done), context):
                yield answer
            messages = messages[len(done) :]
            if messages and not taken.moves and taken.refusal:
                raise taken.refusal

    async def _answers(
        self, watch: "Watch", taken: "Taken", messages: int, context: Context
    ) -> AsyncIterator[pb.ObserveResponse]:
        """Yield an answer for each message that was taken; a window that closed has one of its own instead."""
        for _ in range(messages - 1):
            yield taken.answer()
        is_acknowledged = not messages
        if taken.closes:
            async for answer in self._close_windows(watch, context):
                is_acknowledged = True
                yield answer
        if not is_acknowledged:  # No window closed, or another server has compared it.
            yield taken.answer()

    async def _watch(self, header: pb.ObserveHeader) -> "Watch":
        observer = live_monitoring.with_alarm_defaults(_observer_of(header))
        return Watch(await self._closers.open(self._unit_of_work, observer), self._sources)

    async def _take(self, watch: "Watch", messages: Sequence[Received], context: Context) -> "Taken":
        executor = reading_executor(self._unit_of_work.executors, *(message.data for message in messages))
        read = await executor.run(watch.reader.read, messages)
        return await self._unit_of_work.run_prepared_as_system(
            actor_of(context), lambda session: watch.prepare(session, read), watch.take
        )

    async def _close_windows(self, watch: "Watch", context: Context) -> AsyncIterator[pb.ObserveResponse]:
        """Compare the closed windows one after the other; each report is stored before the next window is processed."""
        while (closed := await self._unit_of_work.analyse(watch.closer.prepare)) is not None:
            seen: list[ClosedWindow | None] = [closed]
            answer = await self._unit_of_work.run_prepared_as_system(
                actor_of(context), watch.closer.prepare, watch.close, at_first=seen
            )
            if answer is not None:
                yield answer


@dataclass(frozen=True)
class _Placed:
    """A batch, and the window of each part of its rows."""

    table: BatchTable
    batch: Batch
    parts: Sequence[tuple[int, slice]]


@dataclass(frozen=True)
class Taken:
    """The prepared state change for some batches.

    Attributes:
        before: the number of the last batch that was accepted before.
        opened: the number of the window that was open before.
        refusal: why the next batch is refused; None if there is none, or it is not.
        parts: their rows, to be stored.
        closes_at: when the open window closes without further rows.
    """

    before: int
    opened: int
    place: ObserverState
    evidence: float
    refusal: Refusal | None
    parts: Sequence[RowsPart] = ()
    closes_at: datetime | None = None

    @property
    def moves(self) -> bool:
        """Return whether there is a batch that was not accepted before."""
        return self.place.acknowledged > self.before

    @property
    def closes(self) -> bool:
        """Return whether it closes a window."""
        return self.place.window > self.opened

    def answer(self) -> pb.ObserveResponse:
        return _standing(self.place, self.evidence)


class Watch:
    """One sender's live data: changes are prepared outside the write transaction, and then stored."""

    def __init__(self, closer: WindowCloser, sources: Sources) -> None:
        self.closer, self.observer, self.profile, self.keys = closer, closer.observer, closer.profile, closer.keys
        self.reader = BatchReader(closer, sources)

    def standing(self, session: Session) -> pb.ObserveResponse:
        """Return the sender's current state."""
        return self._shown(self.closer.state(session))

    def _shown(self, state: ObserverState) -> pb.ObserveResponse:
        return _standing(state, _detector(state, self.profile).evidence)

    def prepare(self, session: Session, read: ReadBatches) -> Taken:
        """Prepare the state change for batches that came one after the other, until one is refused."""
        place = self.closer.state(session)
        before, opened, detector = place.acknowledged, place.window, _detector(place, self.profile)
        placed, refusal = self._placed(place, read)
        if not placed:
            return Taken(before, opened, place, detector.evidence, refusal)
        if seen := [self._seen(one) for one in placed if one.parts]:
            detector.update(seen)
        place.detector = sequential_detector.to_bytes(detector)
        last = placed[-1].batch.seen_at
        if self.keys.time in placed[-1].table.columns:
            last = place.latest or last
        closes_at = place.closes_at(self.observer, last, datetime.now(UTC))
        return Taken(before, opened, place, detector.evidence, refusal, [*_stored_parts(placed)], closes_at)

    def _placed(self, place: ObserverState, read: ReadBatches) -> tuple[list[_Placed], Refusal | None]:
        """Divide the new batches among windows, until one is refused."""
        placed: list[_Placed] = []
        for table in read.tables:
            for batch in table.batches:
                try:
                    with refused_as(batch.number, table.field):
                        if live_monitoring.is_new(place, batch.number, table.field):
                            placed.append(_Placed(table, batch, self._parts(place, table, batch)))
                            place.acknowledged = batch.number
                except InvalidField as error:
                    return placed, error
        return placed, read.refusal

    def _parts(self, place: ObserverState, table: BatchTable, batch: Batch) -> list[tuple[int, slice]]:
        first, times = batch.rows.start, table.columns.get(self.keys.time)
        own = None if times is None else times[batch.rows]
        parts = place.parts(self.observer, batch.rows.stop - first, batch.seen_at, own)
        return [(window, slice(first + part.start, first + part.stop)) for window, part in parts]

    def _seen(self, placed: _Placed) -> tuple[NormalizedRanks, int]:
        """Return the ranks of a batch that the detector sees, and the seed of its ties."""
        ranks = np.concatenate([placed.table.ranks[rows] for _, rows in placed.parts])
        return ranks, zlib.crc32(f"{self.observer.sender} {placed.batch.number}".encode())

    def take(self, session: Session, actor: ActorContext, taken: Taken) -> Taken:
        """Store batches.

        Raises:
            Outdated: other batches of the sender were stored, or its window was closed, meanwhile.
            ConcurrentChange: the reference was replaced since the call began.
        """
        self.closer.check_reference(session)
        row = live_monitoring.open_observer(session, self.observer)
        if (row.acknowledged, row.window) != (taken.before, taken.opened):
            raise Outdated
        if not taken.moves:
            return taken
        live_monitoring.keep_rows(session, row, taken.parts)
        live_monitoring.move(row, taken.place)
        live_monitoring.set_deadlines(row, self.observer, taken.closes_at, recovers=taken.closes)
        return taken

    def close(self, session: Session, actor: ActorContext, closed: ClosedWindow | None) -> pb.ObserveResponse | None:
        """Store the report of a window; None when another server did. Raises as `WindowCloser.store`."""
        stored = self.closer.store(session, actor, closed)
        if closed is None or stored is None:
            return None
        report, alarm = stored
        answer = pb.ObserveResponse(alarm=alarm, report=report_to_proto(report))
        answer.MergeFrom(self._shown(closed.state))
        return answer


async def ensure_open(unit_of_work: UnitOfWork, observer: Observer, actor: str) -> None:
    """Record a sender, unless it is known."""
    if await unit_of_work.read(lambda session: live_monitoring.observer_state(session, observer)) is None:
        await unit_of_work.run_as_system(
            actor, lambda session, _: live_monitoring.open_observer(session, observer).sender
        )


def _standing(state: ObserverState, evidence: float) -> pb.ObserveResponse:
    return pb.ObserveResponse(acknowledged=state.acknowledged, sequential_evidence=evidence, late_rows=state.late_rows)


async def _batches(parts: AsyncIterator[pb.ObserveRequest]) -> AsyncIterator[pb.ObserveRequest]:
    async for part in parts:
        if part.HasField("header"):
            raise InvalidField(FieldViolation("header", "was sent twice; send it once, and then the batches"))
        yield part


async def _header(parts: AsyncIterator[pb.ObserveRequest]) -> pb.ObserveHeader:
    async for part in parts:
        if part.HasField("header"):
            return part.header
        break
    raise InvalidField(FieldViolation("header", "is missing; send it first"))


def _observer_of(header: pb.ObserveHeader) -> Observer:
    return Observer(
        version=ref_from_proto(header.version),
        reference=header.reference or DEFAULT_REFERENCE,
        sender=header.sender,
        rows=header.rows,
        span=span_from_proto(header.span) if header.HasField("span") else timedelta(0),
        alarm_after=header.alarm_after,
        alarm_of=header.alarm_of,
        time_column=header.time_column,
        group_column=header.group_column,
        id_column=header.id_column,
    )


def _detector(place: ObserverState, profile: Profile) -> sequential_detector.Detector:
    """Return a sender's detector; it starts again when the reference was replaced."""
    reference = reference_cells(profile)
    if place.detector and (known := sequential_detector.from_bytes(place.detector)).grew_from(reference):
        return known
    return sequential_detector.Detector(reference)


def _stored_parts(placed: Iterable[_Placed]) -> Iterator[RowsPart]:
    """Yield the rows of each part to store.

    Batches of one table and window that were observed in the same minute are stored as one: reports tell minutes.
    """
    parts = [(one, window, rows) for one in placed for window, rows in one.parts]
    for (_, window, _), same in groupby(parts, lambda part: (id(part[0].table), part[1], _minute(part[0].batch))):
        first, *rest = same
        rows = slice(first[2].start, (rest or [first])[-1][2].stop)
        table = first[0].table
        columns = b"".join(to_arrow(select_rows(table.columns, rows)))
        yield RowsPart(window, first[0].batch.seen_at, columns, table.stored_ids(rows))


def _minute(batch: Batch) -> datetime:
    return batch.seen_at.replace(second=0, microsecond=0)
