"""Commands for comparisons and benchmarks."""

from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from modelward import Comparison, Metric, ModelBenchmark, ModelResult
from modelward.cli.cells import Cell
from modelward.cli.completion import complete_models, complete_versions
from modelward.cli.drift import SAVE, render_to
from modelward.cli.options import BY, DATA, GROUP, IGNORE, TIME, Duration, FileOrUri, limit, regimes
from modelward.cli.output import Cells, Output, make_table
from modelward.cli.remote import remote
from modelward.cli.tables import read_table, reference_for
from modelward.cli.trials import TRIALS, read_trials
from modelward.comparison import AnyMetric
from modelward.shared.figures import difference, metric, percent, probability, statistic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modelward import Client, Reference


@click.command()
@click.argument(
    "versions", nargs=-1, required=True, metavar="MODEL/VERSION MODEL/VERSION...", shell_complete=complete_versions
)
@click.argument("data", type=FileOrUri(unless="replay"))
@click.option("--label", metavar="COLUMN", help="The column of DATA with the labels.")
@click.option(
    "--replay",
    type=Duration(),
    is_eager=True,
    metavar="SPAN",
    help="Compare on the live rows of so much time, such as 30d, with the labels recorded since; without DATA.",
)
@click.option("--returns", metavar="COLUMN", help="The column with the returns, for the metrics of trading.")
@IGNORE
@TIME
@GROUP
@BY
@regimes
@click.option("--horizon", type=click.IntRange(1), default=1, metavar="TIMES", help="How many times a label reaches.")
@click.option("--primary", type=click.Choice([metric.value for metric in Metric]), help="The metric that decides.")
@click.option("--baseline", metavar="MODEL/VERSION", help="By default that in production, or else the first.")
@click.option("--sample-weights", metavar="COLUMN", help="The column with the weight of each row in the metrics.")
@click.option("--cost-bps", type=click.FloatRange(0), default=0.0, help="Cost of changing the position by 1.")
@click.option("--portfolio-weights", metavar="COLUMN", help="The column with each position's share of the capital.")
@click.option(
    "--equal-risk",
    type=click.IntRange(2),
    metavar="TIMES",
    help="Weight positions by 1 / volatility of so many earlier returns.",
)
@TRIALS
@SAVE
@remote
def compare(
    client: "Client",
    out: Output,
    versions: tuple[str, ...],
    data: Path | str,
    label: str | None,
    replay: timedelta | None,
    returns: str | None,
    ignore: tuple[str, ...],
    time: str | None,
    group: str | None,
    by: str | None,
    periods: tuple[tuple[str, Any], ...],
    closures: tuple[tuple[str, Any], ...],
    horizon: int,
    primary: str | None,
    baseline: str | None,
    sample_weights: str | None,
    cost_bps: float,
    portfolio_weights: str | None,
    equal_risk: int | None,
    trials: str,
    save: Path | None,
) -> None:
    """Compare versions on test data, with statistical significance.

    DATA is a CSV, Parquet or Arrow file with the features and the labels, or the URI of Parquet files that the server
    may read. A CSV column is read with the type that it has in the reference data of the first version that has any.
    Rows are sorted by the columns that --time and --group name; without them they are taken to be in order of time.
    --by, --period and --closure add a result for each segment of the rows. With --replay there is no DATA: the rows are
    those that live monitoring saw.
    """
    if replay is not None:
        versions = (*versions, str(data))
    columns = {"returns": returns, "portfolio_weights": portfolio_weights, "sample_weights": sample_weights}
    known = reference_for(client, versions, data) if isinstance(data, Path) else None
    sent = _test_set(data, replay, label, columns, ignore, known)
    keys = {"time": time, "group": group, "by": by, "regimes": dict((*periods, *closures))}
    comparison = _compared(
        client,
        versions,
        **sent,
        **keys,
        primary=primary,
        baseline=baseline,
        horizon=horizon,
        cost_bps=cost_bps,
        equal_risk_times=equal_risk or 0,
        trials=read_trials(trials),
    )
    if save:
        render_to(client, comparison.comparison_id, save)
    _show(out, comparison)


@click.command()
@click.argument("versions", nargs=-1, required=True, metavar="MODEL/VERSION...", shell_complete=complete_versions)
@DATA
@click.option("--rows", "batch_rows", multiple=True, type=click.IntRange(1), default=(1, 1000), show_default=True)
@click.option("--seconds", type=click.FloatRange(0.05), default=2.0, show_default=True, help="For each batch size.")
@click.option("--label", metavar="COLUMN", help="A column of DATA that is not a feature.")
@IGNORE
@remote
def benchmark(
    client: "Client",
    out: Output,
    versions: tuple[str, ...],
    data: Path,
    batch_rows: tuple[int, ...],
    seconds: float,
    label: str | None,
    ignore: tuple[str, ...],
) -> None:
    """Measure the latency of versions on rows of the file DATA."""
    table = read_table(data, reference_for(client, versions, data), ignore)
    features = table.select([name for name in table.column_names if name != label])
    benchmarks = client.benchmark(versions, features, batch_rows=batch_rows, seconds=seconds)
    headings = ["version", "rows", "p50 ms", "p95 ms", "p99 ms", "rows/s", "load ms", "memory MiB", "files KiB"]
    failures = (Text(f"{one.version} failed: {one.failure}", "red") for one in benchmarks if one.failure)
    table = make_table(headings, _timed(benchmarks))
    out.record(benchmarks, {}, table, *failures, rows=table)


def _timed(benchmarks: "list[ModelBenchmark]") -> "Iterator[list[object]]":
    for benchmark in benchmarks:
        for batch in benchmark.batches:
            yield [
                str(benchmark.version),
                batch.batch_rows,
                *map(_milliseconds, (batch.p50.value, batch.p95.value, batch.p99.value)),
                Cell(batch.rows_per_second, f"{batch.rows_per_second:,.0f}"),
                1000 * benchmark.load_seconds,
                benchmark.peak_memory_bytes >> 20,
                benchmark.size_bytes >> 10,
            ]


@click.command()
@click.argument("model", default="", shell_complete=complete_models)
@limit(20)
@remote
def comparisons(client: "Client", out: Output, model: str, limit: int) -> None:
    """List the comparisons of MODEL or of all, the newest first."""
    out.rows(
        list(islice(client.list_comparisons(model), limit)),
        ["comparison", "time (UTC)", "baseline", "best", "primary metric", "verdict", "by"],
        lambda c: [
            c.comparison_id,
            c.created_at,
            str(c.baseline),
            str(c.best),
            c.primary_metric,
            c.conclusion.verdict or "none",
            c.created_by,
        ],
        prose=("summary", lambda c: c.summary),
        none=f"there is no comparison with a version of {model}" if model else "there is no comparison",
    )


def _test_set(
    data: Path | str,
    replay: timedelta | None,
    label: str | None,
    columns: "Mapping[str, str | None]",
    ignore: tuple[str, ...],
    known: "Reference | None",
) -> dict[str, Any]:
    """Return the arguments of a comparison on a file, on a URI, or on the rows of live monitoring.

    Args:
        known: the reference whose kinds the columns of a CSV file have.
    """
    if (label is None) == (replay is None):
        raise click.UsageError("give --label, the column of DATA with the labels, or --replay without DATA")
    if replay is not None:
        return {"replay": replay, **columns, "ignore": ignore}
    named = {"y": label, **columns}
    return {"X": data, **named, "ignore": ignore} if isinstance(data, str) else _columns(data, named, ignore, known)


def _columns(
    data: Path, columns: "Mapping[str, str | None]", ignore: tuple[str, ...], known: "Reference | None"
) -> dict[str, Any]:
    """Read a file, and return its columns as arguments of a comparison; `columns` names those with one of their own."""
    table = read_table(data, known, ignore)
    names = {name for name in columns.values() if name}
    if missing := names.difference(table.column_names):
        raise click.UsageError(
            f"{data} has no column {min(missing)!r}; its columns are {', '.join(table.column_names)}"
        )
    found = {argument: table[name] for argument, name in columns.items() if name}
    return {"X": table.drop_columns(sorted(names)), **found}


def _compared(client: "Client", versions: tuple[str, ...], **asked: Any) -> Comparison:
    """Compare, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("comparing", total=1.0)
        return client.compare(
            versions,
            **asked,
            on_progress=lambda step: progress.update(task, completed=step.fraction, description=step.message),
        )


def _show(out: Output, comparison: Comparison) -> None:
    facts = {
        "rows": comparison.rows,
        "primary metric": comparison.primary_metric,
        "baseline": str(comparison.baseline),
        "comparison": comparison.comparison_id,
        "backtest": comparison.overfitting.summary if comparison.overfitting else "",
    }
    notes = (Text(f"note: {note}", "dim") for note in comparison.notes)
    failures = (
        Text(f"{result.version} failed: {result.failure}", "red") for result in comparison.results if result.failure
    )
    table = _table(comparison)
    segments = [make_table(SEGMENT_HEADINGS, _segment_rows(comparison))] if comparison.segments else []
    out.record(comparison, facts, table, *segments, comparison.summary, *failures, *notes, rows=table)


SEGMENT_HEADINGS = ["segment", "version", "value", "difference", "adjusted p", "verdict", "rows"]


def _segment_rows(comparison: Comparison) -> "Iterator[list[object]]":
    for segment in comparison.segments:
        name = f"{segment.column} {segment.name}".lstrip()
        if segment.note:
            yield [name, "", "", "", "", f"not tested: {segment.note}", segment.rows]
        for one in segment.results:
            if one.difference is not None:
                yield [
                    name,
                    str(one.version),
                    Cell(one.estimate.value, metric(one.estimate.value)),
                    Cell(one.difference.difference, difference(one.difference.difference)),
                    Cell(one.difference.adjusted_p_value, probability(one.difference.adjusted_p_value)),
                    one.verdict or "",
                    segment.rows,
                ]


def _table(comparison: Comparison) -> Cells:
    """Print the versions side by side, the best first."""
    ran = [result for result in comparison.results if not result.failure]
    return make_table(["", *(str(result.version) for result in ran)], _rows(ran, comparison))


def _rows(ran: list[ModelResult], comparison: Comparison) -> "Iterator[list[object]]":
    for measured in comparison.metrics:
        style = "bold" if measured == comparison.primary_metric else ""
        yield [Text(measured, style), *(_figure(result, measured, style) for result in ran)]
    if any(result.coverage not in {None, 1} for result in ran):
        yield ["rows answered", *(_coverage(result) for result in ran)]
    if any(map(_leaks, ran)):
        yield ["leaks", *map(_leaks, ran)]
    yield ["ms per row, median", *(_latency(result, "row_p50") for result in ran)]
    yield ["ms per row, p99", *(_latency(result, "row_p99") for result in ran)]
    if any(result.cost_curve for result in ran):
        yield ["break-even cost, bp", *(_break_even(result) for result in ran)]
    yield ["verdict against baseline", *(result.verdict or "" for result in ran)]


def _break_even(result: ModelResult) -> Cell | str:
    cost = result.cost_curve.break_even_bps if result.cost_curve else None
    return "" if cost is None else Cell(cost, metric(cost))


def _leaks(result: ModelResult) -> str:
    return ", ".join(leak.kind.replace("_", " ") for leak in result.leaks if leak.found)


def _figure(result: ModelResult, measured: AnyMetric, style: str) -> Cell | str:
    if any(one.metric == measured for one in result.undefined):
        return "undefined"
    return Cell(result[measured], Text(metric(result[measured]), style))


def _coverage(result: ModelResult) -> Cell | str:
    return "" if result.coverage is None else Cell(result.coverage, percent(result.coverage))


def _latency(result: ModelResult, span: str) -> Cell | str:
    return _milliseconds(getattr(result.latency, span).total_seconds()) if result.latency else ""


def _milliseconds(seconds: float) -> Cell:
    return Cell(1000 * seconds, statistic(1000 * seconds))
