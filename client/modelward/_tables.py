"""Rows of results as a pandas frame, or as an HTML table for notebooks."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from html import escape
from typing import TYPE_CHECKING, Any

from modelward._record import Record, brief, shortened
from modelward._text import one_line
from modelward.lifecycle import ModelVersion, VersionRef

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 20
MAX_COLUMNS = 8
MAX_CELL = 80
"""Maximum length of a cell, in characters."""


def to_frame(rows: Sequence[Any]) -> "pd.DataFrame":
    """Return rows as a frame; see `TableRecord.to_pandas`.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise ImportError("to_pandas() needs pandas: pip install 'modelward[pandas]'") from None
    flat = [dict(flattened(row)) for row in rows]
    return pd.DataFrame(flat, columns=_columns(flat))


def to_html(title: str, rows: Sequence[Any], columns: Sequence[str] = (), *, more: str = "") -> str:
    """Return a title and the first rows as HTML, with all text escaped and without colours of its own.

    Args:
        columns: the columns to show, where a row has them; empty for the first ones with a plain value.
        more: a note about rows beyond `rows`.
    """
    flat = [dict(flattened(row)) for row in rows[:MAX_ROWS]]
    plain = _plain_columns(flat)
    shown = [name for name in columns if any(name in row for row in flat)] or plain[:MAX_COLUMNS]
    body = "".join(f"<tr>{''.join(f'<td>{_cell(row.get(name))}</td>' for name in shown)}</tr>" for row in flat)
    head = "".join(f"<th>{escape(name)}</th>" for name in shown)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if flat else ""
    left_out = [f"to_pandas() has all {len(plain)} columns" if len(plain) > len(shown) else ""]
    left_out += [more or (f"{len(rows) - MAX_ROWS:,} more" if len(rows) > MAX_ROWS else "")]
    notes = "".join(f"<p>… {escape(note)}</p>" for note in left_out if note)
    return f"<div><p>{escape(one_line(title))}</p>{table}{notes}</div>"


def flattened(row: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the columns of a record or mapping; nested ones as `outer.inner`, versions and enumerations as text."""
    fields = row if isinstance(row, Mapping) else {one.name: getattr(row, one.name) for one in dataclasses.fields(row)}
    for name, value in fields.items():
        if isinstance(value, VersionRef | ModelVersion):
            yield f"{prefix}{name}", str(value)
        elif isinstance(value, Mapping | Record):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value.value if isinstance(value, Enum) else value


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _plain_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns with a plain value somewhere; those of nested fields come last."""
    plain = (name for name in _columns(rows) if any(_is_plain(row.get(name)) for row in rows))
    return sorted(plain, key=lambda name: "." in name)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | datetime | timedelta) and value != ""


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else brief(value)
    return escape(one_line(shortened(text, MAX_CELL)))
