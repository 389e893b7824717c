"""Commands for drills of halts."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import click

from modelward.cli.completion import complete_models
from modelward.cli.options import Duration, Instant, limit
from modelward.cli.output import Failure, Output
from modelward.cli.remote import remote
from modelward.drills import Drill, DrilledEngine

if TYPE_CHECKING:
    from modelward import Client

POLL_SECONDS = 0.5
"""How often `start` looks whether its drills have ended."""
COLUMNS = ["model", "engine", "version", "result", "answered seconds", "stopped seconds", "id"]


@click.group()
def drills() -> None:
    """Measure after how long a halt would stop each engine."""


@drills.command()
@click.argument("models", nargs=-1, metavar="[MODEL...]", shell_complete=complete_models)
@click.option("--all", "all_in_production", is_flag=True, help="Drill every model in production.")
@click.option("--reason", required=True, metavar="TEXT", help="Why.")
@click.option("--within", type=Duration(), metavar="DURATION", help="Time to answer; 30s by default, 1h at most.")
@click.option("--no-wait", is_flag=True, help="Return at once, and not when the drills have ended.")
@remote
def start(
    client: "Client",
    out: Output,
    models: tuple[str, ...],
    all_in_production: bool,
    reason: str,
    within: timedelta | None,
    no_wait: bool,
) -> None:
    """Start a drill of each MODEL, and wait until all have ended.

    The exit code is 1 if an engine is not proven to stop, or a model has no engine that could prove it.
    """
    if bool(models) == all_in_production:
        raise click.UsageError("give either MODEL or --all")
    started = client.start_drill(models, all_in_production=all_in_production, reason=reason, timeout=within)
    found = started if no_wait else [_ended(client, drill) for drill in started]
    _show(out, found)
    if missing := sum(drill.not_proven for drill in found):
        raise Failure(f"{missing} of {sum(len(drill.engines) for drill in found)} engines are not proven to stop")
    if without := [drill.model for drill in found if not drill.engines]:
        raise Failure(f"nothing is proven of models without a running engine: {', '.join(without)}")


def _ended(client: "Client", drill: Drill) -> Drill:
    """Wait until a drill has ended, and return it."""
    while drill.ended_at is None:
        time.sleep(POLL_SECONDS)
        drill = client.get_drill(drill.drill_id)
    return drill


@drills.command()
@click.argument("drill_id", metavar="ID")
@remote
def show(client: "Client", out: Output, drill_id: str) -> None:
    """Show a drill with its engines."""
    _show(out, [client.get_drill(drill_id)])


@drills.command("list")
@click.argument("model", default="", shell_complete=complete_models)
@click.option("--since", type=Instant(), metavar="TIME", help="Only those that started at this time or later.")
@click.option("--until", type=Instant(), metavar="TIME", help="Only those that started before this time.")
@limit(20)
@remote
def list_drills(
    client: "Client", out: Output, model: str, since: datetime | None, until: datetime | None, limit: int
) -> None:
    """List the drills of MODEL, or of all models, the newest first."""
    out.rows(
        list(islice(client.list_drills(model, started_after=since, started_before=until), limit)),
        ["id", "model", "started (UTC)", "ended (UTC)", "engines", "proven", "longest seconds", "by", "reason"],
        lambda one: [
            one.drill_id,
            one.model,
            one.started_at,
            one.ended_at,
            len(one.engines),
            one.proven,
            _seconds(one.longest),
            one.started_by,
            one.reason,
        ],
        none="there is no drill",
    )


def _show(out: Output, found: Sequence[Drill]) -> None:
    if out.form == "json":
        out.json(found)
        return
    nobody: Sequence[DrilledEngine | None] = [None]
    rows = [(drill, engine) for drill in found for engine in drill.engines or nobody]
    shown = rows if any(engine for _, engine in rows) else []
    out.rows(shown, COLUMNS, lambda row: _row(*row), none="no engine was running; the drill has ended")


def _row(drill: Drill, engine: DrilledEngine | None) -> list[object]:
    if engine is None:
        return [drill.model, "", "", "no engine was running", "", "", drill.drill_id]
    proof = str(engine.proof).replace("_", " ")
    result = f"{proof}, used none" if engine.used_none else proof
    times = [_seconds(engine.answered_after), _seconds(engine.stopped_after)]
    return [drill.model, engine.engine, engine.version, result, *times, drill.drill_id]


def _seconds(span: timedelta | None) -> str:
    return "" if span is None else f"{span.total_seconds():.3f}"
