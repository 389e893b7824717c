"""How the server logs: lines for people or one JSON object a line, with the facts of the call, without secrets."""

import json
import logging
import sys
from contextlib import suppress
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

from modelward_server.observability import log_context
from modelward_server.observability.redaction import redact

CALLS = "modelward_server.interceptors.access_log"
TOLD_OF = ("modelward_server.storage.audit_logging", CALLS)
"""What is logged from INFO on; all else from WARNING on."""


class TextFormatter(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging names it
        request_id = getattr(record, "request_id", "")
        return super().formatMessage(record) + (f" (request {request_id})" if request_id else "")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class JsonLines(JsonFormatter):
    """A JSON object with the line's time in UTC, level, logger and message, and whatever else is known."""

    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
        super().__init__("%(levelname)s %(name)s %(message)s", rename_fields=names, timestamp="time")

    def jsonify_log_record(self, log_data: Any) -> str:
        return redact(super().jsonify_log_record(log_data))


class WithFacts(logging.Filter):
    """Adds to each line what is known of the call that it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.__dict__.update(log_context.current())
        with suppress(Exception):  # A module that another thread is importing is there, and has nothing in it yet.
            if trace_id := _trace_id():
                record.__dict__["trace_id"] = trace_id
        return True


class Lines(logging.StreamHandler[TextIO]):
    """Writes lines. One that cannot be written fails nobody's call; its content may be a secret and is not shown."""

    def handle(self, record: logging.LogRecord) -> bool:
        try:
            return super().handle(record)
        except Exception:
            self.handleError(record)
            return False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging names it
        with suppress(Exception):
            failure = getattr(sys.exc_info()[0], "__name__", "nothing")
            said = {"level": "ERROR", "logger": record.name, "message": f"a line of the log failed with {failure}"}
            self.stream.write(json.dumps(said) + "\n")


def handler(log_format: str, stream: TextIO) -> logging.Handler:
    """Return what writes log lines to a stream, as `text` or as `json`."""
    made = Lines(stream)
    made.setFormatter(JsonLines() if log_format == "json" else TextFormatter())
    made.addFilter(WithFacts())
    return made


def configure(log_format: str) -> None:
    """Send every log line of the process to stderr, as `text` or as `json`."""
    logging.basicConfig(level=logging.WARNING, handlers=[handler(log_format, sys.stderr)], force=True)
    logging.captureWarnings(True)
    for name in TOLD_OF:
        logging.getLogger(name).setLevel(logging.INFO)


def _trace_id() -> str:
    """Return the id of OpenTelemetry's current trace; empty without one, and where nothing uses OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    found = trace.get_current_span().get_span_context() if trace else None
    return format(found.trace_id, "032x") if found and found.is_valid else ""
