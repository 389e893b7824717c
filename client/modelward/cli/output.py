"""Output of the commands: tables and lists of fields for people, JSON for programs."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console, JustifyMethod
from rich.padding import Padding
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from modelward._text import one_line, visible, visible_json
from modelward.cli.cells import Cell
from modelward.cli.csv_output import column_names, csv_values, print_csv, print_csv_object, print_csv_row
from modelward.cli.time_zone import heading_text, time_text
from modelward.shared.figures import metric
from modelward.shared.json_values import to_json

T = TypeVar("T")
STYLES = {"training": "cyan", "staging": "yellow", "production": "bold green", "archived": "dim", "failed": "red"}
STYLES |= {"critical": "bold red", "warning": "yellow", "notice": "cyan", "ok": "green"}
NUMBER = re.compile(r"([<>]?[+-]?(\d[\d,]*(\.\d+)?(e[+-]?\d+)?%?|∞)|n/a|none)?")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d([+-]\d\d:\d\d)?")
MIN_PROSE = 12
"""Minimum width of a shortened text, in terminal columns."""
GAP = 2
"""Spaces between two columns."""
PROSE_WIDTH = 36
"""Width that a text column needs; with less room the text is printed below its row."""
UNBOUNDED = 2000
"""The width without a terminal: output to a file or a pipe is neither truncated nor wrapped."""
NEEDS_SERVER = "this needs an extra: pip install 'modelward[server]'"


class Failure(click.ClickException):
    """Ends a command with an error message in red; its first line says what went wrong."""

    def show(self, file: Any = None) -> None:
        click.secho(visible(self.message), fg="red", err=True)


def say(line: str) -> None:
    """Print a progress line of a long-running command."""
    click.echo(one_line(line))


class Output:
    """Prints the result of a command: as tables, as one JSON document, or as CSV.

    Args:
        form: "table", "json" or "csv".
    """

    def __init__(self, form: str = "table") -> None:
        self.form: str = form
        bounded = "COLUMNS" in os.environ or (sys.stdout is not None and sys.stdout.isatty())
        self._console = Console(highlight=False, markup=False, width=None if bounded else UNBOUNDED)

    def rows(
        self,
        result: Sequence[T],
        headings: Sequence[str],
        row: Callable[[T], Sequence[Any]],
        *,
        prose: tuple[str, Callable[[T], str]] | None = None,
        none: str,
    ) -> None:
        """Print a list of dataclasses, one per row.

        Args:
            prose: heading and text of a last column that may be long.
            none: the message for an empty list.
        """
        if self.form == "json":
            self.json(result)
        elif self.form == "csv":
            last = [prose[1]] if prose else []
            columns = [*headings, *([prose[0]] if prose else [])]
            print_csv(columns, ([*row(item), *(text(item) for text in last)] for item in result))
        elif not result:
            self._console.print(one_line(none), style="dim")
        else:
            texts = [visible(prose[1](item)) for item in result] if prose else []
            self._listed(Cells(headings, map(row, result)), prose[0] if prose else "", texts)

    def _listed(self, cells: "Cells", heading: str = "", texts: Sequence[str] = ()) -> None:
        """Print a table; long texts that do not fit are printed below their rows.

        Text is shortened where it does not fit. If ids would also be truncated, each row becomes a list of fields,
        because ids are there to be copied.
        """
        if cells.width > self._console.width:
            cells = cells.without_empty_columns()
        widths = cells.widths_in(self._console.width)
        room = self._console.width - cells.width - GAP
        if widths is None:
            self._stacked(cells, heading, texts)
        elif not any(texts):
            self._console.print(cells.table(widths))
        elif room >= min(PROSE_WIDTH, max(map(len, texts))):
            self._console.print(cells.table(widths, heading, texts))
        else:
            self._interleaved(cells.table(widths), texts)

    def _stacked(self, cells: "Cells", heading: str, texts: Sequence[str]) -> None:
        for i, row in enumerate(cells.facts()):
            if i:
                self._console.print()
            for name, value in (*row, *([(heading, Text(texts[i]))] if texts and texts[i] else [])):
                self._fact(name, value)

    def _fact(self, name: str, value: Text) -> None:
        """Print one cell on its own line; the terminal wraps one that is too wide, so that copies are complete."""
        label = Text(f"{name}: " if name else "", "dim")
        if label.cell_len + value.cell_len <= self._console.width:
            self._console.print(label + value)
            return
        self._console.print(label)
        self._console.print(Text(value.plain, value.style), soft_wrap=" " not in value.plain)

    def _interleaved(self, table: Table, texts: Sequence[str]) -> None:
        lines = self._console.render_lines(table, pad=False, new_lines=True)
        for line, sentence in zip(lines, ["", "", *texts], strict=True):  # Heading and rule have no text.
            self._console.print(Segments(line), end="")
            if sentence:
                self._console.print(Padding(sentence, (0, 0, 0, 4)))

    def record(self, result: Any, facts: Mapping[str, Any], *more: object, rows: "Cells | None" = None) -> None:
        """Print one dataclass as a list of fields, followed by further parts.

        Args:
            facts: the fields.
            more: texts, tables, and tables with the heading and the texts of a last column that may be long.
            rows: the table that is printed as CSV; the fields as one row by default.
        """
        if self.form == "json":
            self.json(result)
            return
        if self.form == "csv":
            rows.print_csv() if rows else print_csv(list(facts), [list(facts.values())])
            return
        self._facts(
            {heading_text(name): _lines(value) for name, value in facts.items() if value not in ("", None, (), {})}
        )
        for part in more:
            self._console.print()
            self._part(part)

    def _part(self, part: object) -> None:
        if isinstance(part, Cells):
            self._listed(part)
        elif isinstance(part, tuple):
            cells, heading, texts = part
            self._listed(cells, heading, [visible(text) for text in texts])
        else:
            self._console.print(_visible(part))

    def _facts(self, facts: Mapping[str, Text | Table]) -> None:
        """Print fields next to their names; below them where an id would be truncated."""
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

    def follow(
        self,
        items: Iterable[T],
        headings: Sequence[str],
        row: Callable[[T], Sequence[Any]],
        line: Callable[[T], Text],
        *,
        heading: Text,
    ) -> None:
        """Print each item as soon as it is there.

        Args:
            headings: the names of the columns of CSV.
            row: the columns of CSV.
            line: the line for people.
            heading: the line above those.
        """
        if self.form == "csv":
            print_csv_row(column_names(headings))
        elif self.form == "table":
            self._console.print(heading, soft_wrap=True)
        for item in items:
            if self.form == "json":
                click.echo(as_json(item))
            elif self.form == "csv":
                print_csv_row(csv_values(row(item)))
            else:
                self._console.print(line(item), soft_wrap=True)

    def say(self, result: Any, sentence: str) -> None:
        """Print what was done."""
        if self.form == "csv":
            print_csv_object(result)
        else:
            self.json(result) if self.form == "json" else self._console.print(visible(sentence))

    def json(self, result: Any) -> None:
        click.echo(as_json(result, indent=2))


class Cells:
    """The cells of a table as text."""

    def __init__(self, headings: Sequence[str], rows: Any) -> None:
        self._names = list(headings)
        self._headings = [heading_text(heading) for heading in headings]
        self._values = [list(row) for row in rows]
        self._rows = [[as_text(value) for value in row] for row in self._values]

    def print_csv(self) -> None:
        print_csv(self._names, self._values)

    @property
    def width(self) -> int:
        """The width of the table, in terminal columns."""
        widths = [max(len(heading), *(cell.cell_len for cell in column)) for heading, column in self._columns()]
        return sum(widths) + GAP * (len(widths) - 1)

    def _columns(self) -> list[tuple[str, tuple[Text, ...]]]:
        return list(zip(self._headings, zip(*self._rows, strict=True), strict=True))

    def without_empty_columns(self) -> "Cells":
        full = [(heading, column) for heading, column in self._columns() if any(column)]
        return Cells([heading for heading, _ in full], zip(*(column for _, column in full), strict=True))

    def widths_in(self, room: int) -> list[int] | None:
        """Return the columns' widths for the available width, with text shortened as needed; None if ids would be
        truncated.
        """
        columns = self._columns()
        widths = [max(len(heading), *(cell.cell_len for cell in column)) for heading, column in columns]
        excess = self.width - room
        for i in sorted(range(len(widths)), key=lambda i: -widths[i]):
            if any(_is_prose(cell.plain) for cell in columns[i][1]):
                cut = min(max(excess, 0), max(widths[i] - max(len(columns[i][0]), MIN_PROSE), 0))
                widths[i], excess = widths[i] - cut, excess - cut
        return widths if excess <= 0 else None

    def facts(self) -> Iterator[list[tuple[str, Text]]]:
        """Yield each row as pairs of heading and value, without empty values."""
        for row in self._rows:
            yield [(heading, cell) for heading, cell in zip(self._headings, row, strict=True) if cell]

    def table(self, widths: Sequence[int], prose: str = "", texts: Sequence[str] = ()) -> Table:
        """Create the table: numbers right-aligned, one line for each row except for the text column."""
        table = Table(
            box=box.SIMPLE_HEAD, show_edge=False, padding=(0, GAP - 1, 0, 0), pad_edge=False, header_style="bold"
        )
        for width, (heading, column) in zip(widths, self._columns(), strict=True):
            numbers = all(NUMBER.fullmatch(cell.plain) for cell in column)
            align: JustifyMethod = "right" if numbers else "left"
            table.add_column(heading, justify=align, overflow="ellipsis", no_wrap=True, width=width)
        if texts:
            table.add_column(prose, overflow="fold", min_width=min(PROSE_WIDTH, max(map(len, texts))))
        for i, row in enumerate(self._rows):
            table.add_row(*row, *([Text(texts[i], no_wrap=False)] if texts else []))
        return table


def _is_prose(text: str) -> bool:
    """Return whether a cell may be shortened: it has several words, so it is not an id, and it is not a time."""
    return " " in text and not TIME.fullmatch(text)


def make_table(headings: Sequence[str], rows: Any) -> Cells:
    """Create a table with one line for each row."""
    return Cells(headings, rows)


def as_json(result: Any, indent: int | None = None) -> str:
    """Format a result of the SDK as JSON; hidden and control characters are escaped."""
    return visible_json(json.dumps(to_json(result), indent=indent, ensure_ascii=False))


def as_text(value: Any) -> Text:
    """Format a value for people, in one line."""
    if isinstance(value, Cell):
        return as_text(value.text)
    if isinstance(value, Text):
        return Text(one_line(value.plain), value.style, no_wrap=True, overflow="ellipsis")
    line = one_line(_words(value))
    return Text(line, style=STYLES.get(line, ""), no_wrap=True, overflow="ellipsis")


def _visible(part: Any) -> Any:
    """Return a part of the output with hidden characters of its text escaped; the cells of a table are text already."""
    if isinstance(part, Text):
        return _visible_text(part)
    return visible(part) if isinstance(part, str) else part


def _visible_text(text: Text) -> Text:
    return Text(visible(text.plain), text.style, no_wrap=text.no_wrap, overflow=text.overflow)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, float):
        return metric(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_words(item)}" for key, item in value.items())
    return visible(str(value))


def _lines(value: Any) -> Text | Table:
    """Format a field: a mapping with a line for each key, any other value in full."""
    if isinstance(value, Cell):
        return _lines(value.text)
    if isinstance(value, Text):
        return _visible_text(value)
    if not isinstance(value, Mapping):
        return Text(_words(value), style=STYLES.get(str(value), ""), overflow="fold")
    grid = Table.grid(padding=(0, 2))
    for key, item in value.items():
        grid.add_row(Text(visible(str(key))), Text(_words(item), overflow="fold"))
    return grid
