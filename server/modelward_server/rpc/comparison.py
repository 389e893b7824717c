"""The comparison service's calls: convert, call, convert."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection

from sqlalchemy.orm import Session

from modelward.comparison import ComparisonProgress, CustomMetric
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import VersionRef
from modelward.shared.convert.benchmark import benchmark_to_proto
from modelward.shared.convert.common import ref_from_proto, span_from_proto
from modelward.shared.convert.comparison import (
    any_metric_from_proto,
    comparison_to_proto,
    metric_from_proto,
    progress_to_proto,
)
from modelward.shared.convert.segments import segments_from_proto
from modelward.v1 import comparison_pb2 as pb
from modelward.v1.common_pb2 import Dataset
from modelward_server.actor_context import ActorContext
from modelward_server.comparison.benchmark import BenchmarkOptions
from modelward_server.comparison.compare import (
    DEFAULT_CONFIDENCE,
    DEFAULT_LABEL,
    DEFAULT_PERIODS,
    DEFAULT_QUANTILE,
    ComparisonRequest,
)
from modelward_server.comparison.replay import ReplayedTable
from modelward_server.comparison.repository import get_comparison, list_comparisons, save_comparison
from modelward_server.comparison.service import ComparisonService, Table
from modelward_server.interceptors.client_id import client_of
from modelward_server.lifecycle.trial_task import TrialTask
from modelward_server.rpc.abtest import AbTestServicer
from modelward_server.rpc.backtest_trials import assessed_trials
from modelward_server.rpc.datasets import DatasetTable
from modelward_server.rpc.heartbeats import with_heartbeats
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.rpc.replay_requests import check_test_set, replay_terms
from modelward_server.rpc.report_servicer import AbTestRendering, ComparisonRendering
from modelward_server.rpc.requests import optional_time
from modelward_server.security.trusted_signers import TrustedSigners
from modelward_server.storage.arrow_tables import PresentColumns
from modelward_server.storage.sources import Sources

DEFAULT_BATCHES = (1, 1000)
DEFAULT_SECONDS = 2.0


class ComparisonServicer(AbTestServicer, ComparisonRendering, AbTestRendering):
    """Serves `modelward.v1.ComparisonService`."""

    def __init__(
        self,
        unit_of_work: RequestUnitOfWork,
        sources: Sources,
        service: ComparisonService,
        trials: TrialTask,
        signers: TrustedSigners,
        *,
        keeps_rows: bool,
    ) -> None:
        self._keeps_rows = keeps_rows
        self._signers = signers
        self._trials = trials
        self._unit_of_work = unit_of_work
        self._sources = sources
        self._service = service

    async def CompareModels(
        self, request: pb.CompareModelsRequest, context: Context
    ) -> AsyncIterator[pb.CompareModelsResponse]:
        begun = pb.CompareModelsResponse(progress=progress_to_proto(ComparisonProgress(0.0, "began")))
        async for answer in with_heartbeats(self._compared(request, context), begun):
            yield answer

    async def _compared(
        self, request: pb.CompareModelsRequest, context: Context
    ) -> AsyncGenerator[pb.CompareModelsResponse, None]:
        recorded = await self._unit_of_work.recorded_answer(request)
        if recorded is not None:
            yield recorded
            return
        with self._service.admission.admit(client_of(context)):
            data, predictions = self._test_set(request), self._predictions(request)
            overfitting = await assessed_trials(request, "trials", self._sources, self._unit_of_work.executors)
            comparing = await self._service.begin(question_of(request), data, predictions, overfitting)
            async for step in comparing.progress():
                yield pb.CompareModelsResponse(progress=progress_to_proto(step))

        def save(session: Session, actor: ActorContext) -> pb.CompareModelsResponse:
            found = save_comparison(session, comparing.answer, actor)
            return pb.CompareModelsResponse(comparison=comparison_to_proto(found))

        yield await self._unit_of_work.run_idempotent(request, context, save)

    def _test_set(self, request: pb.CompareModelsRequest) -> Table:
        keys = {request.time_column, request.group_column, request.segments.column}
        ignored = PresentColumns({*request.ignored_columns} - keys)
        check_test_set(request, keeps_rows=self._keeps_rows)
        if request.HasField("replay"):
            return ReplayedTable(self._unit_of_work, replay_terms(request, ignored))
        return self._table(request.data, "data", ignored)

    def _table(self, dataset: Dataset, field: str, ignored: Collection[str] = ()) -> DatasetTable:
        return DatasetTable(dataset, field, self._sources, self._unit_of_work.executors, ignored)

    def _predictions(self, request: pb.CompareModelsRequest) -> dict[VersionRef, Table]:
        compared = {ref_from_proto(version) for version in request.versions}
        tables: dict[VersionRef, Table] = {}
        for number, sent in enumerate(request.predictions):
            version, field = ref_from_proto(sent.version), f"predictions[{number}]"
            if version not in compared:
                fix = f"{version} is not compared; name it in versions"
                raise InvalidField(FieldViolation(f"{field}.version", fix))
            tables[version] = self._table(sent.data, f"{field}.data")
        return tables

    async def BenchmarkModels(self, request: pb.BenchmarkModelsRequest, context: Context) -> pb.BenchmarkModelsResponse:
        options = BenchmarkOptions(
            batch_rows=tuple(request.batch_rows) or DEFAULT_BATCHES,
            seconds=span_from_proto(request.duration).total_seconds() or DEFAULT_SECONDS,
            level=request.confidence_level or DEFAULT_CONFIDENCE,
        )
        refs = tuple(map(ref_from_proto, request.versions))
        with self._service.admission.admit(client_of(context)):
            features = self._table(request.data, "data", PresentColumns(request.ignored_columns))
            found = await self._service.benchmark(options, refs, features)
        return pb.BenchmarkModelsResponse(benchmarks=map(benchmark_to_proto, found))

    async def GetComparison(self, request: pb.GetComparisonRequest, context: Context) -> pb.GetComparisonResponse:
        found = await self._unit_of_work.read(lambda session: get_comparison(session, request.comparison_id))
        return pb.GetComparisonResponse(comparison=comparison_to_proto(found))

    async def ListComparisons(self, request: pb.ListComparisonsRequest, context: Context) -> pb.ListComparisonsResponse:
        before = optional_time(request, "created_before")
        page = await self._unit_of_work.read(
            lambda session: list_comparisons(session, request.model, request.page_size, request.page_token, before)
        )
        return pb.ListComparisonsResponse(
            comparisons=map(comparison_to_proto, page.items), next_page_token=page.next_page_token
        )


def question_of(request: pb.CompareModelsRequest) -> ComparisonRequest:
    """Return what a request asks, with the defaults that the contract names."""
    metrics = (metric_from_proto(value) for value in request.metrics)
    return ComparisonRequest(
        versions=tuple(map(ref_from_proto, request.versions)),
        label=request.label or DEFAULT_LABEL,
        metrics=(*(metric for metric in metrics if metric is not None), *map(CustomMetric, request.custom_metrics)),
        primary=any_metric_from_proto(request.primary_metric, request.custom_primary_metric),
        sample_weights=request.sample_weights,
        baseline=ref_from_proto(request.baseline) if request.HasField("baseline") else None,
        margin=request.margin,
        confidence_level=request.confidence_level or DEFAULT_CONFIDENCE,
        block_rows=request.block_rows,
        horizon=max(request.horizon, 1),
        seed=request.seed,
        id=request.id,
        time=request.time_column,
        group=request.group_column,
        segments=segments_from_proto(request.segments),
        returns=request.returns,
        cost_bps=request.cost_bps,
        periods_per_year=request.periods_per_year or DEFAULT_PERIODS,
        quantile=request.quantile or DEFAULT_QUANTILE,
        portfolio_weights=request.portfolio_weights,
        equal_risk_times=request.equal_risk_times,
    )
