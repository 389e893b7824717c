"""Traces and metrics, as a collector receives them from a real server and a client that uses OpenTelemetry."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from modelward import Client
from modelward.errors import ModelNotFound
from tests.support.forked_server import ForkedServer

pytestmark = pytest.mark.system


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP and keeps what it says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taker)
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}
        self.resource: dict[str, str] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes) -> None:
        kind: Any = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}[path]
        told: Any = kind.FromString(body)
        for part in told.resource_spans if path == "/v1/traces" else told.resource_metrics:
            self.resource |= {one.key: one.value.string_value for one in part.resource.attributes}
            for scope in part.scope_spans if path == "/v1/traces" else part.scope_metrics:
                self.spans += scope.spans if path == "/v1/traces" else []
                self.metrics |= {} if path == "/v1/traces" else {metric.name: metric for metric in scope.metrics}


class Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


@pytest.fixture(scope="module")
def called() -> Iterator[InMemorySpanExporter]:
    """The spans of this process, which uses OpenTelemetry as an application does."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    exporter.shutdown()  # It takes no more; the provider itself stays for as long as the process.


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory, called: InMemorySpanExporter) -> Collector:
    """What a collector has when a server has served a little and stopped."""
    folder, collector = tmp_path_factory.mktemp("telemetry"), Collector()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}", "MODELWARD_GRACE_SECONDS": "1"}
    server = ForkedServer(folder / "data", folder / "log", env=env)
    rows = {"x": np.arange(100.0)}
    with Client(server.target) as client:
        version = client.register("spx", "README.md", reference=rows)
        client.promote(version, to="staging")
        client.detect_drift(version, rows)
        with pytest.raises(ModelNotFound):
            client.get_model("ndx")
    assert server.stop() == 0
    assert "Traceback" not in Path(folder / "log").read_text()
    collector.shutdown()
    collector.server_close()
    return collector


def test_each_call_is_a_span_with_its_work_below(collected: Collector) -> None:
    by_id = {span.span_id: span for span in collected.spans}
    named = {span.name: span for span in collected.spans}
    drift = named["modelward.v1.DriftService/DetectDrift"]
    assert attributes(drift) == {
        "rpc.system.name": "grpc",
        "rpc.method": "modelward.v1.DriftService/DetectDrift",
        "rpc.response.status_code": "OK",
    }
    below = {span.name for span in collected.spans if by_id.get(span.parent_span_id) is drift}
    assert {"detect drift", "ledger read", "ledger write"} <= below
    assert collected.resource["service.name"] == "modelward"


def test_a_refusal_is_an_answer_and_no_fault(collected: Collector) -> None:
    refused = next(span for span in collected.spans if attributes(span).get("rpc.response.status_code") == "NOT_FOUND")
    assert refused.name == "modelward.v1.LifecycleService/GetModel"
    assert refused.status.code == 0


def test_the_trace_of_a_client_goes_on_in_the_server(collected: Collector, called: InMemorySpanExporter) -> None:
    sent = {format(span.context.span_id, "016x"): span for span in called.get_finished_spans() if span.context}
    (moved,) = (span for span in collected.spans if span.name.endswith("/TransitionModelVersion"))
    calling = sent[moved.parent_span_id.hex()]
    assert calling.name == moved.name
    assert calling.context is not None
    assert format(calling.context.trace_id, "032x") == moved.trace_id.hex()


def test_durations_and_what_the_ledger_says_are_metrics(collected: Collector) -> None:
    points = collected.metrics["rpc.server.call.duration"].histogram.data_points
    counted = {attributes(point)["rpc.method"]: point.count for point in points}
    assert counted["modelward.v1.LifecycleService/TransitionModelVersion"] == 1
    (up,) = collected.metrics["modelward_database_up"].gauge.data_points
    assert up.as_double or up.as_int
