"""The servicer of the scoring service: convert, call, convert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField, NotServed
from modelward.v1 import scoring_pb2 as pb
from modelward.v1.scoring_pb2_grpc import ScoringServiceServicer
from modelward_server.rpc.datasets import join_batches, typed_columns
from modelward_server.rpc.idempotency import Context
from modelward_server.rpc.scored_rows import ScoredRows, check_numeric, check_observable
from modelward_server.rpc.scoring_answers import scores_to_proto
from modelward_server.rpc.scoring_records import ScoringRecords
from modelward_server.rpc.version_choice import VersionChoice
from modelward_server.runtime.executors import Executors
from modelward_server.sandbox.sandbox import Run
from modelward_server.sandbox.warm_model import LoadedModel
from modelward_server.scoring.pool import ModelPool
from modelward_server.scoring.row_failures import RowFailures
from modelward_server.scoring.selection import ChosenVersions
from modelward_server.storage.arrow_tables import arrow_columns, read_arrow

SMALL_BYTES = 64 << 10
"""Size up to which a table is decoded on the event loop: a thread would take longer."""


@dataclass(frozen=True)
class Scoring:
    """What a server scores with: the loaded models, the choice of versions, and what is recorded."""

    pool: ModelPool
    choice: VersionChoice
    records: ScoringRecords


class ScoringServicer(ScoringServiceServicer):
    """Serves `modelward.v1.ScoringService`.

    Args:
        scoring: what it scores with; None if this server offers no scoring.
    """

    def __init__(self, executors: Executors, scoring: Scoring | None) -> None:
        self._executors = executors
        self._scoring = scoring

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:
        scoring = self._offered()
        chosen = await scoring.choice.choose(request.model, request.options)
        columns = await self._columns(request)
        table = _Table(columns, request.ids, request.options, context)
        scores = await _scores(scoring, chosen, table)
        return pb.ScoreResponse(scores=scores, sequence=chosen.sequence)

    async def ScoreStream(
        self, request_iterator: AsyncIterator[pb.ScoreStreamRequest], context: Context
    ) -> AsyncIterator[pb.ScoreStreamResponse]:
        scoring = self._offered()
        start = await anext(request_iterator, None)
        if start is None or not start.HasField("start"):
            raise InvalidField(FieldViolation("start", "is missing; send it first, and then the tables"))
        options = start.start.options
        chosen = await scoring.choice.choose(start.start.model, options)
        async for part in request_iterator:
            if part.HasField("start"):
                raise InvalidField(FieldViolation("start", "is sent twice; begin another stream for other versions"))
            if not options.HasField("as_of"):
                await scoring.choice.check_not_halted(start.start.model)
            table = _Table(await self._decoded(part.arrow_ipc), part.ids, options, context)
            scores = await _scores(scoring, chosen, table)
            yield pb.ScoreStreamResponse(scores=scores, sequence=chosen.sequence)

    def _offered(self) -> Scoring:
        if self._scoring is None:
            fix = "start one with `modelward serve --scoring-processes N`"
            raise NotServed(f"this server does not score; {fix}", method="Score")
        return self._scoring

    async def _columns(self, request: pb.ScoreRequest) -> Columns:
        form = request.WhichOneof("rows")
        if form == "matrix":
            return _from_matrix(request.matrix)
        if form == "arrow_ipc":
            return await self._decoded(request.arrow_ipc)
        return typed_columns(request.columns, "columns")

    async def _decoded(self, stream: bytes) -> Columns:
        if len(stream) <= SMALL_BYTES:
            return _from_arrow(stream)
        return await self._executors.compute.run(_from_arrow, stream)


def _from_matrix(matrix: pb.DoubleMatrix) -> Columns:
    names = matrix.names
    if len(matrix.values) % (8 * len(names)):
        fix = f"has {len(matrix.values)} bytes; send 8 for each of {len(names)} values in each row"
        raise InvalidField(FieldViolation("matrix.values", fix))
    values = np.frombuffer(matrix.values, "<f8").reshape(-1, len(names))
    return {name: values[:, i] for i, name in enumerate(names)}


def _from_arrow(stream: bytes) -> Columns:
    batches = read_arrow(pa.BufferReader(stream), "arrow_ipc")
    return join_batches((arrow_columns(batch, "arrow_ipc") for batch in batches), "arrow_ipc")


@dataclass(frozen=True)
class _Table:
    """A table to predict, and what is wanted."""

    columns: Columns
    ids: Sequence[str]
    options: pb.ScoringOptions
    context: Context

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values())))


async def _scores(scoring: Scoring, chosen: ChosenVersions, table: _Table) -> Sequence[pb.VersionScores]:
    """Let each version predict the rows, at the same time."""
    check_observable(chosen, table.options, table.ids, table.rows)
    first, *others = (_score(scoring, model, table) for model in chosen.models)
    scores = await asyncio.gather(first, *others) if others else [await first]  # One needs no task of its own.
    for one in scores:
        one.variant, one.in_test = chosen.variant, chosen.in_test
    scoring.records.expose(chosen)
    return scores


async def _score(scoring: Scoring, model: LoadedModel, table: _Table) -> pb.VersionScores:
    run, failed, seconds = await _predict(scoring.pool, model, table)
    options = table.options
    if options.observe:
        check_numeric(run)
    answer = scores_to_proto(model.version, run, failed, seconds, options.top_k)
    if options.observe:
        at = datetime.now(UTC)
        scoring.records.observe(ScoredRows(model.version.ref, table.columns, table.ids, run, at))
    return answer


async def _predict(pool: ModelPool, model: LoadedModel, table: _Table) -> tuple[Run, Mapping[int, str], float]:
    """Return the predictions, why which rows failed, and the seconds that the model took."""

    async def predict(rows: Columns) -> tuple[Run, float]:
        return await pool.predict(model, rows, "rows", table.context.time_remaining())

    if not table.options.row_errors:
        run, seconds = await predict(table.columns)
        return run, {}, seconds
    failures = RowFailures(predict)
    run, failed = await failures.run(table.columns)
    return run, failed, failures.seconds
