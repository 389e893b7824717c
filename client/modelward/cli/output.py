"""What the commands share: the options of a remote call, tables for people, JSON for programs."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelward import Client

STAGE_STYLES = {"training": "cyan", "staging": "yellow", "production": "bold green", "archived": "dim"}


class Output:
    """Writes what a command found: as tables, or with `--json` as one JSON document."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(highlight=False)

    def rows(self, found: Sequence[Any], headings: Sequence[str], row: Callable[[Any], Sequence[Any]]) -> None:
        """Show a list of dataclasses, one in a row."""
        if self._as_json:
            self.json(found)
        elif found:
            self._console.print(make_table(headings, (row(item) for item in found)))
        else:
            self._console.print("[dim]nothing found[/]")

    def record(self, found: Any, facts: Mapping[str, Any], *more: object) -> None:
        """Show one dataclass as a list of facts, and what else there is to see of it."""
        if self._as_json:
            self.json(found)
            return
        grid = Table.grid(padding=(0, 2))
        for name, value in facts.items():
            if value not in ("", None, (), {}):
                grid.add_row(Text(name, style="dim"), as_text(value))
        self._console.print(grid)
        for part in more:
            self._console.print(part)

    def say(self, found: Any, sentence: str) -> None:
        """Say what was done."""
        self.json(found) if self._as_json else self._console.print(sentence)

    def json(self, found: Any) -> None:
        click.echo(json.dumps(plain(found), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Turn what the SDK returns into what JSON holds: times as ISO 8601, spans as seconds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value


def make_table(headings: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> Table:
    """Make a table; numbers are set to the right."""
    listed = [list(row) for row in rows]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", header_style="bold")
    for i, heading in enumerate(headings):
        numbers = all(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in listed)
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for row in listed:
        table.add_row(*map(as_text, row))
    return table


def as_text(value: Any) -> Text:
    """Write a value as a person reads it."""
    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, datetime):
        return Text(value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"), no_wrap=True)
    if isinstance(value, float):
        return Text(f"{value:.4g}")
    if isinstance(value, Mapping):
        return Text(", ".join(f"{key}={as_text(item)}" for key, item in value.items()))
    return Text(str(value), style=STAGE_STYLES.get(str(value), ""))


def remote(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command its client and its output, and the options that both need."""

    @click.option("--server", envvar="MODELWARD_SERVER", default="localhost:50061", show_default=True, show_envvar=True)
    @click.option("--actor", envvar="MODELWARD_ACTOR", help="Who acts, for the record. [default: the login name]")
    @click.option("--timeout", default=30.0, show_default=True, help="Seconds for each call.")
    @click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")
    @functools.wraps(command)
    def run(*args: Any, server: str, actor: str | None, timeout: float, as_json: bool, **kwargs: Any) -> None:
        with Client(server, actor=actor, timeout=timeout) as client:
            command(client, Output(as_json), *args, **kwargs)

    return run


class KeyValue(click.ParamType[tuple[str, str]]):
    """An argument of the form KEY=VALUE."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        key, equals, rest = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not of the form KEY=VALUE", param, ctx)
        return key, rest


class Measurement(KeyValue):
    """An argument of the form KEY=NUMBER."""

    name = "key=number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        key, number = super().convert(value, param, ctx)
        try:
            return key, float(number)
        except ValueError:
            self.fail(f"{number!r} is not a number", param, ctx)
