"""Spans of calls, and the trace that a server goes on with, for applications that use OpenTelemetry; else nothing."""

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message


def call_span(request: Message) -> AbstractContextManager[object]:
    """Return what one logical call, with all its attempts, is to run in.

    The names are those of OpenTelemetry's semantic conventions for RPC.
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
    """Return the metadata that say which trace a call belongs to, as W3C's `traceparent`."""
    if _loaded() is None:
        return ()
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())


def _loaded() -> Any:
    """Return OpenTelemetry if the application has imported it, and to its end; it is not for a client to do so."""
    trace = sys.modules.get("opentelemetry.trace")
    return trace if hasattr(trace, "use_span") else None  # What its module defines last.


@cache
def _method(request: Descriptor) -> str:
    """Name the call that takes requests of a type: each call of the contract has a type of its own."""
    services = request.file.services_by_name.values()
    methods = (method for service in services for method in service.methods if method.input_type == request)
    found = next(methods)
    return f"{found.containing_service.full_name}/{found.name}"
