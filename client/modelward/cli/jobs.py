"""Commands for retraining jobs."""

import math
from typing import TYPE_CHECKING, Any

import click

from modelward import Job, JobState
from modelward.cli.cells import Cell
from modelward.cli.completion import complete_jobs, complete_models
from modelward.cli.options import DRY_RUN, REASON
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.cli.retraining import why
from modelward.retraining import FollowUp, JobFailure

if TYPE_CHECKING:
    from modelward import Client


class JobsGroup(click.Group):
    """`jobs MODEL` is short for `jobs list MODEL`; the others are commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not any(arg in self.commands for arg in args[:1]) and not {"-h", "--help"} & set(args):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=JobsGroup)
def jobs() -> None:
    """List, show, request or retry retraining jobs."""


@jobs.command("list")
@click.argument("model", default="", shell_complete=complete_models)
@click.option("--queue", default="", metavar="NAME", help="Only jobs of this queue.")
@remote
def list_(client: "Client", out: Output, model: str, queue: str) -> None:
    """List the retraining jobs of MODEL, or of all models."""
    out.rows(
        list(client.list_jobs(model, queue=queue)),
        ["job", "model", "queue", "state", "created (UTC)", "successor", "then"],
        lambda j: [
            j.job_id,
            j.model,
            j.queue,
            Cell(j.state, _state(j)),
            j.created_at,
            j.successor or "",
            _followed(j.follow_up),
        ],
        prose=("why", lambda j: why(j.reasons)),
        none="there is no job",
    )


@jobs.command()
@click.argument("job_id", metavar="JOB", shell_complete=complete_jobs)
@remote
def show(client: "Client", out: Output, job_id: str) -> None:
    """Show the details of a job."""
    job = client.get_job(job_id)
    out.record(job, _facts(job))


@jobs.command()
@click.argument("model", shell_complete=complete_models)
@REASON
@DRY_RUN
@remote
def request(client: "Client", out: Output, model: str, reason: str, dry_run: bool) -> None:
    """Request the retraining of MODEL now."""
    job = client.request_retraining(model, reason=reason, dry_run=dry_run)
    verb = "would be" if dry_run else "is"
    out.say(job, f"a job of {model} {verb} {job.state} in the queue {job.queue}: {why(job.reasons)}")


@jobs.command()
@click.argument("job_id", metavar="JOB", shell_complete=complete_jobs)
@remote
def retry(client: "Client", out: Output, job_id: str) -> None:
    """Retry a job that failed permanently."""
    job = client.retry_job(job_id)
    out.say(job, f"{job.job_id} waits in the queue {job.queue} for attempt {job.attempt + 1}")


def _facts(job: Job) -> dict[str, Any]:
    return {
        "job": job.job_id,
        "model": job.model,
        "state": _state(job),
        "why": why(job.reasons),
        "queue": job.queue,
        "labels": job.labels,
        "parameters": job.parameters,
        "data from": job.data_from,
        "data until": job.data_until,
        "champion": f"{job.model}/{job.version}" if job.version else "",
        "successor": f"{job.model}/{job.successor}" if job.successor else "",
        "attempt": f"{job.attempt} of {job.max_attempts}",
        "lease expires": job.lease_expires_at,
        "fence": job.fence,
        "progress": _progress(job),
        "then": _followed(job.follow_up),
        "failures": {f"attempt {failure.attempt}": _failure(failure) for failure in job.failures},
        "created": job.created_at,
        "ended": job.ended_at,
    }


def _failure(failure: JobFailure) -> str:
    return f"{failure.holder}: {failure.reason}"


def _state(job: Job) -> str:
    if job.state is not JobState.LEASED:
        return f"{job.state}" + (f", attempt {job.attempt}" if job.attempt > 1 else "")
    attempt = f", attempt {job.attempt}" if job.attempt > 1 else ""
    return f"{job.state} by {job.holder}{attempt}" + (f", {_progress(job)}" if job.progress else "")


def _progress(job: Job) -> str:
    return f"{math.floor(100 * job.progress)}% {job.progress_message}".strip() if job.progress else job.progress_message


def _followed(follow_up: FollowUp | None) -> str:
    return "" if follow_up is None else f"{follow_up.state}: {follow_up.reason}"
