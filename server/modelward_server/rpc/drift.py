"""The servicer of the drift service: convert, call, convert."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from modelward.data import Columns
from modelward.drift import DriftReport, DriftThresholds, Reference
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import VersionRef
from modelward.segments import Regime, Segments
from modelward.shared.convert.common import ref_from_proto
from modelward.shared.convert.drift import (
    drift_policy_from_proto,
    drift_policy_to_proto,
    reference_to_proto,
    report_to_proto,
    thresholds_from_proto,
)
from modelward.shared.convert.segments import regime_from_proto, segments_from_proto
from modelward.v1 import drift_pb2 as pb
from modelward.v1.common_pb2 import Dataset
from modelward_server.drift import policies, references, reports
from modelward_server.drift.cluster import count_on_cluster
from modelward_server.drift.profile import Profile
from modelward_server.drift.reports import SampleReader
from modelward_server.drift.row_order import RowKeys, keys_of
from modelward_server.drift.row_segments import RowSegment, check_segments
from modelward_server.drift.sample import LiveSample
from modelward_server.drift.window_closing import WindowClosers
from modelward_server.rpc.arrow_stream import Spool, spooled
from modelward_server.rpc.datasets import (
    is_parquet,
    join_batches,
    parquet_pieces,
    read_batches,
    reading_executor,
)
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.rpc.live_monitoring import LiveMonitoringServicer
from modelward_server.rpc.outcomes import OutcomeServicer
from modelward_server.rpc.report_servicer import DriftRendering
from modelward_server.rpc.requests import optional_time
from modelward_server.rpc.upload_streams import Uploads
from modelward_server.runtime.tracing import span
from modelward_server.storage.arrow_tables import PresentColumns, arrow_columns
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.sources import Sources

Batches = Iterator[Columns]


@dataclass(frozen=True)
class _Rows:
    """How live rows are sorted, chosen and divided."""

    keys: RowKeys
    segments: Segments | None
    regime: Regime | None

    def reader(self, batches: Batches) -> SampleReader:
        return reports.from_batches(batches, self.keys, self.segments, self.regime)


class DriftServicer(LiveMonitoringServicer, OutcomeServicer, DriftRendering):
    """Serves `modelward.v1.DriftService`."""

    def __init__(
        self,
        unit_of_work: RequestUnitOfWork,
        blobs: BlobStore,
        sources: Sources,
        uploads: Uploads,
        spool_dir: Path,
        closers: WindowClosers,
        scheduler: str = "",
    ) -> None:
        self._scheduler = scheduler
        self._uploads = uploads
        self._spool_dir = spool_dir
        self._unit_of_work = unit_of_work
        self._executors = unit_of_work.executors
        self._blobs = blobs
        self._closers = closers
        self._sources = sources

    async def SetReference(
        self, request_iterator: AsyncIterator[pb.SetReferenceRequest], context: Context
    ) -> pb.SetReferenceResponse:
        async with self._uploads.admit(request_iterator, context) as parts:
            header = await _header(parts)
            keys = keys_of(header.time_column, header.group_column)
            ignored = PresentColumns({*header.ignored_columns} - keys.names - {header.segment_column})
            regime = regime_from_proto(header.regime) if header.HasField("regime") else None
            division = regime, header.segment_column
            if header.HasField("data"):
                batches = read_batches(header.data, "header.data", self._sources, ignored=ignored)
                work = partial(self._store_profile, "header.data", ignored, keys, division, batches)
            else:
                store = partial(self._store_profile, "arrow_ipc", ignored, keys, division)
                work = partial((await self._spooled(parts)).read, "arrow_ipc", store, ignored)
        profile = await reading_executor(self._executors, header.data).run(work)
        ref, name = ref_from_proto(header.version), header.name
        header.data.uri = profile.digest  # Included in the request's digest, whatever the source of the data.
        return await self._unit_of_work.run_idempotent(
            header,
            context,
            lambda session, actor: pb.SetReferenceResponse(
                reference=reference_to_proto(references.set_reference(session, ref, name, profile, actor))
            ),
        )

    def _store_profile(
        self,
        field: str,
        ignored: Collection[str],
        keys: RowKeys,
        division: tuple[Regime | None, str],
        batches: Batches,
    ) -> references.StoredProfile:
        columns = join_batches(batches, field)
        return references.store_profile(self._blobs, columns, field, ignored, keys, *division)

    async def _spooled(self, parts: AsyncIterator[Any]) -> Spool:
        return await spooled(_chunks(parts), self._executors, self._spool_dir)

    async def GetReference(self, request: pb.GetReferenceRequest, context: Context) -> pb.GetReferenceResponse:
        ref = ref_from_proto(request.version)
        reference = await self._unit_of_work.read(lambda session: references.get_reference(session, ref, request.name))
        return pb.GetReferenceResponse(reference=reference_to_proto(reference))

    async def DetectDrift(self, request: pb.DetectDriftRequest, context: Context) -> pb.DetectDriftResponse:
        make, ignored, rows = await self._reporter(request, "data")
        with span("detect drift"):
            take = self._reader(request.data, ignored, rows)
            report = await reading_executor(self._executors, request.data).run(make, take)
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.DetectDriftResponse(
                report=report_to_proto(reports.keep_report(session, report, actor))
            ),
        )

    async def DetectDriftStream(
        self, request_iterator: AsyncIterator[pb.DetectDriftStreamRequest], context: Context
    ) -> pb.DetectDriftStreamResponse:
        async with self._uploads.admit(request_iterator, context) as parts:
            header = await _header(parts)
            make, ignored, rows = await self._reporter(header, "arrow_ipc")
            spool = await self._spooled(parts)
        with span("detect drift"):
            report = await self._executors.compute.run(
                spool.read, "arrow_ipc", lambda batches: make(rows.reader(batches)), ignored
            )
        return await self._unit_of_work.run_idempotent(
            _whole_request(header, spool.sha256),
            context,
            lambda session, actor: pb.DetectDriftStreamResponse(
                report=report_to_proto(reports.keep_report(session, report, actor))
            ),
        )

    async def _reporter(
        self, request: pb.DetectDriftRequest | pb.DetectDriftHeader, field: str
    ) -> tuple[Callable[[SampleReader], DriftReport], frozenset[str], "_Rows"]:
        """Return a function that makes the requested report from the data, the ignored columns, and how to read."""
        ref = ref_from_proto(request.version)
        reference, others = await self._unit_of_work.read(lambda session: _references(session, ref, request.reference))
        thresholds = await self._thresholds(request, reference)
        segments = segments_from_proto(request.segments)

        own = {(one.column, one.name): one.digest for one in reference.segments}

        def profile_of(segment: RowSegment) -> Profile | None:
            digest = own.get((segment.column, segment.name))
            return None if digest is None else references.load_profile(self._blobs, digest)

        def make(take: SampleReader) -> DriftReport:
            if segments is not None:
                check_segments(segments, reference)
            profile = references.load_profile(self._blobs, reference.digest)
            regimes = {other.name: references.load_profile(self._blobs, other.digest) for other in others}
            label = request.label
            return reports.make_report(reference, profile, take, field, thresholds, label, regimes, profile_of)

        keys = references.live_keys(reference, request.time_column, request.group_column)
        read = keys.names | {request.segments.column}
        ignored = {*reference.ignored_columns, *request.ignored_columns} - read
        return make, frozenset(ignored), _Rows(keys, segments, reference.regime)

    def _reader(self, data: Dataset, ignored: Collection[str], rows: "_Rows") -> SampleReader:
        """Return the function that reads live data: on this machine, or on the cluster if it can reach them.

        Rows with a time or with segments are read on this machine, which sorts and divides them.
        """
        if not self._scheduler or not is_parquet(data) or rows.keys.time or rows.segments is not None:
            return rows.reader(read_batches(data, "data", self._sources, ignored=ignored))
        return partial(self._count_on_cluster, data.uri, ignored)

    def _count_on_cluster(
        self, uri: str, ignored: Collection[str], profiles: Mapping[str, Profile], field: str
    ) -> LiveSample:
        pieces = parquet_pieces(uri, f"{field}.uri", self._sources, ignored)
        return count_on_cluster(self._scheduler, pieces, partial(arrow_columns, field=f"{field}.uri"), profiles, field)

    async def _thresholds(
        self, request: pb.DetectDriftRequest | pb.DetectDriftHeader, reference: Reference
    ) -> DriftThresholds:
        if request.HasField("thresholds"):
            return _known(thresholds_from_proto(request.thresholds), reference)
        model = request.version.model
        policy = await self._unit_of_work.read(lambda session: policies.get_drift_policy(session, model))
        return policy.thresholds

    async def GetDriftPolicy(self, request: pb.GetDriftPolicyRequest, context: Context) -> pb.GetDriftPolicyResponse:
        policy = await self._unit_of_work.read(lambda session: policies.get_drift_policy(session, request.model))
        return pb.GetDriftPolicyResponse(policy=drift_policy_to_proto(policy))

    async def SetDriftPolicy(self, request: pb.SetDriftPolicyRequest, context: Context) -> pb.SetDriftPolicyResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.SetDriftPolicyResponse(
                policy=drift_policy_to_proto(
                    policies.set_drift_policy(session, drift_policy_from_proto(request.policy), actor)
                )
            ),
        )

    async def GetDriftReport(self, request: pb.GetDriftReportRequest, context: Context) -> pb.GetDriftReportResponse:
        report = await self._unit_of_work.read(lambda session: reports.get_report(session, request.report_id))
        return pb.GetDriftReportResponse(report=report_to_proto(report))

    async def ListDriftReports(
        self, request: pb.ListDriftReportsRequest, context: Context
    ) -> pb.ListDriftReportsResponse:
        report_filter = reports.ReportFilter(
            request.model,
            request.version,
            request.drift_detected_only,
            optional_time(request, "created_after"),
            optional_time(request, "created_before"),
        )
        page = await self._unit_of_work.read(
            lambda session: reports.list_reports(session, report_filter, request.page_size, request.page_token)
        )
        return pb.ListDriftReportsResponse(
            reports=map(report_to_proto, page.items), next_page_token=page.next_page_token
        )


def _references(session: Session, ref: VersionRef, name: str) -> tuple[Reference, list[Reference]]:
    """Return the requested reference and, when none is named, the others, to determine the nearest one."""
    reference = references.get_reference(session, ref, name)
    return reference, [] if name else references.other_references(session, reference)


def _known(thresholds: DriftThresholds, reference: Reference) -> DriftThresholds:
    """Refuse thresholds for unknown features, which would have no effect."""
    names = [feature.name for feature in reference.features]
    unknown = [
        FieldViolation(
            f"thresholds.features[{name!r}]", f"is no feature of the reference, which has {', '.join(names)}"
        )
        for name in thresholds.features
        if name not in names
    ]
    if unknown:
        raise InvalidField(*unknown)
    return thresholds


def _whole_request(header: pb.DetectDriftHeader, digest: str) -> pb.DetectDriftRequest:
    """Return the request of a stream, with the digest of its data, so that the request id covers them."""
    return pb.DetectDriftRequest(
        version=header.version,
        reference=header.reference,
        thresholds=header.thresholds if header.HasField("thresholds") else None,
        label=header.label,
        ignored_columns=header.ignored_columns,
        time_column=header.time_column,
        group_column=header.group_column,
        segments=header.segments if header.HasField("segments") else None,
        request_id=header.request_id,
        data=Dataset(uri=digest),
    )


async def _header(parts: AsyncIterator[Any]) -> Any:
    """Return the header, which must be the first message.

    Raises:
        InvalidField: the first message is not a header, or there is none.
    """
    async for part in parts:
        if part.HasField("header"):
            return part.header
        break
    raise InvalidField(FieldViolation("header", "is missing; send it first"))


async def _chunks(parts: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async for part in parts:
        if part.HasField("header"):
            raise InvalidField(FieldViolation("header", "was sent twice; send it once, and then the data"))
        yield part.arrow_ipc
