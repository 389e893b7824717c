"""What a real server logs of its calls: one line for each, and one id on all lines of one call."""

import io
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from opentelemetry.sdk.trace import TracerProvider

from modelward import AsyncClient, Client, errors
from modelward.caller import Role
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward.v1.retraining_pb2 import LeaseJobRequest
from modelward_server.lifecycle import models
from modelward_server.observability import logs
from modelward_server.security.admin_session import admin_session
from modelward_server.settings import Settings
from modelward_server.storage.security_tables import GrantRow
from tests.security.test_tokens import token_of
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

SERVICE = "/modelward.v1.LifecycleService"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("data")
    running = RunningServer(Settings(port=0, data_dir=folder, log_calls=True, auth=True))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def token(server: RunningServer) -> str:
    return token_of(server, "ada", Role.ADMIN)


class Log:
    """What the server's loggers have written, as an operator reads it."""

    def __init__(self, log_format: str) -> None:
        self._stream = io.StringIO()
        self.handler = logs.handler(log_format, self._stream)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def lines(self, **facts: str) -> list[dict[str, Any]]:
        """Return the lines that say these facts."""
        found = map(json.loads, self.text.splitlines())
        return [line for line in found if facts.items() <= line.items()]

    def of_call(self, method: str, service: str = SERVICE) -> dict[str, Any]:
        """Return the one line of the one call of a method, when it has come: the client may be told before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := self.lines(method=f"{service}/{method}")) and time.monotonic() < deadline:
            time.sleep(0.002)
        (line,) = found
        return line


@pytest.fixture(params=["json"])
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    ours, made = logging.getLogger("modelward_server"), Log(request.param)
    ours.addHandler(made.handler)
    ours.setLevel(logging.DEBUG)
    yield made
    ours.setLevel(logging.NOTSET)
    ours.removeHandler(made.handler)


def test_a_call_is_one_line_under_the_id_of_its_request(server: RunningServer, token: str, log: Log) -> None:
    request = pb.CreateModelRequest(model=f"m-{uuid4()}", request_id=str(uuid4()))
    with grpc.insecure_channel(server.target) as channel:
        sent = (("authorization", f"Bearer {token}"), ("modelward-actor", "mallory"))
        _, call = LifecycleServiceStub(channel).CreateModel.with_call(request, metadata=sent)
    assert dict(call.trailing_metadata())["x-request-id"] == request.request_id
    line = log.of_call("CreateModel")
    assert {name: line[name] for name in ("level", "status", "actor", "request_id")} == {
        "level": "INFO",
        "status": "OK",
        "actor": "ada",
        "request_id": request.request_id,
    }
    assert 0 < line["seconds"] < 60
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert line["time"].endswith("+00:00")


def test_an_id_that_a_proxy_sends_is_kept_and_comes_back_with_an_error_too(
    server: RunningServer, token: str, log: Log
) -> None:
    sent = (("authorization", f"Bearer {token}"), ("x-request-id", "from-the-proxy"))
    with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError) as caught:
        LifecycleServiceStub(channel).GetModel(pb.GetModelRequest(model="none"), metadata=sent)
    trailers: dict[str, Any] = dict(caught.value.trailing_metadata())  # type: ignore[arg-type]
    assert trailers["x-request-id"] == "from-the-proxy"
    assert "grpc-status-details-bin" in trailers
    line = log.of_call("GetModel")
    assert (line["status"], line["request_id"]) == ("NOT_FOUND", "from-the-proxy")


async def test_a_refused_call_is_logged_under_who_was_refused(server: RunningServer, log: Log) -> None:
    viewer = token_of(server, "vera", Role.VIEWER)
    async with AsyncClient(server.target, actor="mallory") as stranger:
        with pytest.raises(errors.NotAuthenticated):
            await stranger.get_model("spx")
    async with AsyncClient(server.target, actor="mallory", token=viewer) as client:
        with pytest.raises(errors.RoleTooLow):
            await client.create_model("spx")
    assert log.of_call("GetModel")["actor"] == "unauthenticated"
    assert log.of_call("GetModel")["peer"].startswith("ipv4:127.0.0.1:")
    assert log.of_call("CreateModel")["actor"] == "vera"
    assert "mallory" not in log.text


@pytest.mark.parametrize(("ended", "how"), [("revoked_at", "was revoked"), ("expires_at", "has expired")])
async def test_a_call_with_a_token_that_has_ended_is_logged_under_whose_it_was(
    server: RunningServer, log: Log, ended: str, how: str
) -> None:
    token = token_of(server, "leaver", Role.VIEWER)
    _, grant, _ = token.split("_", 2)
    with admin_session(server.settings) as (session, caller):
        setattr(session.get(GrantRow, grant), ended, caller.at)
    async with AsyncClient(server.target, actor="mallory", token=token) as client:
        with pytest.raises(errors.NotAuthenticated, match=f"the token {grant} {how}"):
            await client.get_model("spx")
    line = log.of_call("GetModel")
    assert (line["actor"], line["refused"]) == ("leaver", f"the token {grant} {how}; request a new one")
    other = AsyncClient(server.target, token=token[:-1] + ("A" if token[-1] != "A" else "B"))
    async with other as client:  # To know the id alone proves nothing, and tells nothing.
        with pytest.raises(errors.NotAuthenticated, match="is unknown to this server"):
            await client.list_models()
    assert log.of_call("ListModels")["actor"] == "unauthenticated"


async def test_all_lines_of_a_call_have_its_id(server: RunningServer, token: str, log: Log) -> None:
    async with AsyncClient(server.target, token=token) as client:
        await client.create_model(model := f"m-{uuid4()}")
        await client.request_retraining(model)
    call = log.of_call("RequestRetraining", "/modelward.v1.RetrainingService")
    (announced,) = log.lines(logger="modelward_server.storage.audit_logging")
    assert announced["request_id"] == call["request_id"]
    assert announced["actor"] == "ada"


async def test_a_call_that_is_given_up_says_why(server: RunningServer, token: str, log: Log) -> None:
    async with AsyncClient(server.target, token=token) as client:
        await client.create_model(model := f"m-{uuid4()}")
        watch = client.watch([model])
        await anext(watch)
        await watch.aclose()
        with pytest.raises(errors.DeadlineExceeded):
            await client._call(client._retraining.LeaseJob, waiting_for(model), timeout=0.05)
    assert log.of_call("WatchModels")["status"] == "CANCELLED"
    assert log.of_call("LeaseJob", "/modelward.v1.RetrainingService")["status"] == "DEADLINE_EXCEEDED"


def waiting_for(model: str) -> LeaseJobRequest:
    return LeaseJobRequest(model=model, holder="w", wait=Duration(seconds=20))


def test_a_failure_of_the_server_has_its_incident_on_every_line(
    server: RunningServer, token: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("a defect")

    with Client(server.target, token=token) as client:
        client.create_model(model := f"m-{uuid4()}")
        monkeypatch.setattr(models, "get_model", broken)
        with pytest.raises(errors.UnexpectedError) as caught:
            client.get_model(model)
        monkeypatch.undo()
    call = log.of_call("GetModel")
    assert call["status"] == "INTERNAL"
    assert call["incident"] in str(caught.value)
    (failure,) = log.lines(level="ERROR", request_id=call["request_id"], incident=call["incident"])
    assert "RuntimeError: a defect" in failure["exception"]


@pytest.mark.parametrize("log", ["text"], indirect=True)
def test_text_is_for_people(server: RunningServer, token: str, log: Log) -> None:
    with Client(server.target, token=token) as client:
        list(client.list_models())
        list(client.list_models())  # When it answers, the line of the one before is written.
    assert " INFO modelward_server.interceptors.access_log: " in log.text
    assert f"{SERVICE}/ListModels OK in 0." in log.text
    assert " (request " in log.text


def test_a_line_within_a_trace_names_it(log: Log) -> None:
    with TracerProvider().get_tracer("test").start_as_current_span("call") as span:
        logging.getLogger("modelward_server.test").warning("the mirror waits")
    (line,) = log.lines(message="the mirror waits")
    assert line["trace_id"] == format(span.get_span_context().trace_id, "032x")


@pytest.mark.system
def test_without_the_setting_calls_are_not_logged_and_have_no_ids(tmp_path: Path, log: Log) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    with grpc.insecure_channel(running.target) as channel:
        _, call = LifecycleServiceStub(channel).ListModels.with_call(pb.ListModelsRequest())
    running.stop()
    assert "x-request-id" not in dict(call.trailing_metadata())
    assert log.lines(status="OK") == []
