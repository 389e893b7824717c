"""Commands about retraining."""

import click

from modelward import Client
from modelward.cli.output import Output, remote


@click.command()
@remote
def due(client: Client, out: Output) -> None:
    """List the models that are due for retraining, and why."""
    out.rows(
        list(client.list_due()),
        ["model", "version", "due since (UTC)", "why", "job"],
        lambda d: [d.model, d.version, d.due_since, "; ".join(r.summary for r in d.reasons), d.job_state or "none"],
    )


@click.command()
@click.argument("model", default="")
@remote
def schedules(client: Client, out: Output, model: str) -> None:
    """List the retraining schedules; of MODEL, or of all."""
    out.rows(
        list(client.list_schedules(model)),
        ["schedule", "model", "paused", "description"],
        lambda s: [s.schedule_id, s.model, s.pause_reason or s.paused, s.description],
    )


@click.command()
@click.argument("model", default="")
@remote
def jobs(client: Client, out: Output, model: str) -> None:
    """List the retraining jobs; of MODEL, or of all."""
    out.rows(
        list(client.list_jobs(model)),
        ["job", "model", "state", "attempt", "holder", "created (UTC)", "successor"],
        lambda j: [j.job_id, j.model, j.state, j.attempt, j.holder, j.created_at, j.successor or ""],
    )


COMMANDS = [due, schedules, jobs]
