"""Commands about performance."""

from datetime import timedelta
from itertools import islice

import click
from rich.text import Text

from modelward import Client, Performance
from modelward.cli.options import Span, limit
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.shared.figures import percent


@click.command()
@click.argument("version", metavar="MODEL/VERSION")
@click.option("--period", type=Span(), metavar="SPAN", help="The length of one period, as 90m or 7d.  [default: 1d]")
@click.option("--horizon", type=Span(), metavar="SPAN", help="How long after a prediction its label is known.")
@limit(20)
@remote
def performance(
    client: Client, out: Output, version: str, period: timedelta | None, horizon: timedelta | None, limit: int
) -> None:
    """List how a version performed, the newest period first."""
    out.rows(
        list(islice(client.list_performance(version, period=period, horizon=horizon), limit)),
        ["from (UTC)", "predictions", "matured", "labelled", "declined", "estimate", "metrics"],
        _row,
        none=f"there is no prediction of {version}",
    )


def _row(found: Performance) -> list[object]:
    return [
        found.start,
        found.predictions,
        found.matured,
        percent(found.coverage),
        Text("yes", "bold red") if found.declined else Text("no", "green"),
        found.estimated,
        found.metrics,
    ]
