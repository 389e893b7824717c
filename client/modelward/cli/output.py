"""What commands write: tables and facts for people, JSON for programs."""

import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from modelward._figures import metric
from modelward._text import one_line, visible, visible_json

T = TypeVar("T")
STYLES = {"training": "cyan", "staging": "yellow", "production": "bold green", "archived": "dim", "failed": "red"}
NUMBER = re.compile(r"([<>]?[+-]?(\d[\d,]*(\.\d+)?(e[+-]?\d+)?%?|∞)|n/a|none)?")
GAP = 2
"""Spaces between two columns."""
PROSE_WIDTH = 36
"""Columns that a sentence needs; with less room it stands below its row."""
UNBOUNDED = 2000
"""The width where no terminal sets one: what goes to a file or to grep is neither cut nor wrapped."""


class Failure(click.ClickException):
    """Ends a command with red lines, the first of which says what went wrong."""

    def show(self, file: Any = None) -> None:
        click.secho(visible(self.message), fg="red", err=True)


def say(line: str) -> None:
    """Write one line about what happens, as a command that goes on does."""
    click.echo(one_line(line))


class Output:
    """Writes what a command found: as tables, or with `--json` as one JSON document."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        bounded = "COLUMNS" in os.environ or (sys.stdout is not None and sys.stdout.isatty())
        self._console = Console(highlight=False, markup=False, width=None if bounded else UNBOUNDED)

    def rows(
        self,
        found: Sequence[T],
        headings: Sequence[str],
        row: Callable[[T], Sequence[Any]],
        *,
        prose: tuple[str, Callable[[T], str]] | None = None,
        none: str,
    ) -> None:
        """Show a list of dataclasses, one in a row.

        Args:
            prose: heading and text of a last column that may be long.
            none: what to say when nothing was found.
        """
        if self._as_json:
            self.json(found)
        elif not found:
            self._console.print(one_line(none), style="dim")
        else:
            said = [visible(prose[1](item)) for item in found] if prose else []
            self._listed(Cells(headings, map(row, found)), prose[0] if prose else "", said)

    def _listed(self, cells: "Cells", heading: str, said: Sequence[str]) -> None:
        """Print a table; sentences that find no room in it stand below their rows."""
        if cells.width > self._console.width:
            cells = cells.without_empty_columns()
        room = self._console.width - cells.width - GAP
        if not any(said):
            self._console.print(cells.table())
        elif room >= min(PROSE_WIDTH, max(map(len, said))):
            self._console.print(cells.table(heading, said))
        else:
            self._interleaved(cells.table(), said)

    def _interleaved(self, table: Table, said: Sequence[str]) -> None:
        lines = self._console.render_lines(table, pad=False, new_lines=True)
        for line, sentence in zip(lines, ["", "", *said], strict=True):  # Heading and rule have none.
            self._console.print(Segments(line), end="")
            if sentence:
                self._console.print(Padding(sentence, (0, 0, 0, 4)))

    def record(self, found: Any, facts: Mapping[str, Any], *more: object) -> None:
        """Show one dataclass as a list of facts, and what else there is to see of it."""
        if self._as_json:
            self.json(found)
            return
        grid = Table.grid(padding=(0, 2))
        for name, value in facts.items():
            if value not in ("", None, (), {}):
                grid.add_row(Text(name, style="dim"), _lines(value))
        self._console.print(grid)
        for part in more:
            self._console.print()
            self._console.print(_visible(part))

    def say(self, found: Any, sentence: str) -> None:
        """Say what was done."""
        self.json(found) if self._as_json else self._console.print(visible(sentence))

    def json(self, found: Any) -> None:
        click.echo(as_json(found, indent=2))


class Cells:
    """A table's cells as texts."""

    def __init__(self, headings: Sequence[str], rows: Any) -> None:
        self._headings = list(headings)
        self._rows = [[as_text(value) for value in row] for row in rows]

    @property
    def width(self) -> int:
        """The columns of a terminal that it takes."""
        widths = [max(len(heading), *(cell.cell_len for cell in column)) for heading, column in self._columns()]
        return sum(widths) + GAP * (len(widths) - 1)

    def _columns(self) -> list[tuple[str, tuple[Text, ...]]]:
        return list(zip(self._headings, zip(*self._rows, strict=True), strict=True))

    def without_empty_columns(self) -> "Cells":
        full = [(heading, column) for heading, column in self._columns() if any(column)]
        return Cells([heading for heading, _ in full], zip(*(column for _, column in full), strict=True))

    def table(self, prose: str = "", said: Sequence[str] = ()) -> Table:
        """Make the table: numbers to the right, one line for each row but for the prose."""
        table = Table(
            box=box.SIMPLE_HEAD, show_edge=False, padding=(0, GAP - 1, 0, 0), pad_edge=False, header_style="bold"
        )
        for heading, column in self._columns():
            numbers = all(NUMBER.fullmatch(cell.plain) for cell in column)
            table.add_column(heading, justify="right" if numbers else "left", overflow="ellipsis")
        if said:
            table.add_column(prose, overflow="fold", min_width=min(PROSE_WIDTH, max(map(len, said))))
        for i, row in enumerate(self._rows):
            table.add_row(*row, *([Text(said[i], no_wrap=False)] if said else []))
        return table


def make_table(headings: Sequence[str], rows: Any) -> Table:
    """Make a table whose rows are one line each."""
    return Cells(headings, rows).table()


def as_json(found: Any, indent: int | None = None) -> str:
    """Write what the SDK returns as JSON; what does not show, or drives a terminal, is escaped."""
    return visible_json(json.dumps(plain(found), indent=indent, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Turn what the SDK returns into what JSON holds: times as ISO 8601, spans as seconds, NaN as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.total_seconds() if isinstance(value, timedelta) else value


def as_text(value: Any) -> Text:
    """Write a value as a person reads it, in one line."""
    if isinstance(value, Text):
        return Text(one_line(value.plain), value.style, no_wrap=True, overflow="ellipsis")
    line = one_line(_words(value))
    return Text(line, style=STYLES.get(line, ""), no_wrap=True, overflow="ellipsis")


def _visible(part: Any) -> Any:
    """Return a part of what is shown, nothing in its text hidden; the cells of a table are texts already."""
    if isinstance(part, Text):
        return _visible_text(part)
    return visible(part) if isinstance(part, str) else part


def _visible_text(text: Text) -> Text:
    return Text(visible(text.plain), text.style, no_wrap=text.no_wrap, overflow=text.overflow)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return metric(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_words(item)}" for key, item in value.items())
    return visible(str(value))


def _lines(value: Any) -> Text | Table:
    """Write a fact: a mapping with a line for each key, anything else as long as it is."""
    if isinstance(value, Text):
        return _visible_text(value)
    if not isinstance(value, Mapping):
        return Text(_words(value), style=STYLES.get(str(value), ""), overflow="fold")
    grid = Table.grid(padding=(0, 2))
    for key, item in value.items():
        grid.add_row(Text(visible(str(key))), Text(_words(item), overflow="fold"))
    return grid
