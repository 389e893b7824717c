"""Row ids as text, by one rule wherever rows are joined by their ids.

Text is unchanged. A whole number becomes its digits, whether it comes as 7, as 7.0 or as "7", because a column of whole
numbers becomes one of floats as soon as a value is missing. UUIDs and times become their standard text (ISO 8601), a
time in UTC, a date as its midnight, as in table columns, which have neither time zones nor dates. A missing or empty
id, a fraction, a boolean and any other value is rejected: rows without an id of their own must never be joined with
each other.
"""

import operator
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from modelward._text import has_surrogate
from modelward.errors import FieldViolation, InvalidField

MAX_EXACT_FLOAT = 1 << 53
"""Above this a float cannot distinguish consecutive whole numbers."""
ABSENT = {"NoneType", "NAType", "NaTType", "MaskedConstant"}
"""Types whose only value is a missing one, by name, so that their libraries need not be imported."""

BOOLEANS = {"bool", "bool_"}
"""Python's, and numpy's by the names that it has in numpy 2 and 1, where it is also an index."""


def plain(value: Any) -> Any:
    """Return an Arrow scalar as a Python value, and any other value unchanged."""
    return value.as_py() if hasattr(value, "as_py") else value


def is_absent(value: object) -> bool:
    """Return whether a value is None, or its equivalent of pandas or masked arrays."""
    return value is None or type(value).__name__ in ABSENT


def is_missing(value: object) -> bool:
    """Return whether a value is absent, NaN or NaT."""
    return is_absent(value) or ((isinstance(value, float) or type(value).__name__ == "datetime64") and value != value)  # noqa: PLR0124


def id_texts(ids: Iterable[object], field: str = "ids") -> list[str]:
    """Return ids as text.

    Raises:
        InvalidField: an id is missing or invalid.
    """
    return [
        one if type(one) is str and one and one.isascii() else id_text(one, f"{field}[{row}]")
        for row, one in enumerate(ids)
    ]


def id_text(value: Any, field: str) -> str:
    """Return one id as text.

    Raises:
        InvalidField: it is missing or invalid.
    """
    value = plain(value)
    if is_missing(value):
        raise InvalidField(FieldViolation(field, "is missing; give every row its own id, or leave the row out"))
    text = _text(value)
    if text and has_surrogate(text):
        raise InvalidField(FieldViolation(field, f"is {value!r}, which cannot be encoded as UTF-8"))
    if not text:
        fix = "give text or a whole number, a float only below 2**53" if text is None else "give at least one character"
        shown = value.item() if getattr(value, "shape", None) == () else value
        raise InvalidField(FieldViolation(field, f"is {shown!r}, which is not an id; {fix}"))
    return text


def _text(value: Any) -> str | None:
    """Return the text of an id; None for a value that cannot be an id."""
    if isinstance(value, str | UUID):
        return str(value)
    if isinstance(value, date):
        return _iso(value)
    if type(value).__name__ == "datetime64":
        return _numpy_iso(value)
    if isinstance(value, float | Decimal) or type(value).__name__ in {"float32", "float16"}:
        return _whole(float(value))
    try:
        return None if type(value).__name__ in BOOLEANS else str(operator.index(value))
    except TypeError:
        return None


def _whole(value: float) -> str | None:
    return str(int(value)) if value.is_integer() and abs(value) < MAX_EXACT_FLOAT else None


def _iso(value: date) -> str | None:
    """Format a time in UTC; one without a zone is in UTC, a date is its midnight, as in table columns."""
    if not isinstance(value, datetime):
        value = datetime.combine(value, time.min)
    try:
        return (value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value).isoformat()
    except OverflowError:  # Outside the years 1 to 9999 in UTC.
        return None


def _numpy_iso(value: Any) -> str | None:
    """Format a numpy time as `datetime.isoformat` does, with nanoseconds where it has some."""
    micros = value.astype("datetime64[us]")
    nanos = int((value - micros).astype("timedelta64[ns]").astype(int))
    instant = micros.item()
    if not isinstance(instant, datetime):  # Outside the years 1 to 9999.
        return None
    return f"{instant.isoformat(timespec='microseconds')}{nanos:03}" if nanos else instant.isoformat()
