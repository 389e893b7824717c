"""Commands about stages: who is in production, since when, and how to change it."""

from datetime import datetime
from itertools import islice

import click

from modelward import Client, ModelVersion, TransitionResult
from modelward.cli.options import DRY_RUN, REASON, STAGE, Confirm, Instant, ending, limit
from modelward.cli.output import Output
from modelward.cli.remote import remote


@click.command()
@click.argument("version", metavar="MODEL/VERSION")
@click.option("--to", type=STAGE, required=True, help="The stage to move it to.")
@REASON
@DRY_RUN
@remote
def promote(client: Client, out: Output, version: str, to: str, reason: str, dry_run: bool) -> None:
    """Move a version to another stage.

    When it goes into production, the version there is archived in the same instant.
    """
    result = client.promote(version, to=to, reason=reason, dry_run=dry_run)
    out.say(result, _moved(result, dry_run))


def _moved(result: TransitionResult, dry_run: bool) -> str:
    verb = "would be" if dry_run else "is now"
    gates = (f"\n  {gate.gate}: {gate.evidence}" for gate in result.gates)
    return f"{result.version} {verb} in {result.version.stage}{_displaced(result.archived, dry_run)}{''.join(gates)}"


def _displaced(version: ModelVersion | None, dry_run: bool) -> str:
    return f"; {version} {'would be' if dry_run else 'is'} archived" if version else ""


@click.command()
@click.argument("model")
@REASON
@DRY_RUN
@remote
def rollback(client: Client, out: Output, model: str, reason: str, dry_run: bool) -> None:
    """Put the version that was in production of MODEL before back."""
    result = client.rollback(model, reason=reason, dry_run=dry_run)
    verb = "would be" if dry_run else "is"
    out.say(result, f"{result.version} {verb} in production again{_displaced(result.archived, dry_run)}")


@click.command()
@click.argument("model")
@click.option("--reason", required=True, metavar="TEXT", help="Why; everyone whose call is refused will read it.")
@remote
def halt(client: Client, out: Output, model: str, reason: str) -> None:
    """Forbid the use of MODEL at once."""
    out.say(client.halt(model, reason=reason), f"{model} is halted and no longer resolves")


@click.command()
@click.argument("model")
@REASON
@remote
def resume(client: Client, out: Output, model: str, reason: str) -> None:
    """End a halt of MODEL."""
    out.say(client.resume(model, reason=reason), f"{model} may be used again")


@click.command()
@click.argument("version", metavar="MODEL/VERSION")
@ending
@remote
def prune(client: Client, out: Output, version: str, reason: str, confirm: Confirm) -> None:
    """Delete the files of an archived version.

    Its record and digests stay; the server frees the space within an hour."""
    confirm(f"The files of {version} are deleted for good. Go on?")
    deleted = client.delete_artifact(version, reason=reason)
    out.say(deleted, f"the files of {deleted} are deleted; the server frees their space within an hour")


@click.command()
@click.argument("model")
@click.option("--stage", type=STAGE, help="The version in this stage.  [default: production]")
@click.option("--alias", metavar="NAME", help="The version with this alias, as latest.")
@click.option("--as-of", type=Instant(), metavar="TIME", help="As things stood then, in ISO 8601; UTC without a zone.")
@remote
def resolve(
    client: Client, out: Output, model: str, stage: str | None, alias: str | None, as_of: datetime | None
) -> None:
    """Say which version of MODEL is meant.

    It is the one in production, unless an option says otherwise.
    """
    if stage and alias:
        raise click.UsageError("give --stage or --alias, not both")
    found = client.resolve(model, stage=stage, alias=alias, as_of=as_of).version
    facts = {
        "version": str(found),
        "stage": found.stage,
        "since (UTC)": found.stage_since if as_of is None else None,
        "digest": found.digest,
        "metrics": found.metrics,
    }
    out.record(found, facts)


@click.command()
@click.argument("model", default="")
@limit(50)
@remote
def history(client: Client, out: Output, model: str, limit: int) -> None:
    """List who moved what, when and why.

    The newest first; of MODEL, or of all models.
    """
    out.rows(
        list(islice(client.list_transitions(model), limit)),
        ["when (UTC)", "version", "from", "to", "who"],
        lambda m: [m.moved_at, str(m.version), m.from_stage or "", m.to_stage, m.actor],
        prose=("why", lambda m: m.reason),
        none="nothing was moved yet",
    )


@click.command()
@click.argument("model")
@remote
def rollout(client: Client, out: Output, model: str) -> None:
    """List which engines run the version of MODEL that they should."""
    found = client.get_rollout(model)
    out.rows(
        found.engines,
        ["engine", "version", "state", "reported (UTC)"],
        lambda e: [e.engine, e.version, e.state, e.reported_at],
        none=f"no engine has reported; {found.expected or 'nothing'} is to be run",
    )
