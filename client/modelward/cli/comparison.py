"""Commands about comparison."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from modelward import Client
from modelward.cli.output import Output, make_table, remote
from modelward.cli.tables import DATA, read_table
from modelward.comparison import Comparison, ComparisonProgress, Metric, ModelResult


@click.command()
@click.argument("versions", nargs=-1, required=True, metavar="MODEL/VERSION MODEL/VERSION...")
@DATA
@click.option("--label", required=True, help="The column of DATA that holds the truth.")
@click.option("--primary", type=click.Choice([metric.value for metric in Metric]), help="The metric that decides.")
@remote
def compare(
    client: Client, out: Output, versions: tuple[str, ...], data: Path, label: str, primary: str | None
) -> None:
    """Run versions on the CSV or Parquet file DATA and say which is better, and whether that is luck."""
    table = read_table(data)
    if label not in table.column_names:
        raise click.UsageError(f"{data} has no column {label!r}; it has {', '.join(table.column_names)}")
    truth, features = table[label].to_numpy(), table.drop_columns([label])
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("comparing", total=1.0)

        def advance(step: ComparisonProgress) -> None:
            progress.update(task, completed=step.fraction, description=step.message)

        found = client.compare(versions, features, truth, primary=primary, on_progress=advance)
    _show(out, found)


def _show(out: Output, found: Comparison) -> None:
    metrics = [estimate.metric for estimate in found.results[0].metrics]
    table = make_table(
        ["version", *metrics, "row p50 ms", "row p99 ms"], (_row(result, metrics) for result in found.results)
    )
    facts = {"rows": found.rows, "decided by": found.primary_metric, "baseline": str(found.baseline)}
    out.record(found, facts, table, found.summary, *(f"[dim]note: {note}[/]" for note in found.notes))


def _row(result: ModelResult, metrics: list[Metric]) -> list[object]:
    if result.latency is None:
        return [str(result.version), *["" for _ in metrics[1:]], result.failure, "", ""]
    milliseconds = (span.total_seconds() * 1000 for span in (result.latency.row_p50, result.latency.row_p99))
    return [str(result.version), *(result[metric] for metric in metrics), *milliseconds]


COMMANDS = [compare]
