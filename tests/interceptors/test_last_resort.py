"""Whatever fails around a call, its client has a status soon, and the next call works."""

import asyncio
import io
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import grpc
import prometheus_client
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import _async as reflection
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from modelward import AsyncClient, Client, errors
from modelward.caller import Role
from modelward.shared.retry import error_of
from modelward.v1 import drift_pb2
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.common_pb2 import Column, ColumnTable, Dataset, DoubleValues, ModelVersionRef
from modelward_server.interceptors import access_log, grpc_metrics, telemetry
from modelward_server.interceptors import errors as statuses
from modelward_server.interceptors.auth import Auth
from modelward_server.interceptors.client_limits import ClientLimits
from modelward_server.interceptors.deadlines import Deadlines
from modelward_server.interceptors.errors import Errors
from modelward_server.interceptors.validation import Validation
from modelward_server.lifecycle import models
from modelward_server.observability import log_context, logs
from modelward_server.rpc.idempotency import RequestUnitOfWork
from modelward_server.runtime import tracing
from modelward_server.settings import Settings
from modelward_server.storage import audit_logging
from tests.security.test_tokens import token_of
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Each test starts a server that fails in its own way.

"""It is some milliseconds; a machine with other work must not make the test fail, and a call without an end must."""
ODD_NAME = b"model-\xff".decode(errors="surrogateescape")
"""A file's name that is no text, as an error may have in its message."""
REF = ModelVersionRef(model="none", version=1)
DATA = Dataset(columns=ColumnTable(columns=[Column(name="x", doubles=DoubleValues(values=[1.0, 2.0]))]))
KINDS = {
    "unary_unary": ("LifecycleService/GetModel", pb.GetModelRequest(model="none")),
    "unary_stream": ("LifecycleService/DownloadArtifact", pb.DownloadArtifactRequest(version=REF, path="x")),
    "stream_unary": (
        "DriftService/SetReference",
        drift_pb2.SetReferenceRequest(header=drift_pb2.ReferenceHeader(version=REF, data=DATA)),
    ),
    "stream_stream": (
        "DriftService/Observe",
        drift_pb2.ObserveRequest(header=drift_pb2.ObserveHeader(version=REF, sender="s", rows=10)),
    ),
}


class BrokenError(Exception):
    """What nobody foresaw."""


class Panic(BaseException):
    """What an extension in Rust raises, which is no Exception."""


def broken(*_: object, **__: object) -> Any:
    raise BrokenError


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with all that can be around a call."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        patched.setattr(OTLPSpanExporter, "export", lambda *_, **__: SpanExportResult.SUCCESS)
        patched.setattr(OTLPMetricExporter, "export", lambda *_, **__: MetricExportResult.SUCCESS)
        settings = Settings(
            port=0,
            data_dir=tmp_path_factory.mktemp("data"),
            auth=True,
            log_calls=True,
            metrics_port=0,
            client_rate=100_000.0,
            client_calls=1_000,
            client_streams=1_000,
        )
        running, ours = RunningServer(settings), logging.getLogger("modelward_server")
        handler = logs.handler("json", io.StringIO())
        ours.addHandler(handler)
        ours.setLevel(logging.DEBUG)
        yield running
        running.stop()
        ours.setLevel(logging.NOTSET)
        ours.removeHandler(handler)


@pytest.fixture(scope="module")
def token(server: RunningServer) -> str:
    return token_of(server, "ada", Role.ADMIN)


def opened(channel: Any, kind: str, token: str) -> Any:
    """Make a call of a kind, without a deadline."""
    method, message = KINDS[kind]
    call = getattr(channel, kind)(f"/modelward.v1.{method}", type(message).SerializeToString)
    sent = iter([message]) if kind.startswith("stream") else message
    return call(sent, metadata=(("authorization", f"Bearer {token}"),))


def end(server: RunningServer, kind: str, token: str) -> str:
    """Return the status that the sync client is told."""
    with grpc.insecure_channel(server.target) as channel:
        try:
            answer = opened(channel, kind, token)
            list(answer) if kind.endswith("stream") else answer
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


async def end_async(server: RunningServer, kind: str, token: str) -> str:
    """Return the status that the async client is told."""
    async with grpc.aio.insecure_channel(server.target) as channel:
        call = opened(channel, kind, token)
        return str((await call.code()).name)


async def ends(server: RunningServer, token: str) -> set[str]:
    """Return the statuses of calls of every kind by both clients, none of which has a deadline."""
    calls = [end_async(server, kind, token) for kind in KINDS]
    with ThreadPoolExecutor(len(KINDS)) as pool:
        loop = asyncio.get_running_loop()
        calls += [loop.run_in_executor(pool, end, server, kind, token) for kind in KINDS]  # type: ignore[misc]
        async with asyncio.timeout(PATIENCE_SECONDS):
            return set(await asyncio.gather(*calls))


def fails_with(error: BaseException) -> Callable[[], Any]:
    async def fail() -> None:
        raise error

    return fail


def break_calls(monkeypatch: pytest.MonkeyPatch, fail: Callable[[], Any]) -> None:
    """Let something happen in each call where it would read or write, and not in what the server does by itself."""
    for name in ("read", "run_idempotent"):
        monkeypatch.setattr(RequestUnitOfWork, name, _failing(getattr(RequestUnitOfWork, name), fail))


def _failing(whole: Callable[..., Any], fail: Callable[[], Any]) -> Callable[..., Any]:
    async def broken_off(*args: Any, **options: Any) -> Any:
        return await (fail() if log_context.current() else whole(*args, **options))

    return broken_off


OBSERVERS: dict[str, tuple[Any, str]] = {
    "call log": (access_log.CallLog, "begin"),
    "line of the call log": (access_log, "_log"),
    "name of a call": (log_context, "current"),
    "facts": (log_context, "begin"),
    "metrics": (grpc_metrics.CallMetrics, "begin"),
    "counter": (prometheus_client.Counter, "inc"),
    "histogram": (prometheus_client.Histogram, "observe"),
    "gauge": (prometheus_client.Gauge, "dec"),
    "telemetry": (telemetry.Telemetry, "begin"),
    "end of telemetry": (telemetry, "_end"),
    "start of a span": (BatchSpanProcessor, "on_start"),
    "end of a span": (BatchSpanProcessor, "on_end"),
    "exporter of spans": (OTLPSpanExporter, "export"),
    "exporter of metrics": (OTLPMetricExporter, "export"),
    "filter": (logs.WithContext, "filter"),
    "formatter": (logs.JsonLines, "format"),
    "redaction": (logs, "redact"),
    "handler": (logs.Lines, "emit"),
    "stream of the log": (io.StringIO, "write"),
}


@pytest.mark.parametrize("what", OBSERVERS)
async def test_what_only_observes_changes_no_call(
    server: RunningServer, token: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    place, name = OBSERVERS[what]
    if place is io.StringIO:
        (handler,) = logging.getLogger("modelward_server").handlers
        monkeypatch.setattr(handler, "stream", type("Full", (), {"write": broken, "flush": broken})())
    else:
        monkeypatch.setattr(place, name, broken)
    assert await ends(server, token) == {"NOT_FOUND"}
    monkeypatch.undo()
    assert await ends(server, token) == {"NOT_FOUND"}


async def test_a_tracer_that_fails_changes_no_call(
    server: RunningServer, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_tracer", object())
    assert await ends(server, token) == {"NOT_FOUND"}


async def test_opentelemetry_that_another_thread_imports_changes_no_call(
    server: RunningServer, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", ModuleType("opentelemetry.trace"))
    break_calls(monkeypatch, fails_with(BrokenError()))
    assert await ends(server, token) == {"INTERNAL"}
    with Client(server.target, token=token) as client, pytest.raises(errors.UnexpectedError, match="incident"):
        client.get_model("none")


INTERCEPTORS: dict[str, tuple[Any, str]] = {
    "errors": (Errors, "run"),
    "auth": (Auth, "run"),
    "limits": (ClientLimits, "run"),
    "validation": (Validation, "run"),
    "deadlines": (Deadlines, "run"),
    "encoding of errors": (statuses, "encode"),
    "note of an actor": (log_context, "note"),
}


@pytest.mark.parametrize("what", INTERCEPTORS)
async def test_an_interceptor_that_fails_ends_the_call_with_a_status(
    server: RunningServer, token: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(*INTERCEPTORS[what], broken)
    assert await ends(server, token) == {"INTERNAL"}
    monkeypatch.undo()
    assert await ends(server, token) == {"NOT_FOUND"}


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def waits_for_something_cancelled() -> None:
    other = asyncio.get_running_loop().create_future()
    other.cancel()
    await other


FAILURES: dict[str, tuple[Callable[[], Any], str]] = {
    "unforeseen": (fails_with(BrokenError()), "INTERNAL"),
    "cancelled": (fails_with(asyncio.CancelledError()), "INTERNAL"),
    "waits for something cancelled": (waits_for_something_cancelled, "INTERNAL"),
    "cancels itself": (cancels_itself, "CANCELLED"),
    "panic": (fails_with(Panic()), "INTERNAL"),
    "exit": (fails_with(SystemExit(1)), "INTERNAL"),
    "interrupt": (fails_with(KeyboardInterrupt()), "INTERNAL"),
    "no memory": (fails_with(MemoryError()), "RESOURCE_EXHAUSTED"),
    "recursion": (fails_with(RecursionError()), "INTERNAL"),
    "odd text": (fails_with(errors.ModelNotFound(f"there is no {ODD_NAME}", model=ODD_NAME)), "NOT_FOUND"),
    "long text": (fails_with(errors.ModelNotFound("x" * 1_000_000)), "NOT_FOUND"),
}


@pytest.mark.parametrize("what", FAILURES)
async def test_whatever_a_call_raises_is_a_status(
    server: RunningServer, token: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    fail, status = FAILURES[what]
    break_calls(monkeypatch, fail)
    assert await ends(server, token) == {status}
    monkeypatch.undo()
    assert await ends(server, token) == {"NOT_FOUND"}


def raise_stop_iteration(*_: object) -> None:
    next(iter(()))


async def test_an_iterator_that_ends_in_a_thread_ends_the_call_too(
    server: RunningServer, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "get_model", raise_stop_iteration)
    async with AsyncClient(server.target, token=token, timeout=PATIENCE_SECONDS) as client:
        with pytest.raises(errors.UnexpectedError, match="incident"):
            await client.get_model("none")


def test_services_that_are_not_ours_end_with_a_status_too(
    server: RunningServer, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cancelled(dict[str, int]):
        def get(self, *_: object) -> Any:
            raise asyncio.CancelledError

    monkeypatch.setattr(server.app._health, "_states", Cancelled({"": 1}))
    monkeypatch.setattr(reflection.ReflectionServicer, "_list_services", broken)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    with grpc.insecure_channel(server.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        services: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        metadata = (("authorization", f"Bearer {token}"),)
        for call in (
            lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS),
            lambda: list(health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)),
            lambda: list(services.ServerReflectionInfo(iter([asked]), timeout=PATIENCE_SECONDS, metadata=metadata)),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.INTERNAL
            assert "incident" in str(error_of(caught.value))
        monkeypatch.undo()
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING


async def test_a_change_that_was_committed_is_no_failure_for_what_is_told_of_it(
    server: RunningServer, token: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(server.app.mirror, "wake", broken)  # The first that `on_write` tells.
    monkeypatch.setattr(audit_logging, "log", object())
    with Client(server.target, token=token) as client:
        assert client.create_model(name).name == name
    async with AsyncClient(server.target, token=token) as other:
        assert (await other.request_retraining(name)).model == name
        monkeypatch.undo()
        assert (await other.get_model(name)).name == name


def test_a_line_that_cannot_be_written_is_told_without_what_it_held(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    handler = logs.handler("json", stream)
    monkeypatch.setattr(logs, "redact", broken)
    handler.handle(logging.makeLogRecord({"name": "modelward_server.x", "msg": "password=%s", "args": ("hush",)}))
    assert "hush" not in stream.getvalue()
    assert "a line of the log failed with BrokenError" in stream.getvalue()
