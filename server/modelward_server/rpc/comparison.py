"""The comparison service's calls: convert, call, convert."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from modelward.comparison import ComparisonProgress
from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import without_times
from modelward.lifecycle import ModelVersion, VersionRef
from modelward.shared.convert.benchmark import benchmark_to_proto
from modelward.shared.convert.common import ref_from_proto, span_from_proto
from modelward.shared.convert.comparison import comparison_to_proto, metric_from_proto, progress_to_proto
from modelward.v1 import comparison_pb2 as pb
from modelward_server.actor_context import Caller
from modelward_server.comparison.benchmark import Asked, Benchmark
from modelward_server.comparison.cluster import run_on_cluster
from modelward_server.comparison.compare import Answer, Comparing, Question
from modelward_server.comparison.repository import get_comparison, list_comparisons, save_comparison
from modelward_server.drift.references import reference_columns
from modelward_server.lifecycle.models import get_model
from modelward_server.lifecycle.versions import get_version
from modelward_server.rpc.abtest import AbTestCalls
from modelward_server.rpc.datasets import arrow_columns, is_parquet, parquet_pieces, read_columns, reading_executor
from modelward_server.rpc.heartbeats import with_heartbeats
from modelward_server.rpc.report_servicer import AbTestRendering, ComparisonRendering
from modelward_server.rpc.unit_of_work import Calls, Context
from modelward_server.runtime.admission import Admission
from modelward_server.sandbox.sandbox import Limits, Run
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.sources import Sources

MAX_COMPARISONS = 32
"""Comparisons and benchmarks that may be under way or wait for a turn; each holds its tables in memory."""
DEFAULT_LABEL = "label"
DEFAULT_CONFIDENCE = 0.95
DEFAULT_BATCHES = (1, 1000)
DEFAULT_SECONDS = 2.0
DEFAULT_PERIODS = 252.0
"""Trading days of a year."""


class ComparisonServicer(AbTestCalls, ComparisonRendering, AbTestRendering):
    """Serves `modelward.v1.ComparisonService`."""

    def __init__(self, calls: Calls, blobs: BlobStore, sources: Sources, limits: Limits, scheduler: str = "") -> None:
        self._scheduler = scheduler
        self._calls = calls
        self._blobs = blobs
        self._sources = sources
        self._limits = limits
        # Half of the cores, so that models neither slow down each other's clocks nor starve the server.
        self._turn = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))
        self._admission = Admission("comparisons and benchmarks", "comparisons", MAX_COMPARISONS)

    async def CompareModels(
        self, request: pb.CompareModelsRequest, context: Context
    ) -> AsyncIterator[pb.CompareModelsResponse]:
        begun = pb.CompareModelsResponse(progress=progress_to_proto(ComparisonProgress(0.0, "began")))
        async for answer in with_heartbeats(self._compared(request, context), begun):
            yield answer

    async def _compared(
        self, request: pb.CompareModelsRequest, context: Context
    ) -> AsyncGenerator[pb.CompareModelsResponse, None]:
        known = await self._calls.remembered(request)
        if known is not None:
            yield known
            return
        with self._admission.one_more():
            comparing = await self._comparing(request)
            async for step in comparing.progress():
                yield pb.CompareModelsResponse(progress=progress_to_proto(step))

        def save(session: Session, caller: Caller) -> pb.CompareModelsResponse:
            found = save_comparison(session, comparing.answer, caller)
            return pb.CompareModelsResponse(comparison=comparison_to_proto(found))

        yield await self._calls.write(request, context, save)

    async def answer(self, request: pb.CompareModelsRequest) -> Answer:
        """Compare for the server itself, which writes down what was found.

        Raises:
            as `CompareModels`.
        """
        comparing = await self._comparing(request)
        async for _ in comparing.progress():
            pass
        return comparing.answer

    async def _comparing(self, request: pb.CompareModelsRequest) -> Comparing:
        question = question_of(request)
        question.check()
        versions, trials, names = await self._calls.read(lambda session: _versions(session, question.versions))
        run, kept = None, None
        if self._scheduler and is_parquet(request.data) and not request.predictions:
            kept = {question.label, question.returns, question.id} - {""}
            run = await self._calls.executors.remote.run(self._on_cluster, request.data.uri, sorted(kept), names)
        columns = await self._read(request, kept)
        predictions = await self._calls.executors.remote.run(self._predictions, request)
        files = self._blobs.verified
        return Comparing(
            question, versions, columns, self._limits, files, self._turn, predictions, trials, run, names=names
        )

    async def _read(
        self, request: pb.CompareModelsRequest | pb.BenchmarkModelsRequest, only: Collection[str] | None = None
    ) -> Columns:
        executor = reading_executor(self._calls.executors, request.data)
        return await executor.run(read_columns, request.data, "data", self._sources, only)

    def _on_cluster(
        self, uri: str, others: list[str], names: Mapping[VersionRef, Sequence[str]]
    ) -> Callable[[ModelVersion, Path], Awaitable[Run]]:
        """Return what runs a version over a Parquet dataset on the cluster."""
        pieces = parquet_pieces(uri, "data.uri", self._sources)
        read = partial(arrow_columns, field="data.uri")

        def run(version: ModelVersion, model: Path) -> Awaitable[Run]:
            own = names.get(version.ref, ())
            return run_on_cluster(self._scheduler, pieces, read, others, version, model, self._limits, own)

        return run

    def _predictions(self, request: pb.CompareModelsRequest) -> dict[VersionRef, Columns]:
        named = {ref_from_proto(version) for version in request.versions}
        found: dict[VersionRef, Columns] = {}
        for number, sent in enumerate(request.predictions):
            version, field = ref_from_proto(sent.version), f"predictions[{number}]"
            if version not in named:
                fix = f"{version} is not compared; name it in versions"
                raise InvalidField(FieldViolation(f"{field}.version", fix))
            found[version] = read_columns(sent.data, f"{field}.data", self._sources)
        return found

    async def BenchmarkModels(self, request: pb.BenchmarkModelsRequest, context: Context) -> pb.BenchmarkModelsResponse:
        with self._admission.one_more():
            return await self._benchmark(request)

    async def _benchmark(self, request: pb.BenchmarkModelsRequest) -> pb.BenchmarkModelsResponse:
        refs = tuple(map(ref_from_proto, request.versions))
        versions, _, names = await self._calls.read(lambda session: _versions(session, refs))
        columns = without_times(await self._read(request))
        if not columns:
            raise InvalidField(FieldViolation("data", "has no column of features, only times; send those too"))
        asked = Asked(
            batch_rows=tuple(request.batch_rows) or DEFAULT_BATCHES,
            seconds=span_from_proto(request.duration).total_seconds() or DEFAULT_SECONDS,
            level=request.confidence_level or DEFAULT_CONFIDENCE,
        )
        async with self._turn:
            found = await Benchmark(asked, versions, columns, self._limits, self._blobs.verified, names).run()
        return pb.BenchmarkModelsResponse(benchmarks=map(benchmark_to_proto, found))

    async def GetComparison(self, request: pb.GetComparisonRequest, context: Context) -> pb.GetComparisonResponse:
        found = await self._calls.read(lambda session: get_comparison(session, request.comparison_id))
        return pb.GetComparisonResponse(comparison=comparison_to_proto(found))

    async def ListComparisons(self, request: pb.ListComparisonsRequest, context: Context) -> pb.ListComparisonsResponse:
        page = await self._calls.read(
            lambda session: list_comparisons(session, request.model, request.page_size, request.page_token)
        )
        return pb.ListComparisonsResponse(
            comparisons=map(comparison_to_proto, page.items), next_page_token=page.next_page_token
        )


def _versions(
    session: Session, refs: Sequence[VersionRef]
) -> tuple[list[ModelVersion], dict[str, int], dict[VersionRef, list[str]]]:
    """Return the versions, how many each of their models has, and the columns of their references."""
    trials = {name: get_model(session, name).latest_version for name in {ref.model for ref in refs}}
    names = {ref: found for ref in refs if (found := reference_columns(session, ref))}
    return [get_version(session, ref) for ref in refs], trials, names


def question_of(request: pb.CompareModelsRequest) -> Question:
    """Return what a request asks, with the defaults that the contract names."""
    metrics = (metric_from_proto(value) for value in request.metrics)
    return Question(
        versions=tuple(map(ref_from_proto, request.versions)),
        label=request.label or DEFAULT_LABEL,
        metrics=tuple(metric for metric in metrics if metric is not None),
        primary=metric_from_proto(request.primary_metric),
        baseline=ref_from_proto(request.baseline) if request.HasField("baseline") else None,
        margin=request.margin,
        confidence_level=request.confidence_level or DEFAULT_CONFIDENCE,
        block_rows=request.block_rows,
        seed=request.seed,
        id=request.id,
        returns=request.returns,
        cost_bps=request.cost_bps,
        periods_per_year=request.periods_per_year or DEFAULT_PERIODS,
    )
