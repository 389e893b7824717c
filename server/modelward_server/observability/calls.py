"""Counts and times every call, under the names that gRPC's Prometheus libraries share, so that known dashboards fit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator

LABELS = ("grpc_service", "grpc_method")
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class CallMetrics(aio.ServerInterceptor):
    """Measures calls.

    Args:
        registry: where the metrics are kept.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._handled = Counter(
            "grpc_server_handled", "Calls that have ended, by status.", (*LABELS, "grpc_code"), registry=registry
        )
        self._seconds = Histogram(
            "grpc_server_handling_seconds", "How long calls took.", LABELS, registry=registry, buckets=SECONDS
        )
        self._open = Gauge("modelward_calls_open", "Calls under way, watches too.", LABELS, registry=registry)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        service, _, method = handler_call_details.method.lstrip("/").partition("/")
        return self._measured(handler, (service, method))

    def _measured(self, handler: Any, names: tuple[str, str]) -> grpc.RpcMethodHandler[Any, Any]:
        streamed = "stream" if handler.request_streaming else "unary"
        answered = "stream" if handler.response_streaming else "unary"
        inner = getattr(handler, f"{streamed}_{answered}")
        behavior = self._stream(inner, names) if handler.response_streaming else self._single(inner, names)
        make = getattr(grpc, f"{streamed}_{answered}_rpc_method_handler")
        found: grpc.RpcMethodHandler[Any, Any] = make(
            behavior, handler.request_deserializer, handler.response_serializer
        )
        return found

    def _single(self, inner: Any, names: tuple[str, str]) -> Any:
        async def behavior(request: Any, context: Any) -> Any:
            with self._measure(names, context):
                return await inner(request, context)

        return behavior

    def _stream(self, inner: Any, names: tuple[str, str]) -> Any:
        async def behavior(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._measure(names, context):
                async for answer in inner(request, context):
                    yield answer

        return behavior

    @contextmanager
    def _measure(self, names: tuple[str, str], context: Any) -> Iterator[None]:
        begun, code = perf_counter(), grpc.StatusCode.CANCELLED.name
        self._open.labels(*names).inc()
        try:
            yield
            code = _name(context.code())
        except (aio.AbortError, Exception):
            code = _name(context.code())
            raise
        finally:
            self._open.labels(*names).dec()
            self._seconds.labels(*names).observe(perf_counter() - begun)
            self._handled.labels(*names, code).inc()


def _name(code: Any) -> str:
    """Return the name of a status, which gRPC gives as itself, as its number, or as nothing when all is well."""
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((known.name for known in grpc.StatusCode if known.value[0] == (code or 0)), "UNKNOWN")
