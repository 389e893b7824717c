"""Context of a call's log lines: started with the call, and extended as more is known."""

from collections.abc import Mapping
from contextvars import ContextVar

_context: ContextVar[dict[str, str] | None] = ContextVar("log_context", default=None)


def begin(**fields: str) -> Mapping[str, str]:
    """Start the context of a call and return it; fields that are noted later appear in it."""
    _context.set(fields)
    return fields


def note(**fields: str) -> None:
    """Add fields to the context of the current call; without effect outside of one, or where calls are not logged."""
    if (context := _context.get()) is not None:
        context.update(fields)


def current() -> Mapping[str, str]:
    """Return the context of the current call; empty outside of one."""
    return _context.get() or {}
