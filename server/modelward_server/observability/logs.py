"""Logging: text lines or one JSON object per line, with the context of the call, without secrets."""

import json
import logging
import sys
from contextlib import suppress
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

from modelward_server.observability import log_context
from modelward_server.observability.redaction import redact

CALLS = "modelward_server.interceptors.access_log"
INFO_LOGGERS = ("modelward_server.storage.audit_logging", CALLS)
"""Loggers whose level is INFO; that of all others is WARNING."""


class TextFormatter(logging.Formatter):
    """Formats a record as a text line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging names it
        request_id = getattr(record, "request_id", "")
        return super().formatMessage(record) + (f" (request {request_id})" if request_id else "")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class JsonLines(JsonFormatter):
    """Formats a record as a JSON object with its time in UTC, level, logger and message, and all further fields."""

    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
        super().__init__("%(levelname)s %(name)s %(message)s", rename_fields=names, timestamp="time")

    def jsonify_log_record(self, log_data: Any) -> str:
        return redact(super().jsonify_log_record(log_data))


class WithContext(logging.Filter):
    """Adds the context of the current call to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.__dict__.update(log_context.current())
        with suppress(Exception):  # A module that another thread is importing exists, but is still empty.
            if trace_id := _trace_id():
                record.__dict__["trace_id"] = trace_id
        return True


class Lines(logging.StreamHandler[TextIO]):
    """Writes lines. A failure fails no call, and is logged without the record, whose content may be a secret."""

    def handle(self, record: logging.LogRecord) -> bool:
        try:
            return super().handle(record)
        except Exception:
            self.handleError(record)
            return False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging names it
        with suppress(Exception):
            failure = getattr(sys.exc_info()[0], "__name__", "nothing")
            line = {"level": "ERROR", "logger": record.name, "message": f"a line of the log failed with {failure}"}
            self.stream.write(json.dumps(line) + "\n")


def handler(log_format: str, stream: TextIO) -> logging.Handler:
    """Return a handler that writes log lines to a stream, as `text` or as `json`."""
    lines = Lines(stream)
    lines.setFormatter(JsonLines() if log_format == "json" else TextFormatter())
    lines.addFilter(WithContext())
    return lines


def configure(log_format: str) -> None:
    """Send every log line of the process to stderr, as `text` or as `json`."""
    logging.basicConfig(level=logging.WARNING, handlers=[handler(log_format, sys.stderr)], force=True)
    logging.captureWarnings(True)
    for name in INFO_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)


def _trace_id() -> str:
    """Return the id of OpenTelemetry's current trace; empty without one, and where OpenTelemetry is not in use."""
    trace = sys.modules.get("opentelemetry.trace")
    span_context = trace.get_current_span().get_span_context() if trace else None
    return format(span_context.trace_id, "032x") if span_context and span_context.is_valid else ""
