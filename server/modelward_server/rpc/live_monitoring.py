"""The method that receives live data: batches in, acknowledgements and reports of windows out."""

import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy.orm import Session

from modelward.data import Columns, to_arrow
from modelward.drift import DEFAULT_REFERENCE
from modelward.errors import FieldViolation, InvalidField, LimitReached
from modelward.segments import ClosureSessions
from modelward.shared.convert.common import ref_from_proto, span_from_proto
from modelward.shared.convert.drift import report_to_proto
from modelward.v1 import drift_pb2 as pb
from modelward.v1.common_pb2 import Dataset
from modelward.v1.drift_pb2_grpc import DriftServiceServicer
from modelward_server.actor_context import ActorContext
from modelward_server.drift import live_monitoring
from modelward_server.drift.multivariate import normalized_ranks, reference_cells
from modelward_server.drift.profile import Profile
from modelward_server.drift.reports import OF_REFERENCE
from modelward_server.drift.row_order import sort_rows, without_keys
from modelward_server.drift.row_segments import rows_in
from modelward_server.drift.sample import fit_columns
from modelward_server.drift.window_closing import ClosedWindow, WindowCloser, open_closer
from modelward_server.drift.windows import Observer, ObserverState
from modelward_server.rpc.datasets import read_columns, reading_executor
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork, actor_of
from modelward_server.rpc.read_ahead import ReadAhead
from modelward_server.rpc.requests import optional_time
from modelward_server.statistics import sequential_detector
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.columns import select_rows
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.sources import Sources
from modelward_server.storage.table_memory import MIB, bytes_of

MAX_BATCH_BYTES = 64 * MIB
"""Maximum decoded size of one batch: the ledger stores its rows until their window is compared."""


class LiveMonitoringServicer(DriftServiceServicer):
    """The method that monitors live data."""

    _unit_of_work: RequestUnitOfWork
    _blobs: BlobStore
    _sources: Sources

    async def Observe(
        self, request_iterator: AsyncIterator[pb.ObserveRequest], context: Context
    ) -> AsyncIterator[pb.ObserveResponse]:
        watch = await self._watch(await _header(request_iterator))
        await self._open(watch.observer, context)
        async for answer in self._close_windows(watch, context):
            yield answer  # Windows that closed before a server died.
        yield await self._unit_of_work.read(watch.standing)
        async with ReadAhead(_batches(request_iterator)) as arrived:
            async for group in arrived.groups():
                async for answer in self._observe(watch, group, context):
                    yield answer

    async def _observe(
        self, watch: "_Watch", batches: Sequence[pb.ObserveBatch], context: Context
    ) -> AsyncIterator[pb.ObserveResponse]:
        """Store batches that have arrived, in one transaction, and compare the windows that they close.

        If one of them is refused, those before it are stored.
        """
        try:
            taken = await self._take(watch, batches, context)
        except (InvalidField, LimitReached):
            if len(batches) == 1:
                raise
            for batch in batches:
                async for answer in self._observe(watch, [batch], context):
                    yield answer
            return
        for _ in batches[1:]:  # Each batch has an answer, and a window that closed one of its own.
            yield taken.answer()
        is_acknowledged = False
        if taken.closes:
            async for answer in self._close_windows(watch, context):
                is_acknowledged = True
                yield answer
        if not is_acknowledged:  # No window closed, or another server has compared it.
            yield taken.answer()

    async def _watch(self, header: pb.ObserveHeader) -> "_Watch":
        observer = live_monitoring.with_alarm_defaults(_observer_of(header))
        return _Watch(await open_closer(self._unit_of_work, self._blobs, observer))

    async def _open(self, observer: Observer, context: Context) -> None:
        if await self._unit_of_work.read(lambda session: live_monitoring.observer_state(session, observer)) is None:
            await self._unit_of_work.run_as_system(
                actor_of(context), lambda session, _: live_monitoring.open_observer(session, observer).sender
            )

    async def _take(self, watch: "_Watch", batches: Sequence[pb.ObserveBatch], context: Context) -> "_Taken":
        executor = reading_executor(self._unit_of_work.executors, *(batch.data for batch in batches))
        read = await executor.run(lambda: [self._read(watch, batch) for batch in batches])
        return await self._unit_of_work.run_prepared_as_system(
            actor_of(context), lambda session: watch.prepare(session, read), watch.take
        )

    def _read(self, watch: "_Watch", batch: pb.ObserveBatch) -> "_Batch":
        seen_at = optional_time(batch, "seen_at") or datetime.now(UTC)
        return _Batch(batch.number, self._rows(watch, batch.data), seen_at)

    def _rows(self, watch: "_Watch", data: Dataset) -> Columns:
        """Read a batch with the column kinds of the reference, sorted by the columns of times and groups.

        Rows that are not of the sessions of the reference are left out.

        Raises:
            LimitReached: the ledger would have to store too much.
            See also `read_columns`, `sort_rows` and `fit_columns`.
        """
        reference, keys = watch.profile, watch.keys
        ignored = {*reference.ignored} - keys.names
        columns = read_columns(data, "batch.data", self._sources, ignored=ignored)
        keys = keys.within(columns)
        if isinstance(watch.closer.regime, ClosureSessions):
            columns = rows_in(columns, keys, watch.closer.regime, OF_REFERENCE)
        sort_rows(columns, keys)
        fitted = fit_columns(reference, without_keys(columns, keys), "batch.data")
        fitted |= {name: columns[name] for name in keys.names}
        if keys.group:  # As text, because batches of one window may hold text or integers.
            fitted[keys.group] = np.array([*map(str, columns[keys.group]), None], object)[:-1]
        _check_size(fitted)
        return fitted

    async def _close_windows(self, watch: "_Watch", context: Context) -> AsyncIterator[pb.ObserveResponse]:
        """Compare the closed windows one after the other; each report is stored before the next window is processed."""
        while (closed := await self._unit_of_work.analyse(watch.closer.prepare)) is not None:
            seen: list[ClosedWindow | None] = [closed]
            answer = await self._unit_of_work.run_prepared_as_system(
                actor_of(context), watch.closer.prepare, watch.close, at_first=seen
            )
            if answer is not None:
                yield answer


@dataclass(frozen=True)
class _Batch:
    """A batch with its rows, and when they were observed."""

    number: int
    columns: Columns
    seen_at: datetime


@dataclass(frozen=True)
class _Taken:
    """The prepared state change for some batches.

    Attributes:
        before: the number of the last batch that was accepted before.
        opened: the number of the window that was open before.
        parts: their rows as Arrow, each part with its window and when it was observed.
        closes_at: when the open window closes without further rows.
    """

    before: int
    opened: int
    place: ObserverState
    evidence: float
    parts: Sequence[tuple[int, datetime, bytes]] = ()
    closes_at: datetime | None = None

    @property
    def closes(self) -> bool:
        """Return whether it closes a window."""
        return self.place.window > self.opened

    def answer(self) -> pb.ObserveResponse:
        return _standing(self.place, self.evidence)


class _Watch:
    """One sender's live data: changes are prepared outside the write transaction, and then stored."""

    def __init__(self, closer: WindowCloser) -> None:
        self.closer, self.observer, self.profile, self.keys = closer, closer.observer, closer.profile, closer.keys

    def standing(self, session: Session) -> pb.ObserveResponse:
        """Return the sender's current state."""
        return self._shown(self.closer.state(session))

    def _shown(self, state: ObserverState) -> pb.ObserveResponse:
        return _standing(state, _detector(state, self.profile).evidence)

    def prepare(self, session: Session, batches: Sequence[_Batch]) -> _Taken:
        """Prepare the state change for batches that came one after the other."""
        place = self.closer.state(session)
        before, opened, detector = place.acknowledged, place.window, _detector(place, self.profile)
        parts: list[tuple[int, datetime, bytes]] = []
        closes_at = None
        for batch in batches:
            if live_monitoring.is_new(place, batch.number):
                parts += self._parts(place, detector, batch)
                place.acknowledged = batch.number
                times = batch.columns.get(self.keys.time)
                last = batch.seen_at if times is None else place.latest or batch.seen_at
                closes_at = place.closes_at(self.observer, last, datetime.now(UTC))
        place.detector = sequential_detector.to_bytes(detector)
        return _Taken(before, opened, place, detector.evidence, parts, closes_at)

    def _parts(
        self, place: ObserverState, detector: sequential_detector.Detector, batch: _Batch
    ) -> list[tuple[int, datetime, bytes]]:
        """Divide the rows of a batch among windows, and show the rows to the detector."""
        columns, times = batch.columns, batch.columns.get(self.keys.time)
        slices = list(place.parts(self.observer, len(next(iter(columns.values()))), batch.seen_at, times))
        if slices:
            taken = np.concatenate([np.arange(part.start, part.stop) for _, part in slices])
            ranks = normalized_ranks(self.profile.features, select_rows(columns, taken))
            detector.update(ranks, zlib.crc32(f"{self.observer.sender} {batch.number}".encode()))
        return [(window, batch.seen_at, _packed(columns, part)) for window, part in slices]

    def take(self, session: Session, actor: ActorContext, taken: _Taken) -> _Taken:
        """Store batches.

        Raises:
            Outdated: other batches of the sender were stored, or its window was closed, meanwhile.
            ConcurrentChange: the reference was replaced since the call began.
        """
        self.closer.check_reference(session)
        row = live_monitoring.open_observer(session, self.observer)
        if (row.acknowledged, row.window) != (taken.before, taken.opened):
            raise Outdated
        if taken.place.acknowledged == taken.before:
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


def _standing(state: ObserverState, evidence: float) -> pb.ObserveResponse:
    return pb.ObserveResponse(acknowledged=state.acknowledged, sequential_evidence=evidence, late_rows=state.late_rows)


def _check_size(columns: Columns) -> None:
    if bytes_of(columns) > MAX_BATCH_BYTES:
        fix = f"decodes to more than {MAX_BATCH_BYTES // MIB} MiB, which the ledger would store; send smaller batches"
        raise LimitReached(f"batch.data: {fix}", limit="observed_batch", field="batch.data")


async def _batches(parts: AsyncIterator[pb.ObserveRequest]) -> AsyncIterator[pb.ObserveBatch]:
    async for part in parts:
        if part.HasField("header"):
            raise InvalidField(FieldViolation("header", "was sent twice; send it once, and then the batches"))
        yield part.batch


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
    )


def _detector(place: ObserverState, profile: Profile) -> sequential_detector.Detector:
    """Return a sender's detector; it starts again when the reference was replaced."""
    reference = reference_cells(profile)
    if place.detector and (known := sequential_detector.from_bytes(place.detector)).grew_from(reference):
        return known
    return sequential_detector.Detector(reference)


def _packed(columns: Columns, rows: slice) -> bytes:
    return b"".join(to_arrow(select_rows(columns, rows)))
