"""The command that sets fold tables side by side."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from modelward import FoldComparison
from modelward.cli.cells import Cell
from modelward.cli.completion import complete_versions
from modelward.cli.output import Output, make_table
from modelward.cli.remote import remote
from modelward.shared.figures import difference, metric

if TYPE_CHECKING:
    from modelward import Client


@click.command()
@click.argument("versions", nargs=-1, required=True, metavar="MODEL/VERSION...", shell_complete=complete_versions)
@click.option("--baseline", metavar="MODEL/VERSION", help="Differences are from it; the first version by default.")
@remote
def folds(client: "Client", out: Output, versions: tuple[str, ...], baseline: str | None) -> None:
    """Show the fold tables of versions side by side."""
    found = client.compare_folds(versions, baseline=baseline)
    names = list(map(str, found.versions))
    table = make_table(["fold", "test", "metric", *names], _folds(found, names))
    heading = ["metric", "version", "folds", "mean", "deviation", "difference", "deviation of it", "common folds"]
    out.record(found, {"baseline": str(found.baseline)}, table, make_table(heading, _summaries(found)), rows=table)


def _folds(found: FoldComparison, names: list[str]) -> Iterator[list[object]]:
    for row in found.rows:
        window = f"{row.test_from} to {row.test_until}" if row.test_from or row.test_until else ""
        yield [row.fold, window, row.metric, *(_figure(row.values.get(name)) for name in names)]


def _summaries(found: FoldComparison) -> Iterator[list[object]]:
    for one in found.summaries:
        less = "" if one.difference is None else Cell(one.difference, difference(one.difference))
        spreads = _figure(one.deviation), _figure(one.difference_deviation)
        paired = one.paired_folds if one.version != found.baseline else ""
        yield [one.metric, str(one.version), one.folds, _figure(one.mean), spreads[0], less, spreads[1], paired]


def _figure(value: float | None) -> Cell | str:
    return "" if value is None else Cell(value, metric(value))
