"""Commands for due models."""

from typing import TYPE_CHECKING

import click

from modelward.cli.cells import Cell
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.retraining import DueReason

if TYPE_CHECKING:
    from modelward import Client


@click.command()
@remote
def due(client: "Client", out: Output) -> None:
    """List the models that are due for retraining, with reasons."""
    out.rows(
        list(client.list_due()),
        ["model", "version", "due since (UTC)", "job"],
        lambda d: [d.model, d.version, d.due_since, Cell(d.job_state, d.job_state or "none")],
        prose=("why", lambda d: d.summary),
        none="no model is due",
    )


def why(reasons: tuple[DueReason, ...]) -> str:
    return "; ".join(reason.summary for reason in reasons)
