"""Commands for reports as files: a stored one by its id, and the inventory report."""

from datetime import date
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Literal

import click

from modelward.cli.drift import SAVE, render_to
from modelward.cli.options import Day
from modelward.cli.output import Output
from modelward.cli.remote import connected, remote

if TYPE_CHECKING:
    from modelward import Client

ENDINGS = {"html": ".html", "csv": ".csv", "events": "-events.csv"}


class ReportGroup(click.Group):
    """A group whose command `render` need not be named: the id of a report, or an option, may come first."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = not args or args[0] in {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if named else ["render", *args])


@click.group(cls=ReportGroup, subcommand_metavar="REPORT_ID | COMMAND [ARGS]...")
def report() -> None:
    """Render a stored report, or the inventory report."""


@report.command()
@click.argument("report_id")
@SAVE
@click.option("--open", "open_file", is_flag=True, help="Open the rendered file.")
@remote
def render(client: "Client", out: Output, report_id: str, save: Path | None, open_file: bool) -> None:
    """Render a drift report or a comparison to HTML or PNG.

    `drift`, `reports`, `compare` and `comparisons` print its id.

    Without --save a page is written to the temporary folder and opened.
    """
    path = save or Path(gettempdir(), f"modelward-{report_id}.html")
    render_to(client, report_id, path)
    out.say({"file": str(path)}, f"the report is in {path}")
    if open_file or not save:
        click.launch(str(path))


@report.command()
@click.option("--as-of", type=Day(), required=True, metavar="DATE", help="The last day, in UTC.")
@click.option("--since", type=Day(), metavar="DATE", help="The first day.  [default: that of a whole year]")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(ENDINGS)),
    default="html",
    help="A page, or CSV with a row for each model or for each event.  [default: html]",
)
@click.option("--owner", default="", metavar="TEXT", help="Only models of this owner, on the last day.")
@click.option("--tier", type=click.IntRange(1, 4), help="Only models of this tier, on the last day.")
@click.option("--desk", default="", metavar="TEXT", help="Only models whose scope had this desk, on the last day.")
@click.option(
    "-o",
    "--output",
    "to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file.  [default: inventory-DATE.html, .csv or -events.csv]",
)
@connected
def inventory(
    client: "Client",
    as_of: date,
    since: date | None,
    form: Literal["html", "csv", "events"],
    owner: str,
    tier: int | None,
    desk: str,
    to: Path | None,
) -> None:
    """Write what is on record about every model that was in production in a year, as of its last day.

    It is a base of the yearly self-assessment and of an inventory, and neither by itself.
    """
    file = to or Path(f"inventory-{as_of}{ENDINGS[form]}")
    client.inventory_report(file, as_of=as_of, since=since, format=form, owner=owner, tier=tier, desk=desk)
    click.echo(f"the report is in {file}")
