"""The servicer of the scoring service: convert, call, convert."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from modelward.data import Columns
from modelward.errors import DeadlineExceeded, FieldViolation, InvalidField, LimitReached, ModelwardError, NotServed
from modelward.lifecycle import VersionRef
from modelward.shared.convert.scoring import logged_to_proto, score_record_to_proto
from modelward.v1 import scoring_pb2 as pb
from modelward.v1.scoring_pb2_grpc import ScoringServiceServicer
from modelward_server.rpc.datasets import join_batches, typed_columns
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.rpc.requests import optional_time
from modelward_server.rpc.score_log import ScoredCall, ScoreLog
from modelward_server.rpc.scored_rows import ScoredRows, check_numeric, check_observable
from modelward_server.rpc.scoring_answers import scores_to_proto
from modelward_server.rpc.scoring_limits import (
    MAX_DECODED_AT_ONCE,
    MAX_DECODED_BYTES,
    check_rows,
    in_thread_if_many,
    read_rows,
)
from modelward_server.rpc.scoring_records import ScoringRecords
from modelward_server.rpc.version_choice import VersionChoice
from modelward_server.runtime.executors import Executors
from modelward_server.sandbox.sandbox import Run
from modelward_server.sandbox.score_request import SMALL_BYTES, Rows
from modelward_server.sandbox.warm_model import LoadedModel
from modelward_server.scoring.pool import ModelPool
from modelward_server.scoring.row_failures import RowFailures
from modelward_server.scoring.score_log import ScoreFilter, list_scores
from modelward_server.storage.arrow_tables import arrow_columns


@dataclass(frozen=True)
class Scoring:
    """What a server scores with: the loaded models, the choice of versions, and what is recorded."""

    pool: ModelPool
    choice: VersionChoice
    records: ScoringRecords
    log: ScoreLog
    executors: Executors
    max_seconds: float
    """The longest time in which the failing rows of one table are found, whatever deadline the call has."""


class ScoringServicer(ScoringServiceServicer):
    """Serves `modelward.v1.ScoringService`.

    Args:
        unit_of_work: the transactions of the ledger.
        scoring: what it scores with; None if this server offers no scoring.
    """

    def __init__(self, unit_of_work: RequestUnitOfWork, scoring: Scoring | None) -> None:
        self._unit_of_work = unit_of_work
        self._executors = unit_of_work.executors
        self._scoring = scoring

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:
        scoring = self._offered()
        chosen, at = await scoring.choice.choose(request.model, request.options), datetime.now(UTC)
        rows, as_of = await self._rows(request), optional_time(request.options, "as_of")
        call = ScoredCall.begin(request.request_id, "Score", rows, chosen, as_of, context, at)
        scores = await _scores(scoring, _Table(call, request.ids, request.options))
        return pb.ScoreResponse(scores=scores, sequence=chosen.sequence, request_id=call.request_id)

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
            at, as_of = datetime.now(UTC), optional_time(options, "as_of")
            rows = await self._decoded(part.arrow_ipc)
            call = ScoredCall.begin(part.request_id, "ScoreStream", rows, chosen, as_of, context, at)
            scores = await _scores(scoring, _Table(call, part.ids, options))
            yield pb.ScoreStreamResponse(scores=scores, sequence=chosen.sequence, request_id=call.request_id)

    async def ListScores(self, request: pb.ListScoresRequest, context: Context) -> pb.ListScoresResponse:
        wanted = ScoreFilter(
            VersionRef(request.model, request.version),
            request.scored_request_id,
            request.actor,
            optional_time(request, "scored_after"),
            optional_time(request, "scored_before"),
        )
        page = await self._unit_of_work.read(
            lambda session: list_scores(session, wanted, request.page_size, request.page_token)
        )
        return pb.ListScoresResponse(
            scores=map(score_record_to_proto, page.items), next_page_token=page.next_page_token
        )

    def _offered(self) -> Scoring:
        if self._scoring is None:
            fix = "start one with `modelward serve --scoring-processes N`"
            raise NotServed(f"this server does not score; {fix}", method="Score")
        return self._scoring

    async def _rows(self, request: pb.ScoreRequest) -> Rows:
        form = request.WhichOneof("rows")
        if form == "matrix":
            return _from_matrix(request.matrix)
        if form == "arrow_ipc":
            return await self._decoded(request.arrow_ipc)
        read = partial(typed_columns, request.columns, "columns")
        is_small = request.ByteSize() <= SMALL_BYTES
        rows = Rows.of_columns(read() if is_small else await self._executors.compute.run(read))
        check_rows(rows.count, "columns")
        return rows

    async def _decoded(self, stream: bytes) -> Rows:
        if len(stream) <= SMALL_BYTES:
            with suppress(LimitReached):  # It is compressed, and decodes to more.
                return _from_arrow(stream, MAX_DECODED_AT_ONCE)
        return await self._executors.compute.run(_from_arrow, stream, MAX_DECODED_BYTES)


def _from_matrix(matrix: pb.DoubleMatrix) -> Rows:
    names, values = tuple(matrix.names), matrix.values
    if len(values) % (8 * len(names)):
        fix = f"has {len(values)} bytes; send 8 for each of {len(names)} values in each row"
        raise InvalidField(FieldViolation("matrix.values", fix))
    return Rows.of_matrix(names, values)


def _from_arrow(stream: bytes, most: int) -> Rows:
    batches = read_rows(stream, "arrow_ipc", most)
    return Rows.of_columns(join_batches((arrow_columns(batch, "arrow_ipc") for batch in batches), "arrow_ipc"))


@dataclass(frozen=True)
class _Table:
    """A table to predict, and what is wanted."""

    call: ScoredCall
    ids: Sequence[str]
    options: pb.ScoringOptions


async def _scores(scoring: Scoring, table: _Table) -> Sequence[pb.VersionScores]:
    """Let each version predict the rows, at the same time."""
    call, chosen = table.call, table.call.chosen
    check_observable(chosen, table.options, table.ids, call.rows.count)
    first, *others = (_score(scoring, model, table) for model in chosen.models)
    answers = await asyncio.gather(first, *others) if others else [await first]  # One needs no task of its own.
    runs = [(model.version, run) for model, (_, run) in zip(chosen.models, answers, strict=True)]
    compared = await scoring.log.answered(call, runs)
    for (one, _), logged in zip(answers, compared, strict=True):
        one.variant, one.in_test = chosen.variant, chosen.in_test
        if logged:
            one.logged.CopyFrom(logged_to_proto(logged))
    scoring.records.expose(chosen)
    return [one for one, _ in answers]


async def _score(scoring: Scoring, model: LoadedModel, table: _Table) -> tuple[pb.VersionScores, Run]:
    try:
        run, answer = await _answer(scoring, model, table)
    except ModelwardError as error:
        await scoring.log.failed(table.call, model.version, error)
        raise
    if table.options.observe:
        at = datetime.now(UTC)
        scoring.records.observe(ScoredRows(model.version.ref, table.call.rows.columns, table.ids, run, at))
    return answer, run


async def _answer(scoring: Scoring, model: LoadedModel, table: _Table) -> tuple[Run, pb.VersionScores]:
    run, failed, seconds = await _predict(scoring, model, table)
    if table.options.observe:
        check_numeric(run)
    made = scores_to_proto, model.version, run, failed, seconds, table.options.top_k
    return run, await in_thread_if_many(scoring.executors, run, *made)


async def _predict(scoring: Scoring, model: LoadedModel, table: _Table) -> tuple[Run, Mapping[int, str], float]:
    """Return the predictions, why which rows failed, and the seconds that the model took."""
    rows, left, pool = table.call.rows, table.call.context.time_remaining(), scoring.pool
    if not table.options.row_errors:
        run, seconds = await pool.predict(model, rows, "rows", left)
        return run, {}, seconds
    most = scoring.max_seconds if left is None else min(left, scoring.max_seconds)
    end = time.monotonic() + most

    async def predict(part: Columns) -> tuple[Run, float]:
        left = end - time.monotonic()
        if left <= 0:
            message = f"the rows for which {model.version} fails were not found within {most:.3g} s"
            raise DeadlineExceeded(f"{message}; send fewer rows at once")
        return await pool.predict(model, Rows.of_columns(part), "rows", left)

    failures = RowFailures(predict)
    run, failed = await failures.run(rows.columns)
    return run, failed, failures.seconds
