"""Commands that let the server predict, and tell what it predicted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelward.assignment import assign
from modelward.cli.cells import Cell
from modelward.cli.completion import complete_models
from modelward.cli.options import DATA, STAGE, Instant, limit
from modelward.cli.output import Output, make_table
from modelward.cli.remote import remote
from modelward.cli.tables import is_csv, read_table, reference_for
from modelward.shared.figures import metric, probability

if TYPE_CHECKING:
    from modelward import Client, LoggedAnswer, Reference, Scores

SHOWN_FAILURES = 10
"""Maximum number of rows for which it is told why the model failed; JSON has all."""
SHOWN = 100
"""Maximum number of rows that are shown as a table; JSON and CSV have all."""


@click.command()
@click.argument("model", shell_complete=complete_models)
@DATA
@click.option("--stage", type=STAGE, help="The stage whose version predicts.  [default: production]")
@click.option("--version", type=int, metavar="NUMBER", help="The version that predicts.")
@click.option("--as-of", type=Instant(), metavar="TIME", help="The version that was in the stage at this time.")
@click.option(
    "--top", type=click.IntRange(1), default=None, metavar="ROWS", help="Only the rows with the highest scores."
)
@click.option("--row-errors", is_flag=True, help="List rows for which the model fails, and answer the others.")
@click.option("--ab-test", default="", metavar="NAME", help="The A/B test that chooses the version, by --unit.")
@click.option("--unit", default="", help="With --ab-test: the unit, such as an account.")
@remote
def score(
    client: Client,
    out: Output,
    model: str,
    data: Path,
    stage: str | None,
    version: int | None,
    as_of: datetime | None,
    top: int | None,
    row_errors: bool,
    ab_test: str,
    unit: str,
) -> None:
    """Predict rows with the version in production.

    DATA is a CSV, Parquet or Arrow file with the columns that the model takes; others are ignored. A CSV column is read
    with the type that it has in the reference data of the version.
    """
    known = _reference(client, model, data, stage, version, as_of, ab_test, unit) if is_csv(data) else None
    found = client.score(
        model,
        read_table(data, known),
        stage=stage,
        version=version,
        as_of=as_of,
        top_k=top or 0,
        row_errors=row_errors,
        ab_test=ab_test,
        unit=unit,
    )
    _show(out, found)


@click.command()
@click.argument("model", default="", shell_complete=complete_models)
@click.option("--version", type=int, default=0, metavar="NUMBER", help="Only answers of this version.")
@click.option("--request", default="", metavar="ID", help="Only answers to the call with this request id.")
@click.option("--client", "caller", default="", metavar="NAME", help="Only answers to this client.")
@click.option("--at", type=Instant(), help="Only answers at this time or before: the first is what decided then.")
@click.option("--since", type=Instant(), help="Only answers at this time or later.")
@click.option("--until", type=Instant(), help="Only answers before this time.")
@limit(50)
@remote
def scores(
    client: Client,
    out: Output,
    model: str,
    version: int,
    request: str,
    caller: str,
    at: datetime | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> None:
    """List which versions answered which calls.

    The newest first; of MODEL, or of all models. What the server logs, its setting score_log says.
    """
    if at and until:
        raise click.UsageError("give --at or --until")
    before = at + timedelta(microseconds=1) if at else until
    found = client.list_scores(
        model, version=version, request_id=request, actor=caller, scored_after=since, scored_before=before
    )
    out.rows(
        list(islice(found, limit)),
        ["time (UTC)", "version", "stage", "method", "rows", "who", "request"],
        lambda s: [s.scored_at, str(s.version), s.stage, s.method, s.rows, s.actor, s.request_id],
        prose=("failed", lambda s: s.error),
        none="no score is logged",
    )


def _reference(
    client: Client,
    model: str,
    data: Path,
    stage: str | None,
    version: int | None,
    as_of: datetime | None,
    ab_test: str,
    unit: str,
) -> Reference | None:
    """Return the reference of the version that is going to answer; None if it has none."""
    if ab_test and unit:
        return reference_for(client, [assign(client.get_ab_test(ab_test), unit).variant.version], data)
    chosen = client.resolve(model, stage=stage, version=version, as_of=as_of)
    return reference_for(client, [chosen.version], data)


def _show(out: Output, found: Scores) -> None:
    facts: dict[str, object] = {"version": f"{found.version}, {found.stage}", "digest": found.digest[:12]}
    facts |= {"request": found.request_id, **_then(found.logged)}
    if found.variant:
        facts["variant"] = found.variant if found.in_test else f"{found.variant}, not in the test"
    if found.ties:
        facts["ties"] = f"{found.ties:,} further rows have the last score"
    facts |= {f"row {row}": why for row, why in sorted(found.failed.items())[:SHOWN_FAILURES]}
    if (rest := len(found.failed) - SHOWN_FAILURES) > 0:
        facts["failed"] = f"{rest:,} more {'row' if rest == 1 else 'rows'}; --format json has all"
    rows = found._rows()
    headings = list(rows[0]) if rows else ["row", "prediction"]
    shown = make_table(headings, [_cells(row) for row in rows[:SHOWN]])
    more = [f"and {len(rows) - SHOWN:,} more rows; --format csv or json has all"] if len(rows) > SHOWN else []
    out.record(found, facts, shown, *more, rows=make_table(headings, [_cells(row) for row in rows]))


def _then(logged: LoggedAnswer | None) -> dict[str, object]:
    """Return how an answer about the past compares with the log."""
    if logged is None:
        return {}
    same = {None: "not logged for these rows", True: "the same answer", False: "another answer"}
    return {"then": same[logged.same_answer], "libraries": "; ".join(logged.library_changes) or "unchanged"}


def _cells(row: Mapping[str, object]) -> list[object]:
    return [_cell(name, value) for name, value in row.items()]


def _cell(name: str, value: object) -> object:
    if not isinstance(value, float):
        return value
    return Cell(value, probability(value) if name.startswith("probability:") else metric(value))
