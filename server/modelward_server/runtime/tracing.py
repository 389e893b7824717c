"""What a call spends its time on, as spans of a trace; nothing at all where nobody takes traces."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from modelward_server.runtime.best_effort import Harmless

if TYPE_CHECKING:  # It is imported where traces are switched on.
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")

_tracer: Tracer | None = None


def begin(tracer: Tracer | None) -> None:
    """Let spans go to a tracer from here on; None: nowhere."""
    global _tracer  # noqa: PLW0603 - one for the process, as logging has
    _tracer = tracer


def span(name: str, **attributes: str | int) -> AbstractContextManager[object]:
    """Return what a piece of work is to run in.

    Args:
        attributes: what it is about; none of them may be a secret.
    """
    tracer = _tracer
    if tracer is None:
        return nullcontext()
    named = {f"modelward.{key}": value for key, value in attributes.items()}
    return Harmless(lambda: tracer.start_as_current_span(name, attributes=named))


def is_wanted() -> bool:
    """Whether the environment says where telemetry goes."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not off and any(os.environ.get(name) for name in ENDPOINTS)
