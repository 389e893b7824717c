"""The Open Inference Protocol: what a server and its models are, and who may ask."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

import modelward
from modelward import Client, ModelVersion, Role, errors
from modelward_server.oip import open_inference_pb2 as pb
from modelward_server.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub
from modelward_server.security import grants
from modelward_server.security.admin_session import admin_session
from modelward_server.security.permissions import INFERENCE, INFERENCE_SERVICE, rule_of
from modelward_server.settings import Settings
from tests.support.inference import (
    Request,
    Tensor,
    described,
    refusal,
    request_of,
    values_of,
)
from tests.support.inference_models import NUMBER, OTHER, ROWS, in_production
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds.


def ready(inference: Any, name: str, version: str = "") -> bool:
    return bool(inference.ModelReady(pb.ModelReadyRequest(name=name, version=version), timeout=PATIENCE_SECONDS).ready)


def test_a_model_is_ready_while_its_version_can_predict(scoring_sdk: Client, inference: Any) -> None:
    version = scoring_sdk.register(f"spx-{uuid4().hex[:8]}", NUMBER, reference=ROWS)
    assert not ready(inference, "absent")
    assert not ready(inference, version.model), "nothing is in production"
    assert ready(inference, version.model, "1")
    assert not ready(inference, version.model, "2")
    scoring_sdk.promote(version, to="staging")
    scoring_sdk.promote(version, to="production", reason="it passed its tests")
    assert ready(inference, version.model)
    scoring_sdk.halt(version.model, reason="exchange outage")
    assert not ready(inference, version.model)
    scoring_sdk.resume(version.model, reason="it is over")
    assert ready(inference, version.model)


def test_metadata_are_those_of_the_signature(scoring_sdk: Client, inference: Any, number: ModelVersion) -> None:
    scoring_sdk.register(number.model, OTHER, reference=ROWS)
    told = inference.ModelMetadata(pb.ModelMetadataRequest(name=number.model), timeout=PATIENCE_SECONDS)
    assert (told.name, list(told.versions), told.platform) == (number.model, ["1", "2"], "modelward_skops")
    assert described(told.inputs) == [(name, "FP64", [-1]) for name in "abc"]
    assert described(told.outputs) == [("prediction", "FP64", [-1])]
    server = inference.ServerMetadata(pb.ServerMetadataRequest(), timeout=PATIENCE_SECONDS)
    assert (server.name, server.version) == ("modelward", modelward.__version__)


def test_the_server_is_live_ready_and_healthy(inference: Any, scoring_server: RunningServer) -> None:
    assert inference.ServerLive(pb.ServerLiveRequest(), timeout=PATIENCE_SECONDS).live
    assert inference.ServerReady(pb.ServerReadyRequest(), timeout=PATIENCE_SECONDS).ready
    with grpc.insecure_channel(scoring_server.target) as channel:
        health: Any = HealthStub(channel)
        asked = HealthCheckRequest(service="inference.GRPCInferenceService")
        assert health.Check(asked, timeout=PATIENCE_SECONDS).status == 1


def test_a_server_that_does_not_score_says_so(server: RunningServer) -> None:
    with grpc.insecure_channel(server.target) as channel:
        stub: Any = GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(pb.ServerLiveRequest(), timeout=PATIENCE_SECONDS).live
        assert not stub.ServerReady(pb.ServerReadyRequest(), timeout=PATIENCE_SECONDS).ready
        assert not ready(stub, "any")
        error = refusal(stub, Request(model_name="any", inputs=[Tensor(name="a")]))
    assert isinstance(error, errors.NotServed)
    assert "--scoring-processes" in error.message


def test_every_call_has_its_permission_and_no_other_has() -> None:
    [service] = pb.DESCRIPTOR.services_by_name.values()
    assert service.full_name == INFERENCE_SERVICE
    assert set(INFERENCE) == {method.name for method in service.methods}
    assert rule_of(f"/{INFERENCE_SERVICE}/ModelRepositoryLoad").permission is None


def test_its_names_are_not_in_the_default_pool() -> None:
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName(pb.ModelInferRequest.DESCRIPTOR.full_name)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("data")
    running = RunningServer(Settings(port=0, data_dir=folder, auth=True, scoring_processes=2))
    with Client(running.target, token=token_of(running, "founder", Role.ADMIN)) as client:
        for model in ("spx-trend", "ndx-trend"):
            in_production(client, NUMBER, name=model)
        client.register("ndx-trend", OTHER, reference=ROWS)
        client.create_ab_test("ndx-exits", {"a": "ndx-trend/1", "b": "ndx-trend/2"}, primary_metric="pnl_bps")
    yield running
    running.stop()


def token_of(running: RunningServer, name: str, role: Role, *models: str) -> str:
    with admin_session(running.settings) as (session, caller):
        return grants.create_token(session, name, role, models, None, caller)


def test_a_restricted_client_reaches_its_own_models_only(guarded: RunningServer) -> None:
    proof = (("authorization", f"Bearer {token_of(guarded, 'desk', Role.VIEWER, 'spx-')}"),)
    rows = {"rows": (ROWS.to_numpy(), "FP64")}
    with grpc.insecure_channel(guarded.target) as channel:
        stub: Any = GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(request_of("spx-trend", rows), timeout=PATIENCE_SECONDS, metadata=proof)
        np.testing.assert_allclose(values_of(answer)["prediction"], NUMBER.predict(ROWS), rtol=1e-9)
        assert len(stub.ModelMetadata(pb.ModelMetadataRequest(name="spx-trend"), metadata=proof).inputs) == 3
        assert stub.ServerReady(pb.ServerReadyRequest(), metadata=proof).ready
        for method, request in (
            ("ModelInfer", request_of("ndx-trend", rows)),
            ("ModelReady", pb.ModelReadyRequest(name="ndx-trend")),
            ("ModelMetadata", pb.ModelMetadataRequest(name="ndx-trend")),
        ):
            assert isinstance(refusal(stub, request, method, metadata=proof), errors.ModelNotAllowed), method
            assert isinstance(refusal(stub, request, method), errors.NotAuthenticated), method


def test_tests_of_foreign_models_are_refused_as_those_that_do_not_exist(guarded: RunningServer) -> None:
    proof = (("authorization", f"Bearer {token_of(guarded, 'curious', Role.VIEWER, 'spx-')}"),)
    with grpc.insecure_channel(guarded.target) as channel:
        stub: Any = GRPCInferenceServiceStub(channel)
        for test in ("ndx-exits", "nothing"):
            named = {"ab_test": pb.InferParameter(string_param=test), "unit": pb.InferParameter(string_param="u")}
            request = request_of("spx-trend", {"rows": (ROWS, "FP64")}, parameters=named)
            error = refusal(stub, request, metadata=proof)
            assert isinstance(error, errors.ModelNotAllowed), test
            assert f"the ab_test '{test}' is not of one of them" in error.message
