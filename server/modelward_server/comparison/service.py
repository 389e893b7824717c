"""The comparison service: comparisons and benchmarks, for requests and for retraining."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from modelward.backtest import Overfitting
from modelward.comparison import ModelBenchmark
from modelward.data import Columns
from modelward.drift import DriftThresholds, Reference
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import without_times
from modelward.lifecycle import ModelVersion, VersionRef
from modelward_server.comparison.benchmark import Benchmark, BenchmarkOptions
from modelward_server.comparison.cluster import run_on_cluster
from modelward_server.comparison.compare import ComparisonRequest, ComparisonResult, RunningComparison
from modelward_server.comparison.leaks import LeakChecks
from modelward_server.comparison.replay import ReplayedTable
from modelward_server.drift.policies import get_drift_policy
from modelward_server.drift.references import default_reference, load_profile
from modelward_server.drift.row_order import RowKeys, keys_of, sort_rows
from modelward_server.drift.row_segments import check_segments, rows_of_sessions
from modelward_server.lifecycle.versions import get_version, number_of_trials
from modelward_server.runtime.admission import Admission
from modelward_server.sandbox.sandbox import Limits, Run
from modelward_server.storage.arrow_tables import arrow_columns
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.columns import select_rows
from modelward_server.storage.parquet import Piece, columns_of
from modelward_server.storage.unit_of_work import UnitOfWork

MAX_COMPARISONS, MAX_COMPARISONS_OF_CLIENT = 32, 16
"""Maximum number of comparisons and benchmarks that run or wait, and of those of one client.

Each holds its tables in memory.
"""


class Table(Protocol):
    """A table that was sent with a request or is stored elsewhere."""

    is_parquet: bool
    """Whether it consists of Parquet files that other machines can read."""

    async def read(self, only: Collection[str] | None = None) -> Columns:
        """Read the table; from Parquet files, `only` these columns."""
        ...

    async def pieces(self) -> list[Piece]:
        """Return the row groups of its Parquet files."""
        ...


class ComparisonService:
    """Compares and benchmarks versions.

    Args:
        unit_of_work: the transactions of the ledger.
        blobs: the blob store.
        limits: the limits of each model's process.
        scheduler: the address of the dask cluster that runs models over Parquet data; empty: this machine runs them.

    Attributes:
        admission: the limit on concurrent comparisons and benchmarks of clients.
    """

    def __init__(self, unit_of_work: UnitOfWork, blobs: BlobStore, limits: Limits, scheduler: str = "") -> None:
        self._unit_of_work = unit_of_work
        self._blobs = blobs
        self._limits = limits
        self._scheduler = scheduler
        # Half of the cores, so that models neither distort each other's latencies nor starve the server.
        self._turn = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))
        self.admission = Admission(
            "comparisons and benchmarks", "comparisons", MAX_COMPARISONS, MAX_COMPARISONS_OF_CLIENT
        )

    async def begin(
        self,
        request: ComparisonRequest,
        data: Table,
        predictions: Mapping[VersionRef, Table],
        overfitting: Overfitting | None = None,
    ) -> RunningComparison:
        """Read the inputs of a comparison, and return the comparison, which runs while its progress is iterated over.

        Args:
            request: the request of the comparison.
            data: the test data.
            predictions: the predictions of versions that were run elsewhere, each a table with the column of ids.
            overfitting: what the trials that the request tells of say.

        Raises:
            InvalidField: the baseline is not among the compared versions, or a table cannot be read.
            ModelNotFound, VersionNotFound: the named object does not exist.
            NothingToReplay: the test set is a replay, and no row has a label.
        """
        request.check()
        known, thresholds = await self._unit_of_work.read(
            lambda session: (_known(session, request.versions), _thresholds(session, request.versions))
        )
        keys = _keys(request, known.references)
        leaks = LeakChecks(known.references, thresholds, partial(load_profile, self._blobs))
        run, only, pieces = None, None, list[Piece]()
        if self._scheduler and data.is_parquet and not predictions:
            pieces = await data.pieces()
            keys = keys.if_present(columns_of(pieces))
            only = {*request.columns, *keys.names}
        if request.segments is not None:
            await asyncio.to_thread(check_segments, request.segments)
        columns = await data.read(only)
        keys = keys.if_present(columns)
        replay = data if isinstance(data, ReplayedTable) else None
        if replay:
            columns = await asyncio.to_thread(replay.distinct, columns, keys)
        order = await asyncio.to_thread(sort_rows, columns, keys)
        if request.sessions is not None:
            rows = await asyncio.to_thread(rows_of_sessions, columns, keys, request.sessions, "evaluation_window")
            columns, order = select_rows(columns, rows), rows if order is None else order[rows]
        if only is not None:
            run = self._cluster_run(pieces, sorted(only), known.names, order)
        sent = {version: await table.read() for version, table in predictions.items()}
        files = self._blobs.verified
        return RunningComparison(
            request,
            known.versions,
            columns,
            self._limits,
            files,
            self._turn,
            sent,
            known.trials,
            run,
            known.names,
            keys,
            overfitting,
            leaks,
            replay.rows if replay else None,
        )

    async def compare(self, request: ComparisonRequest, data: Table) -> ComparisonResult:
        """Run a comparison without reporting progress.

        Raises:
            as `begin` and `RunningComparison.progress`.
        """
        running = await self.begin(request, data, {})
        async for _ in running.progress():
            pass
        return running.answer

    async def benchmark(
        self, options: BenchmarkOptions, refs: Sequence[VersionRef], data: Table
    ) -> list[ModelBenchmark]:
        """Measure the latency and memory of versions on a table of features.

        Raises:
            InvalidField: the table cannot be read or has no feature.
            ModelNotFound, VersionNotFound: the named object does not exist.
        """
        known = await self._unit_of_work.read(lambda session: _known(session, refs))
        columns = without_times(await data.read())
        if not columns:
            raise InvalidField(FieldViolation("data", "has no column of features, only times; send those too"))
        async with self._turn:
            return await Benchmark(
                options, known.versions, columns, self._limits, self._blobs.verified, known.names
            ).run()

    def _cluster_run(
        self,
        pieces: list[Piece],
        others: list[str],
        names: Mapping[VersionRef, Sequence[str]],
        order: NDArray[np.int64] | None,
    ) -> Callable[[ModelVersion, Path], Awaitable[Run]]:
        """Return a function that runs a version over Parquet data on the cluster, and sorts its predictions."""
        read = partial(arrow_columns, field="data.uri")

        async def run(version: ModelVersion, model: Path) -> Run:
            own = names.get(version.ref, ())
            answer = await run_on_cluster(self._scheduler, pieces, read, others, version, model, self._limits, own)
            return answer if order is None else answer.in_order(order)

        return run


@dataclass(frozen=True)
class _Known:
    """What the ledger has of the compared versions.

    Attributes:
        trials: the number of trials of each of their models.
        references: the default reference of each version that has one.
    """

    versions: Sequence[ModelVersion]
    trials: Mapping[str, int]
    references: Mapping[VersionRef, Reference]

    @property
    def names(self) -> dict[VersionRef, list[str]]:
        """Return the columns of the references, in their order."""
        return {ref: [feature.name for feature in one.features] for ref, one in self.references.items()}


def _known(session: Session, refs: Sequence[VersionRef]) -> _Known:
    trials = {name: number_of_trials(session, name) for name in {ref.model for ref in refs}}
    references = {ref: found for ref in refs if (found := default_reference(session, ref))}
    return _Known([get_version(session, ref) for ref in refs], trials, references)


def _thresholds(session: Session, refs: Sequence[VersionRef]) -> dict[str, DriftThresholds]:
    """Return the drift thresholds of the models of the versions."""
    return {model: get_drift_policy(session, model).thresholds for model in {ref.model for ref in refs}}


def _keys(request: ComparisonRequest, references: Mapping[VersionRef, Reference]) -> RowKeys:
    """Return the columns of times and groups: those of the request, or those on which all references agree."""
    windows = [references[ref].window if ref in references else None for ref in request.versions]
    agree = len({(one.time_column, one.group_column) if one else None for one in windows}) == 1
    return keys_of(request.time, request.group, windows[0] if agree else None)
