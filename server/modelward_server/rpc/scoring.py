"""The servicer of the scoring service: convert, call, convert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa

from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField, NotServed
from modelward.lifecycle import Stage
from modelward.shared.convert.common import stage_from_proto, time_from_proto
from modelward.v1 import scoring_pb2 as pb
from modelward.v1.scoring_pb2_grpc import ScoringServiceServicer
from modelward_server.lifecycle.resolve import Selector
from modelward_server.rpc.answer_cache import keep
from modelward_server.rpc.datasets import join_batches, typed_columns
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.rpc.scoring_answers import scores_to_proto
from modelward_server.sandbox.sandbox import Run
from modelward_server.sandbox.warm_model import LoadedModel
from modelward_server.scoring.pool import ModelPool
from modelward_server.scoring.row_failures import RowFailures
from modelward_server.scoring.selection import ChosenVersions, choose
from modelward_server.storage.arrow_tables import arrow_columns, read_arrow
from modelward_server.storage.commit_counter import State

SMALL_BYTES = 64 << 10
"""Size up to which a table is decoded on the event loop: a thread would take longer."""


class ScoringServicer(ScoringServiceServicer):
    """Serves `modelward.v1.ScoringService`.

    Args:
        pool: the loaded models; None if this server offers no scoring.
    """

    def __init__(self, unit_of_work: RequestUnitOfWork, pool: ModelPool | None, *, allow_pickle: bool) -> None:
        self._unit_of_work = unit_of_work
        self._pool = pool
        self._allow_pickle = allow_pickle
        self._chosen: dict[tuple[str, bytes], tuple[State | None, ChosenVersions]] = {}

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:
        pool = self._offered()
        chosen = await self._choose(pool, request.model, request.options)
        columns = await self._columns(request)
        scores = await _scores(pool, chosen, columns, request.options, context)
        return pb.ScoreResponse(scores=scores, sequence=chosen.sequence)

    async def ScoreStream(
        self, request_iterator: AsyncIterator[pb.ScoreStreamRequest], context: Context
    ) -> AsyncIterator[pb.ScoreStreamResponse]:
        pool = self._offered()
        start = await anext(request_iterator, None)
        if start is None or not start.HasField("start"):
            raise InvalidField(FieldViolation("start", "is missing; send it first, and then the tables"))
        options = start.start.options
        chosen = await self._choose(pool, start.start.model, options)
        async for part in request_iterator:
            if part.HasField("start"):
                raise InvalidField(FieldViolation("start", "is sent twice; begin another stream for other versions"))
            scores = await _scores(pool, chosen, await self._decoded(part.arrow_ipc), options, context)
            yield pb.ScoreStreamResponse(scores=scores, sequence=chosen.sequence)

    def _offered(self) -> ModelPool:
        if self._pool is None:
            fix = "start one with `modelward serve --scoring-processes N`"
            raise NotServed(f"this server does not score; {fix}", method="Score")
        return self._pool

    async def _choose(self, pool: ModelPool, model: str, options: pb.ScoringOptions) -> ChosenVersions:
        state, key = self._unit_of_work.ledger.state(), (model, options.SerializeToString(deterministic=True))
        known = self._chosen.get(key)
        if known is not None and state is not None and known[0] == state:
            return known[1]
        as_of = time_from_proto(options.as_of) if options.HasField("as_of") else None
        chosen = await self._read(model, [_selector(one) for one in options.versions], as_of)
        keep(self._chosen, key, (state, chosen))
        if as_of is None and (production := chosen.in_production):
            pool.pin(model, production)
        return chosen

    async def _read(self, model: str, selectors: Sequence[Selector], as_of: datetime | None) -> ChosenVersions:
        return await self._unit_of_work.read(
            lambda session: choose(session, model, selectors, as_of, allow_pickle=self._allow_pickle), urgent=True
        )

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
        return await self._unit_of_work.executors.compute.run(_from_arrow, stream)


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
