"""Call spans and trace propagation for applications that use OpenTelemetry; without it, no-ops."""

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message


def call_span(request: Message) -> AbstractContextManager[object]:
    """Return the context of one logical call, with all of its attempts.

    The names follow OpenTelemetry's semantic conventions for RPC.
    """
    trace = _loaded()
    if trace is None:
        return nullcontext()
    method = _method(request.DESCRIPTOR)
    attributes = {"rpc.system.name": "grpc", "rpc.method": method}
    span: AbstractContextManager[object] = trace.get_tracer("modelward").start_as_current_span(
        method, kind=trace.SpanKind.CLIENT, attributes=attributes
    )
    return span


def trace_headers() -> tuple[tuple[str, str], ...]:
    """Return the metadata that propagate the trace of a call, in W3C `traceparent` form."""
    if _loaded() is None:
        return ()
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())


def _loaded() -> Any:
    """Return OpenTelemetry if the application has completely imported it; a client must not import it by itself."""
    trace = sys.modules.get("opentelemetry.trace")
    return trace if hasattr(trace, "use_span") else None  # The last name that its module defines.


@cache
def _method(request: Descriptor) -> str:
    """Name the call by its request type, which is method in the contract."""
    services = request.file.services_by_name.values()
    methods = (method for service in services for method in service.methods if method.input_type == request)
    method = next(methods)
    return f"{method.containing_service.full_name}/{method.name}"
