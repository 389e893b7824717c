"""Prometheus metrics of every call, under the names that gRPC's Prometheus libraries share, for existing dashboards."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from modelward_server.interceptors.base import Call
from modelward_server.interceptors.call_observer import CallObserver

LABELS = ("grpc_service", "grpc_method")
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class CallMetrics(CallObserver):
    """Counts and times the calls of our services.

    Args:
        registry: registry of the metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._handled = Counter(
            "grpc_server_handled", "Calls that have ended, by status.", (*LABELS, "grpc_code"), registry=registry
        )
        self._seconds = Histogram(
            "grpc_server_handling_seconds", "How long calls took.", LABELS, registry=registry, buckets=SECONDS
        )
        self._open = Gauge("modelward_calls_open", "Calls under way, watches too.", LABELS, registry=registry)

    def begin(self, call: Call) -> Callable[[str, float], None]:
        service, _, method = call.method.lstrip("/").partition("/")
        opened = self._open.labels(service, method)
        opened.inc()

        def end(code: str, seconds: float) -> None:
            opened.dec()
            self._seconds.labels(service, method).observe(seconds)
            self._handled.labels(service, method, code).inc()

        return end
