"""The argument `regimes`: named ranges of times, and sessions beside closures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from modelward._argument_types import as_text, dataclass_type
from modelward.errors import FieldViolation, InvalidField
from modelward.segments import ClosureSessions, Regime, Segments, TimeRange

FIX = "give a pair (first, last) of dates, times or integers, a TimeRange or a ClosureSessions"


def as_segments(column: str, regimes: Mapping[str, Any] | None) -> Segments | None:
    """Return the segments that arguments describe; None without any.

    Raises:
        InvalidField: `regimes` is not a mapping of names to regimes.
    """
    if not column and not regimes:
        return None
    if regimes is not None and not isinstance(regimes, Mapping):
        raise InvalidField(FieldViolation("regimes", f"is {regimes!r:.40}; map a name to each regime"))
    return Segments(column, {str(name): as_regime(one, f"regimes[{name!r}]") for name, one in (regimes or {}).items()})


def as_regime(given: Any, field: str = "regime") -> Regime:
    """Return a regime, of which a pair is a range of times.

    Raises:
        InvalidField: it is neither; the error names the field.
    """
    if isinstance(given, ClosureSessions):
        sessions: ClosureSessions = dataclass_type(ClosureSessions).convert(given, field)
        return sessions
    if isinstance(given, TimeRange):
        given = (given.first, given.last)
    if isinstance(given, str) or not isinstance(given, tuple | list) or len(given) != 2:
        raise InvalidField(FieldViolation(field, f"is {given!r:.60}; {FIX}"))
    return TimeRange(*(_text(end, field) for end in given))


def _text(end: Any, field: str) -> str:
    if end is None:
        return ""
    if isinstance(end, datetime):
        return (end.astimezone(UTC).replace(tzinfo=None) if end.tzinfo else end).isoformat()
    if isinstance(end, date):
        return end.isoformat()
    if isinstance(end, str):
        return as_text(end, field)
    if (isinstance(end, int) and not isinstance(end, bool)) or type(end).__name__ in {"datetime64", "int64"}:
        return str(end)
    raise InvalidField(FieldViolation(field, f"has an end {end!r:.40}; {FIX}"))
