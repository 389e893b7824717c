"""Spans within a call for OpenTelemetry; without a tracer they cost nothing."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from modelward_server.runtime.best_effort import BestEffort

if TYPE_CHECKING:  # Imported at run time only where tracing is enabled.
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")

_tracer: Tracer | None = None


def set_tracer(tracer: Tracer | None) -> None:
    """Set the tracer that receives the process's spans from here on; None disables them."""
    global _tracer  # noqa: PLW0603 - one for the process, as logging has
    _tracer = tracer


def span(name: str, **attributes: str | int) -> AbstractContextManager[object]:
    """Return a context manager that records a span around a piece of work.

    Args:
        attributes: attributes of the span; none may be a secret.
    """
    tracer = _tracer
    if tracer is None:
        return nullcontext()
    named = {f"modelward.{key}": value for key, value in attributes.items()}
    return BestEffort(lambda: tracer.start_as_current_span(name, attributes=named))


def is_enabled() -> bool:
    """Whether the environment names an endpoint for telemetry, and does not disable it."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not off and any(os.environ.get(name) for name in ENDPOINTS)
