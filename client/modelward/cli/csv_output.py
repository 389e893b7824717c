"""CSV as RFC 4180 describes it, for spreadsheets and programs."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from modelward.cli.cells import Cell
from modelward.shared.csv_cells import harmless
from modelward.shared.json_values import to_json


def print_csv(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows below a line with the names of the columns."""
    print_csv_row(column_names(headings))
    for row in rows:
        print_csv_row(csv_values(row))


def print_csv_row(row: Sequence[Any]) -> None:
    line = io.StringIO()
    csv.writer(line).writerow(row)
    click.echo(line.getvalue(), nl=False)


def print_csv_object(result: object) -> None:
    """Print a result as one row, with a column for each of its fields."""
    converted = to_json(result)
    fields = converted if isinstance(converted, dict) else {"result": converted}
    print_csv(list(fields), [list(fields.values())])


def column_names(headings: Sequence[str]) -> list[str]:
    """Return the names of columns: words joined by underscores, and a repeated one behind its predecessor."""
    names = ["_".join(heading.removesuffix(" (UTC)").split()) or "name" for heading in headings]
    twice = {name for name in names if names.count(name) > 1}
    return [f"{names[i - 1]}_{name}" if name in twice else name for i, name in enumerate(names)]


def csv_values(row: Sequence[Any]) -> list[Any]:
    """Return the cells of a row: exact numbers, times in UTC, nothing for None and NaN, JSON for what has parts."""
    return [_value(value) for value in row]


def _value(value: Any) -> Any:
    if isinstance(value, Cell):
        return _value(value.value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if math.isfinite(value) else ""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return harmless(_text(value))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Mapping | list | tuple) or dataclasses.is_dataclass(value):
        return json.dumps(to_json(value), ensure_ascii=False) if value else ""
    return "" if value is None else str(value)  # Also of rich's texts, without their styles.
