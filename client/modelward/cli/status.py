"""The command that shows what needs attention, and the models in production."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from time import sleep
from typing import TYPE_CHECKING

import click

from modelward import ModelOverview, Overview
from modelward.cli.cells import Cell
from modelward.cli.output import Cells, Output, make_table
from modelward.cli.remote import remote
from modelward.errors import Unavailable
from modelward.lifecycle import TrialResult
from modelward.shared.figures import metric, statistic

if TYPE_CHECKING:
    from modelward import Client

SECONDS = 2.0
"""Interval of `--watch`."""
BARS = "▁▂▃▄▅▆▇█"
MODELS = ["severity", "version", "since (UTC)", "who", "engines", "drift", "alarms", "due"]


@click.command()
@click.option("--watch", is_flag=True, help="Refresh every 2 seconds, until Ctrl-C.")
@remote
def status(client: "Client", out: Output, watch: bool) -> None:
    """Show what needs attention, and what is in production.

    The worst is first; of the models in production 50 are shown.
    """
    if not watch:
        _show(out, client.get_overview())
    elif out.form != "table" or not is_terminal():
        raise click.UsageError("--watch shows the overview on a terminal; leave it out for a file, a pipe or --format")
    else:
        with suppress(KeyboardInterrupt):
            _watch(client, out)


def is_terminal() -> bool:
    """Return whether the output goes to a terminal."""
    return sys.stdout.isatty()


def _watch(client: "Client", out: Output) -> None:
    while True:
        try:
            overview = client.get_overview()
        except Unavailable as error:
            click.secho(error.message, fg="red", err=True)
        else:
            click.clear()
            _show(out, overview)
        sleep(SECONDS)


def _show(out: Output, overview: Overview) -> None:
    models = make_table(MODELS, map(_row, overview.models))
    parts = [*_attention(overview), *_models(overview, models)]
    out.record(overview, _totals(overview), *parts, rows=models)


def _totals(overview: Overview) -> dict[str, object]:
    totals = overview.totals
    jobs = {"pending": totals.jobs_pending, "leased": totals.jobs_leased, "failed": totals.jobs_dead}
    return {
        "models": f"{totals.in_production:,} of {totals.registered:,} in production",
        "needs attention": overview.attention_total or "nothing",
        "halted": totals.halted or None,
        "drift alarms": totals.drift_alarms or None,
        "performance alarms": totals.performance_alarms or None,
        "engines not converged": totals.engines_not_converged or None,
        "due": totals.due or None,
        "jobs": ", ".join(f"{number:,} {state}" for state, number in jobs.items() if number),
    }


def _attention(overview: Overview) -> Iterator[object]:
    if not overview.attention:
        return
    headings = ["severity", "since (UTC)", "what"]
    rows = [[one.severity, one.since or "", one.kind] for one in overview.attention]
    yield make_table(headings, rows), "needs attention", [f"{one.text}. {one.next_step}" for one in overview.attention]
    if left := overview.attention_total - len(overview.attention):
        yield f"and {left:,} more"


def _models(overview: Overview, table: Cells) -> Iterator[object]:
    if not overview.models:
        yield "no model has a version in production"
        return
    yield table
    if left := overview.totals.in_production - len(overview.models):
        yield f"and {left:,} more in production; `modelward models --stage production` lists all"


def _row(model: ModelOverview) -> list[object]:
    version, engines = f"{model.model}/{model.version}", model.engines
    converged = f"{engines.converged}/{engines.total}" if engines.total else ""
    alarms, due = ", ".join(_alarms(model)), ", ".join(model.due_reasons)
    drift = Cell(model.drift[-1].score if model.drift else None, _sparkline(model))
    return [model.severity, version, model.since, model.promoted_by, converged, drift, alarms, due]


def _alarms(model: ModelOverview) -> Iterator[str]:
    if model.halt:
        yield "halted"
    if model.trial and model.trial.result is TrialResult.UNUSABLE:
        yield "unusable"
    if model.drift_alarm:
        yield f"drift {statistic(model.drift_alarm.score)}"
    if model.performance_alarm:
        yield f"{model.performance_alarm.metric} {metric(model.performance_alarm.value)}"


def _sparkline(model: ModelOverview) -> str:
    """Draw the scores of the last drift reports, from 0 to 1."""
    return "".join(BARS[min(int(point.score * len(BARS)), len(BARS) - 1)] for point in model.drift)
