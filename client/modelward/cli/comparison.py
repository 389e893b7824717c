"""Commands about comparison."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from modelward import Client, Comparison, Metric, ModelResult
from modelward.cli.options import DATA, read_table
from modelward.cli.output import Output, make_table
from modelward.cli.remote import remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table


@click.command()
@click.argument("versions", nargs=-1, required=True, metavar="MODEL/VERSION MODEL/VERSION...")
@DATA
@click.option("--label", required=True, metavar="COLUMN", help="The column of DATA that holds the truth.")
@click.option("--primary", type=click.Choice([metric.value for metric in Metric]), help="The metric that decides.")
@remote
def compare(
    client: Client, out: Output, versions: tuple[str, ...], data: Path, label: str, primary: str | None
) -> None:
    """Run versions on the file DATA and say which is better.

    DATA is a CSV or Parquet file with the features and the truth. How much of a difference may be luck is said too.
    """
    table = read_table(data)
    if label not in table.column_names:
        raise click.UsageError(f"{data} has no column {label!r}; it has {', '.join(table.column_names)}")
    truth, features = table[label].to_numpy(), table.drop_columns([label])
    _show(out, _compared(client, versions, features, truth, primary))


def _compared(
    client: Client, versions: tuple[str, ...], features: object, truth: object, primary: str | None
) -> Comparison:
    """Compare, with a progress bar where somebody looks on."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("comparing", total=1.0)
        return client.compare(
            versions,
            features,
            truth,
            primary=primary,
            on_progress=lambda step: progress.update(task, completed=step.fraction, description=step.message),
        )


def _show(out: Output, found: Comparison) -> None:
    facts = {
        "rows": found.rows,
        "decided by": found.primary_metric,
        "baseline": str(found.baseline),
        "comparison": found.comparison_id,
    }
    notes = (Text(f"note: {note}", "dim") for note in found.notes)
    failures = (Text(f"{result.version} failed: {result.failure}", "red") for result in found.results if result.failure)
    out.record(found, facts, _table(found), found.summary, *failures, *notes)


def _table(found: Comparison) -> "Table":
    """Set versions side by side, the best first."""
    ran = [result for result in found.results if not result.failure]
    return make_table(["", *(str(result.version) for result in ran)], _rows(ran, found.primary_metric))


def _rows(ran: list[ModelResult], primary: Metric) -> "Iterator[list[object]]":
    for estimate in ran[0].metrics:
        style = "bold" if estimate.metric == primary else ""
        figures = (f"{result[estimate.metric]:.4f}" for result in ran)
        yield [Text(text, style) for text in (estimate.metric, *figures)]
    yield ["ms per row, median", *(_milliseconds(result, "row_p50") for result in ran)]
    yield ["ms per row, 99 %", *(_milliseconds(result, "row_p99") for result in ran)]
    yield ["against baseline", *(result.verdict or "" for result in ran)]


def _milliseconds(result: ModelResult, span: str) -> str:
    return f"{getattr(result.latency, span).total_seconds() * 1000:.3f}" if result.latency else ""
