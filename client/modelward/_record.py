"""What all results have in common: a repr of a line or two, and conversions to JSON, pandas and HTML."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from modelward._text import one_line
from modelward.shared.json_values import to_json

if TYPE_CHECKING:
    import pandas as pd

MAX_REPR = 180
"""Maximum length of a description, in characters."""
MAX_TEXT = 60
"""Maximum length of one text within it."""
MAX_SHOWN = 3
"""Maximum number of items for which a collection is shown in full."""


class Record:
    """The base class of results.

    A repr names what identifies the result, and what it says; long collections are counted, and fields that are empty
    or have their default are left out. All fields remain attributes.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shortened(one_line(self._describe()), MAX_REPR)})"

    def _describe(self) -> str:
        """Return the repr's content; by default every field that has something to say."""
        return ", ".join(f"{field.name}={brief(getattr(self, field.name))}" for field in _telling(self))

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values, nested results included: `json.dumps` accepts it with `allow_nan=False`.

        Returns:
            Times are ISO 8601 text with their offset from UTC, durations seconds, enumerations their values. NaN and
            infinities are None.
        """
        converted: dict[str, Any] = to_json(self)
        return converted


class TableRecord(Record):
    """A result with rows, which are a table in pandas and in notebooks."""

    _html_columns: ClassVar[Sequence[str]] = ()
    """The columns shown in notebooks; empty for the first ones with a plain value."""

    def _rows(self) -> Sequence[Any]:
        """Return the rows: records, or mappings of columns to values."""
        raise NotImplementedError

    def to_pandas(self) -> "pd.DataFrame":
        """Return the rows as a pandas frame, with one column for each field.

        Nested fields have names such as `metrics.accuracy`; enumerations and versions are text, times and durations are
        pandas' own, and NaN stays NaN.

        Returns:
            The frame, numbered from 0.

        Raises:
            ImportError: pandas is not installed; the extra `modelward[pandas]` installs it.
        """
        from modelward._tables import to_frame

        return to_frame(self._rows())

    def _repr_html_(self) -> str:
        """Return a table of the first rows for notebooks, in which all text is escaped."""
        from modelward._tables import to_html

        return to_html(repr(self), self._rows(), self._html_columns)


def quoted(text: object) -> str:
    """Quote a text for a repr, without control characters, shortened."""
    return shortened(repr(str(text)), MAX_TEXT)


def counted(number: int, noun: str) -> str:
    """Format a number of things, such as `1 row` or `1,200 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def sentence(*parts: str) -> str:
    """Join the parts of a description that are not empty."""
    return ", ".join(part for part in parts if part)


def shortened(text: str, length: int) -> str:
    """Shorten a text to a maximum length, in characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def brief(value: object) -> str:
    """Format a value in a few words; long collections by their size, arrays and bytes by their type."""
    if isinstance(value, Enum):
        return repr(value.value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, tuple | list | Mapping):
        return _brief_items(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return f"{value:.6g}" if isinstance(value, float) else _brief_object(value)


def _brief_object(value: object) -> str:
    if value is None or isinstance(value, int | timedelta | date):
        return str(value)
    return repr(value) if isinstance(value, Record) else f"<{type(value).__name__}>"


def _brief_items(items: Collection[object]) -> str:
    plain = all(isinstance(item, str | int | float) for item in items)
    if len(items) > MAX_SHOWN or not plain:
        return f"<{counted(len(items), 'item')}>"
    if isinstance(items, Mapping):
        return "{" + ", ".join(f"{brief(key)}: {brief(value)}" for key, value in items.items()) + "}"
    return f"[{', '.join(map(brief, items))}]"


def _telling(record: Any) -> list["dataclasses.Field[Any]"]:
    """Return the fields that are neither empty nor at their default."""
    return [field for field in dataclasses.fields(record) if _tells(getattr(record, field.name), field.default)]


def _tells(value: object, default: object) -> bool:
    if value is None or (isinstance(value, str | tuple | list | Mapping) and not value):
        return False
    return not isinstance(value, str | int | float | timedelta) or value != default
