"""The servicer of the scoring service: convert, call, convert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pyarrow as pa

from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import Stage
from modelward.shared.convert.common import stage_from_proto, time_from_proto
from modelward.v1 import scoring_pb2 as pb
from modelward.v1.scoring_pb2_grpc import ScoringServiceServicer
from modelward_server.lifecycle.resolve import Selector
from modelward_server.rpc.datasets import join_batches, typed_columns
from modelward_server.rpc.idempotency import Context
from modelward_server.rpc.scoring_answers import scores_to_proto
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


class ScoringServicer(ScoringServiceServicer):
    """Serves `modelward.v1.ScoringService`."""

    def __init__(self, choice: VersionChoice, executors: Executors) -> None:
        self._choice = choice
        self._executors = executors

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:
        pool = self._choice.offered("Score")
        chosen = await self._chosen(request.model, request.options)
        columns = await self._columns(request)
        scores = await _scores(pool, chosen, columns, request.options, context)
        return pb.ScoreResponse(scores=scores, sequence=chosen.sequence)

    async def ScoreStream(
        self, request_iterator: AsyncIterator[pb.ScoreStreamRequest], context: Context
    ) -> AsyncIterator[pb.ScoreStreamResponse]:
        pool = self._choice.offered("ScoreStream")
        start = await anext(request_iterator, None)
        if start is None or not start.HasField("start"):
            raise InvalidField(FieldViolation("start", "is missing; send it first, and then the tables"))
        options = start.start.options
        chosen = await self._chosen(start.start.model, options)
        async for part in request_iterator:
            if part.HasField("start"):
                raise InvalidField(FieldViolation("start", "is sent twice; begin another stream for other versions"))
            scores = await _scores(pool, chosen, await self._decoded(part.arrow_ipc), options, context)
            yield pb.ScoreStreamResponse(scores=scores, sequence=chosen.sequence)

    async def _chosen(self, model: str, options: pb.ScoringOptions) -> ChosenVersions:
        as_of = time_from_proto(options.as_of) if options.HasField("as_of") else None
        return await self._choice.to_score(model, [_selector(one) for one in options.versions], as_of)

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


def _selector(request: pb.VersionSelector) -> Selector:
    chosen = request.WhichOneof("selector")
    if chosen == "version":
        return request.version
    return request.alias if chosen == "alias" else stage_from_proto(request.stage) or Stage.PRODUCTION


async def _scores(
    pool: ModelPool, chosen: ChosenVersions, columns: Columns, options: pb.ScoringOptions, context: Context
) -> Sequence[pb.VersionScores]:
    """Let each version predict the rows, at the same time."""
    return await asyncio.gather(*(_score(pool, one, columns, options, context) for one in chosen.models))


async def _score(
    pool: ModelPool, model: LoadedModel, columns: Columns, options: pb.ScoringOptions, context: Context
) -> pb.VersionScores:
    async def predict(rows: Columns) -> tuple[Run, float]:
        return await pool.predict(model, rows, "rows", context.time_remaining())

    if not options.row_errors:
        run, seconds = await predict(columns)
        return scores_to_proto(model.version, run, {}, seconds, options.top_k)
    failures = RowFailures(predict)
    run, failed = await failures.run(columns)
    return scores_to_proto(model.version, run, failed, failures.seconds, options.top_k)
