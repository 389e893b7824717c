"""Traces and metrics for an OpenTelemetry collector, configured by OpenTelemetry's own environment variables.

They are sent to `OTEL_EXPORTER_OTLP_ENDPOINT` over HTTP. Names follow its semantic conventions for RPC.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cachetools.func import ttl_cache
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.propagate import extract
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from modelward_server.interceptors.base import Call
from modelward_server.interceptors.call_observer import CallObserver
from modelward_server.observability.background_metrics import BackgroundMetrics
from modelward_server.observability.ledger_metrics import LedgerMetrics
from modelward_server.observability.runtime_metrics import RuntimeMetrics
from modelward_server.runtime import tracing

SERVICE = "modelward"
FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""The statuses that count as errors of the server; the others are valid responses."""
READ_SECONDS = 1.0
"""How long values read from the ledger are reused."""
FLUSH_MS = 3_000
"""Maximum time that a stop waits for the last spans to be sent."""


class Telemetry(CallObserver):
    """Sends a span and a duration for each call of our services, and periodically the values of the collectors."""

    def __init__(self, *collectors: LedgerMetrics | BackgroundMetrics | RuntimeMetrics) -> None:
        resource = Resource.create(_resource_attributes())
        self._traces = TracerProvider(resource=resource)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._metrics = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource)
        self._tracer = self._traces.get_tracer(SERVICE)
        # Each gauge has its own callback; all share one reading.
        self._read = ttl_cache(1, READ_SECONDS)(lambda: [one for many in collectors for one in many.collect()])
        meter = self._metrics.get_meter(SERVICE)
        self._seconds = meter.create_histogram("rpc.server.call.duration", "s", "How long calls took.")
        for name in (name for collector in collectors for name in collector.NAMES):
            meter.create_observable_gauge(name, [self._callback(name)])
        tracing.set_tracer(self._tracer)

    def _callback(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for metric in self._read():
                if metric.name == name:
                    yield from (Observation(sample.value, sample.labels) for sample in metric.samples)

        return observe

    def begin(self, call: Call) -> Callable[[str, float], None]:
        name = call.method.lstrip("/")
        attributes = {"rpc.system.name": "grpc", "rpc.method": name}
        metadata: dict[str, Any] = dict(call.context.invocation_metadata() or ())
        span = self._tracer.start_span(name, extract(metadata), SpanKind.SERVER, attributes)
        token = context.attach(trace.set_span_in_context(span))

        def end(code: str, seconds: float) -> None:
            context.detach(token)
            _end(span, code)
            self._seconds.record(seconds, attributes | {"rpc.response.status_code": code})

        return end

    def close(self) -> None:
        """Send the remaining spans and metrics, and stop."""
        tracing.set_tracer(None)
        self._traces.force_flush(FLUSH_MS)
        self._traces.shutdown()
        self._metrics.shutdown(FLUSH_MS)


def _resource_attributes() -> dict[str, str]:
    """Return the attributes that describe this server; `OTEL_SERVICE_NAME` takes precedence for its name."""
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: SERVICE}
    return named | {SERVICE_VERSION: importlib.metadata.version(SERVICE)}


def _end(span: Span, code: str) -> None:
    span.set_attribute("rpc.response.status_code", code)
    if code in FAULTS:
        span.set_status(Status(StatusCode.ERROR))
    span.end()
