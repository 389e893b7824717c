"""Commands about retraining."""

import click

from modelward import Client, Job, JobState
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.retraining import DueReason


@click.command()
@remote
def due(client: Client, out: Output) -> None:
    """List the models that are due for retraining, and why."""
    out.rows(
        list(client.list_due()),
        ["model", "version", "due since (UTC)", "job"],
        lambda d: [d.model, d.version, d.due_since, d.job_state or "none"],
        prose=("why", lambda d: d.summary),
        none="no model is due",
    )


def _why(reasons: tuple[DueReason, ...]) -> str:
    return "; ".join(reason.summary for reason in reasons)


@click.command()
@click.argument("model", default="")
@remote
def jobs(client: Client, out: Output, model: str) -> None:
    """List the retraining jobs of MODEL, or of all."""
    out.rows(
        list(client.list_jobs(model)),
        ["job", "model", "state", "created (UTC)", "successor"],
        lambda j: [j.job_id, j.model, _state(j), j.created_at, j.successor or ""],
        prose=("why", lambda j: _why(j.reasons)),
        none="there is no job",
    )


def _state(job: Job) -> str:
    holder = f" by {job.holder}" if job.state is JobState.LEASED else ""
    return f"{job.state}{holder}" + (f", attempt {job.attempt}" if job.attempt > 1 else "")
