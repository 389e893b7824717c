"""Parameter types and options shared by the commands."""

import functools
import re
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from modelward._text import visible
from modelward.cli.completion import complete_models_and_versions
from modelward.cli.time_zone import with_zone
from modelward.lifecycle import Stage
from modelward.segments import ClosureSessions, TimeRange
from modelward.shared.times import parse_duration

if TYPE_CHECKING:
    ParamType = click.ParamType
else:

    class ParamType(click.ParamType):
        """Accepts a type argument, which click itself does from 8.4 on."""

        def __class_getitem__(cls, _: type) -> type:
            return cls


Command = TypeVar("Command", bound=Callable[..., None])

STAGE = click.Choice([stage.value for stage in Stage])
DATA = click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
REASON = click.option("--reason", default="", metavar="TEXT", help="The reason, for the audit log.")
IGNORE = click.option("--ignore", multiple=True, metavar="COLUMN", help="A column of DATA that is not a feature.")
TIME = click.option("--time", metavar="COLUMN", help="The column with the time of each row, by which rows are sorted.")
GROUP = click.option("--group", metavar="COLUMN", help="The column with the group of each row, such as its symbol.")
BY = click.option("--by", metavar="COLUMN", help="A segment for each value of this column, such as the sector.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only show what would happen.")


class FileOrUri(click.Path):
    """A file that exists, as a path; or a URI, as text.

    Args:
        unless: an eager option with which it is any text.
    """

    name = "file or URI"

    def __init__(self, unless: str = "") -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)
        self._unless = unless

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        given = ctx.get_parameter_source(self._unless) if ctx and self._unless else None
        if given is ParameterSource.COMMANDLINE:
            return value
        return value if "://" in str(value) else super().convert(value, param, ctx)


class KeyValue(ParamType[tuple[str, str]]):
    """A parameter of the form KEY=VALUE."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        key, equals, rest = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not of the form KEY=VALUE", param, ctx)
        return key, rest


class Measurement(KeyValue):
    """A parameter of the form KEY=NUMBER."""

    name = "key=number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        key, number = super().convert(value, param, ctx)
        try:
            return key, float(number)
        except ValueError:
            self.fail(f"{number!r} is not a number", param, ctx)


class Period(KeyValue):
    """A named range of times, of the form NAME=FIRST..LAST; an end that is left out is no limit."""

    name = "period"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        key, ends = super().convert(value, param, ctx)
        first, dots, last = ends.partition("..")
        if not dots:
            self.fail(f"{ends!r} is not of the form FIRST..LAST, such as 2007-10-01..2009-03-31", param, ctx)
        return key, TimeRange(first, last)


class Closure(KeyValue):
    """Named sessions beside closures, of the form NAME=CALENDAR:DAYS:FIRST..LAST."""

    name = "closure"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        key, rest = super().convert(value, param, ctx)
        found = re.fullmatch(r"(\w+):(\d+):(-?\d+)(?:\.\.(-?\d+))?", rest)
        if not found:
            self.fail(f"{rest!r} is not of the form CALENDAR:DAYS:FIRST..LAST, such as XSHG:5:1..3", param, ctx)
        calendar, days, first, last = found.groups()
        return key, ClosureSessions(calendar, int(days), int(first), None if last is None else int(last))


class Instant(ParamType[datetime]):
    """An ISO 8601 time; without a zone it is in that of `--time-zone`."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            given = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not an ISO 8601 time such as 2026-03-02T14:31", param, ctx)
        return given if given.tzinfo else with_zone(given)


class Day(ParamType[date]):
    """An ISO 8601 date."""

    name = "date"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not an ISO 8601 date such as 2027-03-31", param, ctx)


class ModelOrVersion(ParamType[tuple[str, int]]):
    """A model, or one of its versions as MODEL/VERSION; of a model alone the number is 0."""

    name = "model or version"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        model, slash, number = str(value).partition("/")
        if slash and not (number.isascii() and number.isdigit()):
            self.fail(f"{value!r} is not of the form MODEL or MODEL/VERSION", param, ctx)
        return model, int(number or 0)


class Window(Instant):
    """A period between two times, in the ISO 8601 form FROM/UNTIL."""

    name = "window"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        begin, slash, end = str(value).partition("/")
        if not slash:
            self.fail(f"{value!r} is not of the form FROM/UNTIL", param, ctx)
        return super().convert(begin, param, ctx), super().convert(end, param, ctx)


class Duration(ParamType[timedelta]):
    """A duration, such as 90m, 24h or 7d."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            return parse_duration(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a duration such as 90m, 24h or 7d", param, ctx)


def about(*, required: bool) -> Callable[[Command], Command]:
    """Create an argument that is a model or one of its versions."""
    metavar = "MODEL[/VERSION]" if required else "[MODEL[/VERSION]]"
    return click.argument(
        "about",
        type=ModelOrVersion(),
        required=required,
        default=None if required else "",
        metavar=metavar,
        shell_complete=complete_models_and_versions,
    )


def is_interactive() -> bool:
    """Return whether the user can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirmed(command: Command) -> Command:
    """Add a required reason and a confirmation prompt to a command of which the user should be sure.

    The command takes the reason as `reason`, and calls `confirm` with a question before it acts.
    """

    @click.option("--reason", metavar="TEXT", help="The reason, for the audit log; prompted for on a terminal.")
    @click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
    @functools.wraps(command)
    def run(*args: Any, reason: str | None, yes: bool, **kwargs: Any) -> None:
        if not reason and not is_interactive():
            raise click.UsageError("Missing option '--reason'.")

        def confirm(question: str) -> None:
            if is_interactive() and not yes:
                click.confirm(visible(question), abort=True, err=True)

        command(*args, reason=reason or click.prompt("Reason, for the audit log", err=True), confirm=confirm, **kwargs)

    return run  # type: ignore[return-value]


Confirm = Callable[[str], None]
"""Asks the user for confirmation; aborts the command without it."""


def pairs(flag: str, name: str, text: str) -> Callable[[Command], Command]:
    """Create a repeatable option of the form KEY=VALUE."""
    return click.option(flag, name, type=KeyValue(), multiple=True, metavar="KEY=VALUE", help=text)


def regimes(command: Command) -> Command:
    """Add options for segments by ranges of times and by sessions beside closures."""
    closure = "Sessions beside closures of DAYS days or more, by their place: 1..3 after, -1 before."
    ranges = click.option(
        "--period", "periods", type=Period(), multiple=True, metavar="NAME=FIRST..LAST", help="A segment of times."
    )
    sessions = click.option(
        "--closure", "closures", type=Closure(), multiple=True, metavar="NAME=MIC:DAYS:FIRST..LAST", help=closure
    )
    return ranges(sessions(command))


def stages(text: str) -> Callable[[Command], Command]:
    """Create a repeatable option that selects by stage."""
    return click.option("--stage", "stages", type=STAGE, multiple=True, help=text)


def limit(default: int) -> Callable[[Command], Command]:
    """Create an option that limits the length of a list."""
    return click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=default,
        metavar="NUMBER",
        help="Maximum number of rows.",
        show_default=True,
    )
