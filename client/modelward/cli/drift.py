"""Commands about drift."""

from itertools import islice
from pathlib import Path

import click
from rich.text import Text

from modelward import Client, DriftReport, FeatureDrift
from modelward.cli.options import DATA, limit, read_table
from modelward.cli.output import Output, make_table
from modelward.cli.remote import remote


@click.command()
@click.argument("version", metavar="MODEL/VERSION")
@DATA
@click.option("--reference", default="", metavar="NAME", help="The reference to compare with.  [default: default]")
@click.option("--label", default="", metavar="TEXT", help="What the data are, for people who read the report.")
@remote
def drift(client: Client, out: Output, version: str, data: Path, reference: str, label: str) -> None:
    """Compare the file DATA with a version's training data.

    DATA is a CSV or Parquet file with the features that the version was trained on.
    """
    _show(out, client.detect_drift(version, read_table(data), reference=reference, label=label or data.name))


def _show(out: Output, report: DriftReport) -> None:
    headings = ["feature", "drift", "score", "KS", "needs", "KL", "needs", "p", "missing"]
    facts = {
        "version": f"{report.version}, reference {report.reference} of {report.reference_rows} rows",
        "data": f"{report.label}, {report.rows} rows".lstrip(", "),
        "drift": _yes_or_no(report.drift_detected),
        "score": f"{report.score:.3f}",
        "confidence": f"{report.confidence:.1%}",
        "report": report.report_id,
    }
    caveats = (Text(f"note: {caveat}", "dim") for caveat in report.caveats)
    out.record(report, facts, make_table(headings, map(_row, report.features)), report.summary, *caveats)


def _row(feature: FeatureDrift) -> list[object]:
    figures = (
        feature.score,
        feature.ks,
        feature.ks_threshold,
        feature.kl,
        feature.kl_threshold,
        feature.adjusted_p_value,
    )
    return [
        feature.name,
        _yes_or_no(feature.drifted),
        *(f"{figure:.3f}" for figure in figures),
        f"{feature.missing_share:.1%}",
    ]


def _yes_or_no(drifted: bool) -> Text:
    return Text("yes", "bold red") if drifted else Text("no", "green")


@click.command()
@click.argument("model")
@limit(20)
@remote
def reports(client: Client, out: Output, model: str, limit: int) -> None:
    """List the drift reports of MODEL, the newest first."""
    out.rows(
        list(islice(client.list_drift_reports(model), limit)),
        ["when (UTC)", "version", "data", "rows", "drift", "score", "confidence"],
        lambda r: [
            r.created_at,
            str(r.version),
            r.label,
            r.rows,
            _yes_or_no(r.drift_detected),
            r.score,
            r.confidence,
        ],
        prose=("drivers", lambda r: ", ".join(r.drivers)),
        none=f"there is no drift report of {model}",
    )
