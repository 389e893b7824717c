"""What commands write: tables and facts for people, JSON for programs."""

import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console, JustifyMethod
from rich.padding import Padding
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from modelward._text import one_line, visible, visible_json
from modelward.shared.figures import metric

T = TypeVar("T")
STYLES = {"training": "cyan", "staging": "yellow", "production": "bold green", "archived": "dim", "failed": "red"}
NUMBER = re.compile(r"([<>]?[+-]?(\d[\d,]*(\.\d+)?(e[+-]?\d+)?%?|∞)|n/a|none)?")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
MIN_PROSE = 12
"""Columns that a shortened sentence keeps."""
GAP = 2
"""Spaces between two columns."""
PROSE_WIDTH = 36
"""Columns that a sentence needs; with less room it stands below its row."""
UNBOUNDED = 2000
"""The width where no terminal sets one: what goes to a file or to grep is neither cut nor wrapped."""
NEEDS_SERVER = "this needs an extra: pip install 'modelward[server]'"


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

    def _listed(self, cells: "Cells", heading: str = "", said: Sequence[str] = ()) -> None:
        """Print a table; sentences that find no room in it stand below their rows.

        What does not fit is shortened where it is prose. Where ids would be cut, too, each row becomes a list of facts:
        they are there to be copied.
        """
        if cells.width > self._console.width:
            cells = cells.without_empty_columns()
        widths = cells.widths_in(self._console.width)
        room = self._console.width - cells.width - GAP
        if widths is None:
            self._stacked(cells, heading, said)
        elif not any(said):
            self._console.print(cells.table(widths))
        elif room >= min(PROSE_WIDTH, max(map(len, said))):
            self._console.print(cells.table(widths, heading, said))
        else:
            self._interleaved(cells.table(widths), said)

    def _stacked(self, cells: "Cells", heading: str, said: Sequence[str]) -> None:
        for i, row in enumerate(cells.facts()):
            if i:
                self._console.print()
            for name, value in (*row, *([(heading, Text(said[i]))] if said and said[i] else [])):
                self._fact(name, value)

    def _fact(self, name: str, value: Text) -> None:
        """Print one cell in a line of its own; one wider than the terminal is left to it, so that copies are whole."""
        label = Text(f"{name}: " if name else "", "dim")
        if label.cell_len + value.cell_len <= self._console.width:
            self._console.print(label + value)
            return
        self._console.print(label)
        self._console.print(Text(value.plain, value.style), soft_wrap=" " not in value.plain)

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
        self._facts({name: _lines(value) for name, value in facts.items() if value not in ("", None, (), {})})
        for part in more:
            self._console.print()
            self._listed(part) if isinstance(part, Cells) else self._console.print(_visible(part))

    def _facts(self, facts: Mapping[str, Text | Table]) -> None:
        """Print facts side by side with their names; below them where an id would be cut."""
        room = self._console.width - max(map(len, facts), default=0) - GAP
        ids = (value for value in facts.values() if isinstance(value, Text) and " " not in value.plain)
        if any(value.cell_len > room for value in ids):
            for name, value in facts.items():
                self._fact(name, value) if isinstance(value, Text) else self._console.print(Text(name, "dim"), value)
            return
        grid = Table.grid(padding=(0, 2))
        for name, value in facts.items():
            grid.add_row(Text(name, style="dim"), value)
        self._console.print(grid)

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

    def widths_in(self, room: int) -> list[int] | None:
        """Return the columns' widths in so much room, prose shortened where it must be; None where ids would be."""
        columns = self._columns()
        widths = [max(len(heading), *(cell.cell_len for cell in column)) for heading, column in columns]
        excess = self.width - room
        for i in sorted(range(len(widths)), key=lambda i: -widths[i]):
            if any(_is_prose(cell.plain) for cell in columns[i][1]):
                cut = min(max(excess, 0), max(widths[i] - max(len(columns[i][0]), MIN_PROSE), 0))
                widths[i], excess = widths[i] - cut, excess - cut
        return widths if excess <= 0 else None

    def facts(self) -> Iterator[list[tuple[str, Text]]]:
        """Yield each row as pairs of heading and value, without those that are empty."""
        for row in self._rows:
            yield [(heading, cell) for heading, cell in zip(self._headings, row, strict=True) if cell]

    def table(self, widths: Sequence[int], prose: str = "", said: Sequence[str] = ()) -> Table:
        """Make the table: numbers to the right, one line for each row but for the prose."""
        table = Table(
            box=box.SIMPLE_HEAD, show_edge=False, padding=(0, GAP - 1, 0, 0), pad_edge=False, header_style="bold"
        )
        for width, (heading, column) in zip(widths, self._columns(), strict=True):
            numbers = all(NUMBER.fullmatch(cell.plain) for cell in column)
            align: JustifyMethod = "right" if numbers else "left"
            table.add_column(heading, justify=align, overflow="ellipsis", no_wrap=True, width=width)
        if said:
            table.add_column(prose, overflow="fold", min_width=min(PROSE_WIDTH, max(map(len, said))))
        for i, row in enumerate(self._rows):
            table.add_row(*row, *([Text(said[i], no_wrap=False)] if said else []))
        return table


def _is_prose(text: str) -> bool:
    """Tell whether a cell may be shortened: it has words, so it is no id, and it is no time."""
    return " " in text and not TIME.fullmatch(text)


def make_table(headings: Sequence[str], rows: Any) -> Cells:
    """Make a table whose rows are one line each."""
    return Cells(headings, rows)


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
