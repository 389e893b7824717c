"""Commands for performance monitoring."""

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

import click
from rich.text import Text

from modelward import Performance
from modelward.cli.cells import Cell
from modelward.cli.completion import complete_versions
from modelward.cli.options import Duration, limit
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.shared.figures import percent

if TYPE_CHECKING:
    from modelward import Client


@click.command()
@click.argument("version", metavar="MODEL/VERSION", shell_complete=complete_versions)
@click.option(
    "--period",
    type=Duration(),
    metavar="DURATION",
    help="The length of one period, for example 90m or 7d.  [default: 1d]",
)
@click.option(
    "--horizon", type=Duration(), metavar="DURATION", help="The time from a prediction until its label is known."
)
@limit(20)
@remote
def performance(
    client: "Client", out: Output, version: str, period: timedelta | None, horizon: timedelta | None, limit: int
) -> None:
    """List a version's performance by period, the newest first."""
    out.rows(
        list(islice(client.list_performance(version, period=period, horizon=horizon), limit)),
        ["from (UTC)", "predictions", "matured", "labelled", "declined", "estimate", "metrics"],
        _row,
        none=f"there is no prediction of {version}",
    )


def _row(period: Performance) -> list[object]:
    return [
        period.start,
        period.predictions,
        period.matured,
        Cell(period.coverage, percent(period.coverage)),
        Cell(period.declined, Text("yes", "bold red") if period.declined else Text("no", "green")),
        period.estimated,
        period.metrics,
    ]
