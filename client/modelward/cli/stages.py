"""Commands about stages: who is in production, since when, and how to change it."""

from datetime import UTC, datetime

import click

from modelward import Client, Transition, TransitionResult
from modelward.cli.lifecycle import STAGE
from modelward.cli.output import Output, make_table, plain, remote

REASON = click.option("--reason", default="", help="Why, for the record.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say what would happen.")


class Instant(click.ParamType[datetime]):
    """An ISO 8601 time; without a zone it is UTC."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            instant = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not an ISO 8601 time, as 2026-03-02T14:31", param, ctx)
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


@click.command()
@click.argument("version", metavar="MODEL/VERSION")
@click.option("--to", type=STAGE, required=True, help="The stage to move it to.")
@REASON
@DRY_RUN
@remote
def promote(client: Client, out: Output, version: str, to: str, reason: str, dry_run: bool) -> None:
    """Move a version to another stage. Into production, the version there is archived."""
    result = client.promote(version, to=to, reason=reason, dry_run=dry_run)
    out.say(result, _moved(result, dry_run))


def _moved(result: TransitionResult, dry_run: bool) -> str:
    verb = "would be" if dry_run else "is now"
    said = f"[bold]{result.version}[/] {verb} in {result.version.stage}"
    if result.archived:
        said += f"; {result.archived} {'would be' if dry_run else 'was'} archived"
    return said + "".join(f"\n  {gate.gate}: {gate.evidence}" for gate in result.gates)


@click.command()
@click.argument("model")
@REASON
@DRY_RUN
@remote
def rollback(client: Client, out: Output, model: str, reason: str, dry_run: bool) -> None:
    """Put the version that was in production of MODEL before back."""
    result = client.rollback(model, reason=reason, dry_run=dry_run)
    verb = "would be" if dry_run else "is"
    archived = f"; {result.archived} {'would be' if dry_run else 'was'} archived" if result.archived else ""
    out.say(result, f"[bold]{result.version}[/] {verb} in production again{archived}")


@click.command()
@click.argument("model")
@click.option("--reason", required=True, help="Why; everyone whose call is refused will read it.")
@remote
def halt(client: Client, out: Output, model: str, reason: str) -> None:
    """Forbid the use of MODEL at once."""
    out.say(client.halt(model, reason=reason), f"[bold]{model}[/] is halted and no longer resolves")


@click.command()
@click.argument("model")
@REASON
@remote
def resume(client: Client, out: Output, model: str, reason: str) -> None:
    """End a halt of MODEL."""
    out.say(client.resume(model, reason=reason), f"[bold]{model}[/] may be used again")


@click.command()
@click.argument("model")
@click.option("--stage", type=STAGE, help="The version in this stage.  [default: production]")
@click.option("--alias", help="The version with this alias, as latest.")
@click.option("--as-of", type=Instant(), metavar="TIME", help="As things stood then; UTC unless it names a zone.")
@remote
def resolve(client: Client, out: Output, model: str, stage: str | None, alias: str | None, as_of: datetime) -> None:
    """Say which version of MODEL is meant: the one in production, unless told otherwise."""
    if stage and alias:
        raise click.UsageError("give --stage or --alias, not both")
    found = client.resolve(model, stage=stage, alias=alias, as_of=as_of).version
    facts = {
        "version": str(found),
        "stage": found.stage,
        "since": found.stage_since if as_of is None else None,
        "metrics": found.metrics,
        "digest": found.digest,
    }
    out.record(found, facts)


@click.command()
@click.argument("model", default="")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="How many at the most.")
@remote
def history(client: Client, out: Output, model: str, limit: int) -> None:
    """List who moved what, when and why, the newest first; of MODEL, or of all."""
    moves = [move for move, _ in zip(client.list_transitions(model), range(limit), strict=False)]
    out.rows(moves, ["when (UTC)", "version", "from", "to", "who", "why"], _move)


def _move(move: Transition) -> list[object]:
    return [move.moved_at, str(move.version), move.from_stage or "", move.to_stage, move.actor, move.reason]


@click.group()
def audit() -> None:
    """The record of every change."""


@audit.command()
@remote
def verify(client: Client, out: Output) -> None:
    """Check that no record was changed, removed or moved; the exit code is 1 when one was."""
    found = client.verify_audit_log()
    verdict = "[green]intact[/]" if found.intact else "[red]not intact[/]"
    defects = make_table(["record", "problem"], ([d.sequence, d.problem] for d in found.defects))
    out.record(
        found, {"records": found.records, "head": found.head_hash}, verdict, *([] if found.intact else [defects])
    )
    if not found.intact:
        raise click.exceptions.Exit(1)


@audit.command()
@remote
def export(client: Client, out: Output) -> None:
    """Write every record as a line of JSON."""
    import json

    for record in client.export_audit_log():
        click.echo(json.dumps(plain(record), ensure_ascii=False))


COMMANDS = [promote, rollback, halt, resume, resolve, history, audit]
