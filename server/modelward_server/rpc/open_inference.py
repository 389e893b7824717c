"""The servicer of the Open Inference Protocol: convert, call, convert."""

from __future__ import annotations

from datetime import UTC, datetime

import modelward
from modelward.data import Columns
from modelward.errors import (
    ArtifactDeleted,
    FieldViolation,
    FormatNotExecutable,
    InvalidField,
    ModelHalted,
    ModelNotFound,
    ModelwardError,
    NothingResolved,
    VersionNotFound,
)
from modelward.lifecycle import Stage
from modelward.shared.times import parse_instant
from modelward.signature import Signature
from modelward_server.lifecycle.resolve import Selector
from modelward_server.oip import open_inference_pb2 as pb
from modelward_server.oip.metadata import model_metadata
from modelward_server.oip.open_inference_pb2_grpc import GRPCInferenceServiceServicer
from modelward_server.oip.predictions import infer_response
from modelward_server.oip.tables import read_table, signature_of
from modelward_server.rpc.idempotency import Context
from modelward_server.rpc.score_log import ScoredCall
from modelward_server.rpc.scoring import Scoring
from modelward_server.rpc.scoring_limits import check_rows, in_thread_if_many
from modelward_server.rpc.version_choice import VersionChoice
from modelward_server.runtime.executors import Executors
from modelward_server.sandbox.score_request import SMALL_BYTES, Rows
from modelward_server.scoring.selection import ChosenVersions

NOT_READY = (ArtifactDeleted, FormatNotExecutable, ModelHalted, ModelNotFound, NothingResolved, VersionNotFound)
"""Why a version cannot predict."""
AS_OF, AB_TEST, UNIT = "as_of", "ab_test", "unit"
PARAMETER = 'parameters["{}"]'
"""A parameter as a field of the request."""


class OpenInferenceServicer(GRPCInferenceServiceServicer):
    """Serves `inference.GRPCInferenceService`.

    Args:
        choice: the choice of versions.
        scoring: what it scores with; None if this server offers no scoring.
        executors: decode large tables.
    """

    def __init__(self, choice: VersionChoice, scoring: Scoring | None, executors: Executors) -> None:
        self._choice = choice
        self._scoring = scoring
        self._executors = executors

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._choice.pool is not None)

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="modelward", version=modelward.__version__)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        if self._choice.pool is None:
            return pb.ModelReadyResponse(ready=False)
        try:
            await self._choice.read(request.name, [_selector(request.version)], None, lambda *_: None)
        except NOT_READY:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        return await self._choice.read(
            *(request.name, [_selector(request.version)], None),
            lambda session, chosen: model_metadata(session, chosen.models[0]),
        )

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        pool, scoring = self._choice.offered("ModelInfer"), self._scoring
        assert scoring, "a server with a pool scores"
        as_of = _as_of(request)
        chosen, at = await self._chosen(request, as_of), datetime.now(UTC)
        [model] = chosen.models
        rows = Rows.of_columns(await self._columns(request, signature_of(model)))
        check_rows(rows.count, "inputs")
        call = ScoredCall.begin(request.id, "ModelInfer", rows, chosen, as_of, context, at)
        try:
            run, _ = await pool.predict(model, rows, "inputs", context.time_remaining())
            made = infer_response, request, model.version, run, chosen.sequence
            answer = await in_thread_if_many(self._executors, run, *made)
        except ModelwardError as error:
            await scoring.log.failed(call, model.version, error)
            raise
        answer.parameters["request_id"].string_param = call.request_id
        if chosen.exposure:
            answer.parameters["variant"].string_param = chosen.variant
            answer.parameters["in_test"].bool_param = chosen.in_test
        await scoring.log.answered(call, [(model.version, run)])
        scoring.records.expose(chosen)
        return answer

    async def _chosen(self, request: pb.ModelInferRequest, as_of: datetime | None) -> ChosenVersions:
        test, unit = _text(request, AB_TEST), _text(request, UNIT)
        if not test:
            if unit:
                raise _wrong(UNIT, "is given without ab_test; name the test, or leave it out")
            return await self._choice.to_score(request.model_name, [_selector(request.model_version)], as_of)
        if as_of or request.model_version:
            raise _wrong(AB_TEST, "is given with model_version or as_of, but chooses the version; send one of them")
        return await self._choice.of_test(request.model_name, test, unit, PARAMETER)

    async def _columns(self, request: pb.ModelInferRequest, signature: Signature) -> Columns:
        if request.ByteSize() <= SMALL_BYTES:
            return read_table(request, signature)
        return await self._executors.compute.run(read_table, request, signature)


def _selector(version: str) -> Selector:
    if not version:
        return Stage.PRODUCTION
    return int(version) if version.isdigit() else version


def _as_of(request: pb.ModelInferRequest) -> datetime | None:
    """Return the past time of a request; None for now.

    Raises:
        InvalidField: it is not a past time as ISO 8601 text.
    """
    if AS_OF not in request.parameters:
        return None
    try:
        instant = parse_instant(request.parameters[AS_OF].string_param).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong(AS_OF, "must be ISO 8601 text") from None
    if instant >= datetime.now(UTC):
        raise _wrong(AS_OF, "must be a time in the past")
    return instant


def _text(request: pb.ModelInferRequest, name: str) -> str:
    """Return a parameter that is text; empty if it is not given.

    Raises:
        InvalidField: it is no text, or empty.
    """
    if name not in request.parameters:
        return ""
    text = request.parameters[name].string_param
    if not text:
        raise _wrong(name, "must be text")
    return text


def _wrong(parameter: str, fix: str) -> InvalidField:
    return InvalidField(FieldViolation(PARAMETER.format(parameter), fix))
