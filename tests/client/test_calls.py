"""What the clients do around a call: errors, deadlines, retries, and the same shape twice."""

import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc import aio

from modelward import AsyncClient, Client, GateResult, errors
from modelward.shared import retry
from modelward.shared.retry import error_of
from modelward.v1 import comparison_pb2
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.comparison_pb2_grpc import (
    ComparisonServiceServicer,
    ComparisonServiceStub,
    add_ComparisonServiceServicer_to_server,
)
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.interceptors.chain import Chain
from modelward_server.interceptors.errors import STATUS_DETAILS, Errors
from modelward_server.interceptors.status import encode
from modelward_server.interceptors.validation import Validation
from modelward_server.settings import Settings
from tests.support.ports import free_port
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS


class _Failed(grpc.RpcError):
    """What gRPC raises for an error that arrived."""

    def __init__(self, error: errors.ModelwardError) -> None:
        self._error = error

    def code(self) -> grpc.StatusCode:
        return self._error.status

    def details(self) -> str:
        return self._error.message

    def trailing_metadata(self) -> Any:
        return ((STATUS_DETAILS, encode(self._error).SerializeToString()),)


@pytest.mark.parametrize("kind", errors.ModelwardError.by_reason.values(), ids=lambda kind: kind.reason)
def test_every_error_arrives_as_the_class_that_was_raised(kind: type[errors.ModelwardError]) -> None:
    raised: errors.ModelwardError
    if kind is errors.InvalidField:
        raised = errors.InvalidField(errors.FieldViolation("a.b[0]", "mend it"), message="a.b[0]")
    elif kind is errors.GatesFailed:
        raised = errors.GatesFailed(GateResult("material", False, "same person"), model="spx")
    else:
        raised = kind("what happened", model="spx", legal="a,b")
    arrived = error_of(_Failed(raised))
    assert type(arrived) is kind
    assert (arrived.message, arrived.metadata) == (raised.message, raised.metadata)
    for details in ("violations", "gates"):
        assert getattr(arrived, details, None) == getattr(raised, details, None)


def test_every_reason_of_the_contract_has_a_class() -> None:
    from modelward.v1.errors_pb2 import ErrorReason

    reasons = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118 - an enum, not a dict
    assert reasons - {"UNSPECIFIED"} == set(errors.ModelwardError.by_reason)


def _signatures(client: type) -> dict[str, list[str]]:
    methods = inspect.getmembers(client, inspect.isfunction)
    return {name: list(inspect.signature(method).parameters) for name, method in methods if not name.startswith("_")}


def test_both_clients_have_the_same_methods_and_arguments() -> None:
    assert _signatures(Client) == _signatures(AsyncClient)
    assert "register" in _signatures(Client)


def test_import_of_the_client_brings_no_heavy_package() -> None:
    heavy = "{'mlflow', 'pandas', 'sklearn', 'scipy', 'pyarrow', 'sqlalchemy', 'rich', 'click'}"
    code = f"import sys, modelward; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_overlong_text_is_refused_with_its_field(client: AsyncClient, name: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.create_model(name, description="x" * 10_001)
    assert [violation.field for violation in caught.value.violations] == ["description"]


async def test_oversize_message_is_refused_with_what_to_do(client: AsyncClient, name: str) -> None:
    with pytest.raises(errors.MessageTooLarge, match="as a stream") as caught:
        await client.create_model(name, description="x" * (5 << 20))
    assert int(caught.value.metadata["size_bytes"]) > int(caught.value.metadata["limit_bytes"])


@pytest.fixture
def stub(server: RunningServer) -> Iterator[LifecycleServiceStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield LifecycleServiceStub(channel)


async def test_call_that_is_not_served_yet_says_so() -> None:
    server = aio.server(interceptors=[Chain([Errors(), Validation()])])
    add_ComparisonServiceServicer_to_server(ComparisonServiceServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            await ComparisonServiceStub(channel).AssignVariant(comparison_pb2.AssignVariantRequest(test="t", unit="u"))
    await server.stop(None)
    assert isinstance(error_of(caught.value), errors.NotServed)


def test_repeated_request_id_gets_the_first_answer_and_acts_once(stub: LifecycleServiceStub) -> None:
    request = pb.CreateModelRequest(model=f"m-{uuid4()}", request_id=str(uuid4()))
    assert stub.CreateModel(request) == stub.CreateModel(request)


def test_request_id_with_another_request_is_refused(stub: LifecycleServiceStub) -> None:
    request_id = str(uuid4())
    stub.CreateModel(pb.CreateModelRequest(model=f"m-{uuid4()}", request_id=request_id))
    with pytest.raises(grpc.RpcError) as caught:
        stub.CreateModel(pb.CreateModelRequest(model="another", request_id=request_id))
    assert isinstance(error_of(caught.value), errors.RequestIdReused)


def test_request_id_that_is_no_uuid_is_refused(stub: LifecycleServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.CreateModel(pb.CreateModelRequest(model="m", request_id="mine"))
    error = error_of(caught.value)
    assert isinstance(error, errors.InvalidField)
    assert error.violations == (errors.FieldViolation("request_id", "must be a valid UUID"),)


def test_failed_request_id_may_be_used_again(stub: LifecycleServiceStub) -> None:
    model, request_id = f"m-{uuid4()}", str(uuid4())
    promote = pb.TransitionModelVersionRequest(to=2, request_id=request_id)  # type: ignore[arg-type]
    promote.version.model, promote.version.version = model, 1
    with pytest.raises(grpc.RpcError):
        stub.TransitionModelVersion(promote)
    assert stub.CreateModel(pb.CreateModelRequest(model=model, request_id=request_id)).model.name == model


@pytest.mark.system
def test_answer_to_a_request_id_survives_a_restart(tmp_path: Path) -> None:
    request = pb.CreateModelRequest(model="spx", request_id=str(uuid4()))
    answers = []
    for _ in range(2):
        running = RunningServer(Settings(port=0, data_dir=tmp_path))
        with grpc.insecure_channel(running.target) as channel:
            answers.append(LifecycleServiceStub(channel).CreateModel(request))
        running.stop()
    assert answers[0] == answers[1]


@pytest.mark.system
def test_call_waits_for_a_server_that_comes_up_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_CONTACT_SECONDS", 60.0)  # A server takes longer to start on a busy machine.
    port = free_port()
    started: list[RunningServer] = []
    settings = Settings(port=port, data_dir=tmp_path)
    timer = threading.Timer(0.5, lambda: started.append(RunningServer(settings)))
    timer.start()
    with Client(f"127.0.0.1:{port}", timeout=PATIENCE_SECONDS) as client:
        assert client.create_model("spx").name == "spx"
    timer.join()
    started[0].stop()


async def test_server_that_is_away_is_unavailable_within_the_timeout() -> None:
    begun = time.monotonic()
    async with AsyncClient(f"127.0.0.1:{free_port()}", timeout=0.4) as client:
        with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
            await client.get_model("spx")
    assert time.monotonic() - begun < 20  # Not the 30 seconds of a client that was told nothing.
