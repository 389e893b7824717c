"""Commands for stages: transitions, rollback, halts, history and resolution."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from modelward import HaltResult, ModelRollout, ModelVersion, ProductionVersion, RolloutState, TransitionResult
from modelward._record import counted
from modelward.cli.cells import Cell
from modelward.cli.completion import complete_models, complete_versions
from modelward.cli.inventory import BRIEF, inventory_facts
from modelward.cli.options import DRY_RUN, REASON, STAGE, Confirm, Instant, confirmed, limit, pairs
from modelward.cli.output import Failure, Output
from modelward.cli.remote import remote

if TYPE_CHECKING:
    from modelward import Client


@click.command()
@click.argument("version", metavar="MODEL/VERSION", shell_complete=complete_versions)
@click.option("--to", type=STAGE, required=True, help="The target stage.")
@REASON
@DRY_RUN
@remote
def promote(client: "Client", out: Output, version: str, to: str, reason: str, dry_run: bool) -> None:
    """Move a version to another stage.

    On promotion to production, the version there is archived atomically.
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
@click.argument("model", shell_complete=complete_models)
@REASON
@DRY_RUN
@remote
def rollback(client: "Client", out: Output, model: str, reason: str, dry_run: bool) -> None:
    """Roll back MODEL to its previous production version."""
    result = client.rollback(model, reason=reason, dry_run=dry_run)
    verb = "would be" if dry_run else "is"
    out.say(result, f"{result.version} {verb} in production again{_displaced(result.archived, dry_run)}")


@click.command()
@click.argument("model", default="", shell_complete=complete_models)
@click.option("--prefix", default="", metavar="TEXT", help="Halt all models whose names have this prefix.")
@pairs("--tag", "tags", "Halt all models with this tag.")
@click.option("--all", "all_models", is_flag=True, help="Halt all models.")
@DRY_RUN
@confirmed
@remote
def halt(
    client: "Client", out: Output, model: str, reason: str, confirm: Confirm, *, dry_run: bool, **selection: Any
) -> None:
    """Halt MODEL, or many models at once, until each is resumed.

    The reason is shown to everyone whose call is rejected. Of several conditions all must match, and either all models
    that match are halted or none.
    """
    selection["tags"] = dict(selection["tags"])
    if bool(model) == any(selection.values()):
        raise click.UsageError("give either MODEL, or --prefix, --tag or --all")
    if not model:
        _halt_many(client, out, confirm, reason, dry_run, selection)
    elif dry_run:
        raise click.UsageError("--dry-run shows what --prefix, --tag or --all would halt")
    else:
        out.say(client.halt(model, reason=reason), f"{model} is halted and no longer resolves")


def _halt_many(
    client: "Client", out: Output, confirm: Confirm, reason: str, dry_run: bool, selection: dict[str, Any]
) -> None:
    expected = client.halt_many(**selection, reason=reason, dry_run=True)
    if not expected.halted and not expected.already_halted:
        raise Failure("no model matches; nothing is halted")
    if dry_run:
        out.say(expected, _halts(expected, "would be halted"))
        return
    confirm(f"{_halts(expected, 'will be halted')}\nContinue?")
    done = client.halt_many(**selection, reason=reason)
    out.say(done, _halts(done, "halted"))


def _halts(result: HaltResult, verb: str) -> str:
    """List the models, each on its own line."""
    lines = [f"{counted(len(result.halted), 'model')} {verb}", *(f"  {model.name}" for model in result.halted)]
    if result.already_halted:
        lines.append(f"{counted(len(result.already_halted), 'model')} halted before, with reasons that are kept")
    return "\n".join([*lines, *(f"  {model.name}" for model in result.already_halted)])


@click.command()
@click.argument("model", shell_complete=complete_models)
@REASON
@remote
def resume(client: "Client", out: Output, model: str, reason: str) -> None:
    """End the halt of MODEL."""
    out.say(client.resume(model, reason=reason), f"{model} is resumed")


@click.command()
@click.argument("version", metavar="MODEL/VERSION", shell_complete=complete_versions)
@confirmed
@remote
def prune(client: "Client", out: Output, version: str, reason: str, confirm: Confirm) -> None:
    """Delete the files of an archived version.

    Its record and digests remain; the server frees the space within an hour.
    """
    confirm(f"The files of {version} will be deleted permanently. Continue?")
    deleted = client.delete_artifact(version, reason=reason)
    out.say(deleted, f"the files of {deleted} are deleted; the server frees their space within an hour")


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.option("--stage", type=STAGE, help="The version in this stage.  [default: production]")
@click.option("--alias", metavar="NAME", help="The version with this alias, for example latest.")
@click.option(
    "--as-of",
    type=Instant(),
    metavar="TIME",
    help="The state at this time, in ISO 8601; in --time-zone by default.",
)
@remote
def resolve(
    client: "Client", out: Output, model: str, stage: str | None, alias: str | None, as_of: datetime | None
) -> None:
    """Resolve MODEL to a version.

    This is the one in production, unless an option selects another.
    """
    if stage and alias:
        raise click.UsageError("give --stage or --alias, not both")
    resolved = client.resolve(model, stage=stage, alias=alias, as_of=as_of).version
    facts = {
        "version": str(resolved),
        "stage": resolved.stage,
        "since (UTC)": resolved.stage_since if as_of is None else None,
        "digest": resolved.digest,
        "metrics": resolved.metrics,
    }
    out.record(resolved, facts)


@click.command()
@click.argument("model", default="", shell_complete=complete_models)
@limit(50)
@remote
def history(client: "Client", out: Output, model: str, limit: int) -> None:
    """List stage transitions: version, actor, time and reason.

    The newest first; of MODEL, or of all models.
    """
    out.rows(
        list(islice(client.list_transitions(model), limit)),
        ["time (UTC)", "version", "from", "to", "who"],
        lambda m: [m.moved_at, str(m.version), m.from_stage or "", m.to_stage, m.actor],
        prose=("why", lambda m: m.reason),
        none="there is no stage transition",
    )


@click.command()
@click.argument("model", default="", shell_complete=complete_models)
@click.option("--prefix", default="", metavar="TEXT", help="Only models whose names have this prefix.")
@limit(50)
@remote
def rollout(client: "Client", out: Output, model: str, prefix: str, limit: int) -> None:
    """Show which engines run the expected version.

    Of MODEL, or how many of each model.
    """
    if not model:
        _rollouts(out, list(islice(client.list_rollouts(name_prefix=prefix), limit)))
        return
    status = client.get_rollout(model)
    out.rows(
        status.engines,
        ["engine", "version", "state", "reported (UTC)"],
        lambda e: [e.engine, e.version, e.state, e.reported_at],
        prose=("could not load", lambda e: f"{e.failure.version}: {e.failure.reason}" if e.failure else ""),
        none=f"no engine has reported; {status.expected or 'no version'} is expected",
    )


def _rollouts(out: Output, rollouts: Sequence[ModelRollout]) -> None:
    def row(one: ModelRollout) -> list[object]:
        states = [engine.state for engine in one.rollout.engines]
        expected = "halted" if one.halted else one.rollout.expected.version if one.rollout.expected else "none"
        return [one.model, expected, *(states.count(state) or "" for state in RolloutState)]

    headings = ["model", "expected", *(state.value for state in RolloutState)]
    out.rows(rollouts, headings, row, none="there is no model")


@click.command()
@click.option("--as-of", type=Instant(), help="What was in production at this time (in --time-zone by default).")
@click.option("--prefix", default="", metavar="TEXT", help="Only models whose names have this prefix.")
@limit(50)
@remote
def inventory(client: "Client", out: Output, as_of: datetime | None, prefix: str, limit: int) -> None:
    """List what is in production of each model, or was.

    Owners, tier and next review are those of now.
    """

    def row(one: ProductionVersion) -> list[object]:
        move = one.promotion
        facts = inventory_facts(one.inventory)
        promoted = [move.version.version, move.moved_at, move.actor] if move else ["nothing", "", ""]
        return [one.model, *promoted, *(facts[name] for name in BRIEF)]

    out.rows(
        list(islice(client.list_production_versions(as_of=as_of, name_prefix=prefix), limit)),
        ["model", "version", "since (UTC)", "who", *BRIEF],
        row,
        prose=("why", lambda one: one.promotion.reason if one.promotion else ""),
        none="there was no model" if as_of else "there is no model",
    )


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.option("--engine", default="", metavar="NAME", help="Only this engine.")
@click.option("--at", type=Instant(), help="Only the versions that ran at this time (in --time-zone by default).")
@limit(50)
@remote
def engines(client: "Client", out: Output, model: str, engine: str, at: datetime | None, limit: int) -> None:
    """List the engines of MODEL and what they ran, newest first."""
    before = at + timedelta(microseconds=1) if at else None
    periods = client.list_engine_periods(model, engine=engine, ended_after=at, started_before=before)
    out.rows(
        list(islice(periods, limit)),
        ["engine", "version", "from (UTC)", "until (UTC)"],
        lambda p: [p.engine, p.version.version, p.started_at, Cell(p.ended_at, p.ended_at or "now")],
        none="no engine has reported a version",
    )
