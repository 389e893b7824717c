"""What every log line of one call says of it: begun with the call, and added to where more is known."""

from collections.abc import Mapping
from contextvars import ContextVar

_facts: ContextVar[dict[str, str] | None] = ContextVar("facts", default=None)


def begin(**known: str) -> Mapping[str, str]:
    """Begin the facts of a call and return them; what is noted later is seen in them."""
    _facts.set(known)
    return known


def note(**more: str) -> None:
    """Add to the facts of the call at hand; outside of one, or where calls are not logged, nothing happens."""
    if (known := _facts.get()) is not None:
        known.update(more)


def current() -> Mapping[str, str]:
    """Return the facts of the call at hand; none outside of one."""
    return _facts.get() or {}
