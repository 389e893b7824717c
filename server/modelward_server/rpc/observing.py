"""The call that takes live data: batches in, acknowledgements and reports of windows out."""

import zlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pyarrow as pa
from sqlalchemy.orm import Session

from modelward._convert.common import ref_from_proto, span_from_proto
from modelward._convert.drift import report_to_proto
from modelward.data import Columns, to_arrow
from modelward.drift import DEFAULT_REFERENCE, DriftPolicy, DriftReport, Reference
from modelward.errors import FieldViolation, InvalidField, LimitReached
from modelward.v1 import drift_pb2 as pb
from modelward.v1.drift_pb2_grpc import DriftServiceServicer
from modelward_server.caller import Caller
from modelward_server.drift import observing, policies, references, reports, sequential
from modelward_server.drift.joint import places, reference_cells
from modelward_server.drift.live import check_columns
from modelward_server.drift.observing import Observer, Window
from modelward_server.drift.profile import Profile
from modelward_server.rpc.calls import Calls, Context
from modelward_server.rpc.datasets import arrow_batches, arrow_columns, read_columns, reading_executor
from modelward_server.rpc.requests import optional_time
from modelward_server.store.artifacts import BlobStore
from modelward_server.store.sources import Sources
from modelward_server.store.table_memory import MIB, bytes_of

MAX_BATCH_BYTES = 64 * MIB
"""Rows of one batch, unpacked: the ledger keeps them until their window is compared."""


class ObservingCalls(DriftServiceServicer):
    """What live data come to."""

    _calls: Calls
    _blobs: BlobStore
    _sources: Sources

    async def Observe(
        self, request_iterator: AsyncIterator[pb.ObserveRequest], context: Context
    ) -> AsyncIterator[pb.ObserveResponse]:
        observer, profile = await self._observer(await _header(request_iterator), context)
        async for answer in self._close_windows(observer, profile, context):
            yield answer  # Of windows that closed before a server died.
        yield await self._calls.write(pb.ObserveRequest(), context, partial(_state, observer=observer))
        async for part in request_iterator:
            if part.HasField("header"):
                raise InvalidField(FieldViolation("header", "came twice; send it once, and then the batches"))
            taken = await self._take(observer, profile, part.batch, context)
            answers = [answer async for answer in self._close_windows(observer, profile, context)]
            for answer in answers or [pb.ObserveResponse()]:
                answer.acknowledged = taken.acknowledged
                answer.sequential_evidence = taken.sequential_evidence
                yield answer

    async def _observer(self, header: pb.ObserveHeader, context: Context) -> tuple[Observer, Profile]:
        observer = observing.checked(_observer_of(header))
        reference = await self._calls.read(
            lambda session: references.get_reference(session, observer.version, observer.reference)
        )
        return observer, await self._calls.executors.compute.run(references.load_profile, self._blobs, reference.digest)

    async def _take(
        self, observer: Observer, profile: Profile, batch: pb.ObserveBatch, context: Context
    ) -> pb.ObserveResponse:
        columns = await reading_executor(self._calls.executors, batch.data).run(
            read_columns, batch.data, "batch.data", self._sources
        )
        check_columns(profile.features, columns, "batch.data")
        _check_size(columns)
        seen_at = optional_time(batch, "seen_at") or datetime.now(UTC)

        def take(session: Session, caller: Caller) -> pb.ObserveResponse:
            row = observing.open_observer(session, observer)
            if observing.is_new(row, batch.number):
                for window, part in list(observing.parts(row, observer, len(next(iter(columns.values()))), seen_at)):
                    observing.keep_rows(session, row, window, seen_at, _packed(columns, part))
                row.acknowledged = batch.number
                row.detector = _watched(row.detector, profile, columns, f"{observer.sender} {batch.number}")
            return _state(session, caller, observer)

        return await self._calls.write(batch, context, take)

    async def _close_windows(
        self, observer: Observer, profile: Profile, context: Context
    ) -> AsyncIterator[pb.ObserveResponse]:
        while window := await self._calls.read(lambda session: observing.closed_window(session, observer)):
            report = await self._report(observer, profile, window)
            close = partial(_closed, observer=observer, window=window, report=report)
            answer = await self._calls.write(pb.ObserveRequest(), context, close)
            if answer.HasField("report"):
                yield answer

    async def _report(self, observer: Observer, profile: Profile, window: Window) -> DriftReport:
        def gather(session: Session) -> tuple[list[bytes], Reference, DriftPolicy]:
            return (
                observing.tables_of(session, observer, window),
                references.get_reference(session, observer.version, observer.reference),
                policies.get_drift_policy(session, observer.version.model),
            )

        tables, reference, policy = await self._calls.read(gather)
        end = "%H:%M" if window.first.date() == window.last.date() else "%Y-%m-%d %H:%M"
        label = f"{observer.sender}, {window.first:%Y-%m-%d %H:%M} to {window.last:{end}}"
        taken = reports.from_batches(_unpacked(tables))
        make = partial(reports.make_report, reference, profile, taken, "batch.data", policy.thresholds)
        return await self._calls.executors.compute.run(make, label[:256])


def _check_size(columns: Columns) -> None:
    if bytes_of(columns) > MAX_BATCH_BYTES:
        fix = f"unpacks to more than {MAX_BATCH_BYTES // MIB} MiB, which the ledger would keep; send smaller batches"
        raise LimitReached(f"batch.data: {fix}", limit="observed_batch", field="batch.data")


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
    )


def _state(session: Session, caller: Caller, observer: Observer) -> pb.ObserveResponse:
    row = observing.open_observer(session, observer)
    evidence = sequential.from_bytes(row.detector).evidence if row.detector else 0.0
    return pb.ObserveResponse(acknowledged=row.acknowledged, sequential_evidence=evidence)


def _closed(
    session: Session, caller: Caller, observer: Observer, window: Window, report: DriftReport
) -> pb.ObserveResponse:
    answer = _state(session, caller, observer)
    if closed := observing.close_window(session, observer, window, report, caller):
        answer.report.CopyFrom(report_to_proto(closed[0]))
        answer.alarm = closed[1]
    return answer


def _watched(state: bytes, profile: Profile, columns: Columns, batch: str) -> bytes:
    detector = sequential.from_bytes(state) if state else sequential.Detector(reference_cells(profile))
    detector.watch(places(profile.features, columns), zlib.crc32(batch.encode()))
    return sequential.to_bytes(detector)


def _packed(columns: Columns, rows: slice) -> bytes:
    return b"".join(to_arrow({name: values[rows] for name, values in columns.items()}))


def _unpacked(tables: list[bytes]) -> Iterator[Columns]:
    for table in tables:
        for batch in arrow_batches(pa.BufferReader(table), "batch.data"):
            yield arrow_columns(batch, "batch.data")
