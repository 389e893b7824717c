"""Traces and metrics for an OpenTelemetry collector, by OpenTelemetry's own environment variables.

They go where `OTEL_EXPORTER_OTLP_ENDPOINT` says, over HTTP. Names are those of its semantic conventions for RPC.
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
from modelward_server.interceptors.instruments import Instrument
from modelward_server.observability.background_metrics import BackgroundMetrics
from modelward_server.observability.ledger_metrics import LedgerMetrics
from modelward_server.observability.runtime_metrics import RuntimeMetrics
from modelward_server.runtime import tracing

OURS = "modelward"
FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""The statuses that are a server's errors; the others are its answers."""
READ_SECONDS = 1.0
"""How long what the ledger said is told again."""
FLUSH_MS = 3_000
"""How long a stop waits until the last spans are sent."""


class Telemetry(Instrument):
    """Sends a span and a duration for each call of our services, and now and then what the collectors tell."""

    def __init__(self, *collectors: LedgerMetrics | BackgroundMetrics | RuntimeMetrics) -> None:
        resource = Resource.create(_described())
        self._traces = TracerProvider(resource=resource)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._metrics = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource)
        self._tracer = self._traces.get_tracer(OURS)
        # Each gauge asks for itself; they are all told what was read once.
        self._read = ttl_cache(1, READ_SECONDS)(lambda: [one for many in collectors for one in many.collect()])
        meter = self._metrics.get_meter(OURS)
        self._seconds = meter.create_histogram("rpc.server.call.duration", "s", "How long calls took.")
        for name in (name for collector in collectors for name in collector.NAMES):
            meter.create_observable_gauge(name, [self._observing(name)])
        tracing.begin(self._tracer)

    def _observing(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for metric in self._read():
                if metric.name == name:
                    yield from (Observation(sample.value, sample.labels) for sample in metric.samples)

        return observe

    def begin(self, call: Call) -> Callable[[str, float], None]:
        name = call.method.lstrip("/")
        named = {"rpc.system.name": "grpc", "rpc.method": name}
        sent: dict[str, Any] = dict(call.context.invocation_metadata() or ())
        span = self._tracer.start_span(name, extract(sent), SpanKind.SERVER, named)
        token = context.attach(trace.set_span_in_context(span))

        def end(code: str, seconds: float) -> None:
            context.detach(token)
            _end(span, code)
            self._seconds.record(seconds, named | {"rpc.response.status_code": code})

        return end

    def close(self) -> None:
        """Send what is left."""
        tracing.begin(None)
        self._traces.force_flush(FLUSH_MS)
        self._traces.shutdown()
        self._metrics.shutdown(FLUSH_MS)


def _described() -> dict[str, str]:
    """Describe this server, where `OTEL_SERVICE_NAME` does not do so."""
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: OURS}
    return named | {SERVICE_VERSION: importlib.metadata.version(OURS)}


def _end(span: Span, code: str) -> None:
    span.set_attribute("rpc.response.status_code", code)
    if code in FAULTS:
        span.set_status(Status(StatusCode.ERROR))
    span.end()
