"""Commands about drift."""

from pathlib import Path

import click

from modelward import Client, DriftReport
from modelward.cli.output import Output, make_table, remote
from modelward.cli.tables import DATA, read_table


@click.command()
@click.argument("version", metavar="MODEL/VERSION")
@DATA
@click.option("--reference", default="", help="The reference to compare with.  [default: default]")
@click.option("--label", default="", help="What the data are, for people who read the report.")
@remote
def drift(client: Client, out: Output, version: str, data: Path, reference: str, label: str) -> None:
    """Compare the CSV or Parquet file DATA with the training data of a version."""
    _show(out, client.detect_drift(version, read_table(data), reference=reference, label=label or data.name))


@click.command()
@click.argument("model")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="How many at the most.")
@remote
def reports(client: Client, out: Output, model: str, limit: int) -> None:
    """List the drift reports of MODEL, the newest first."""
    found = [report for report, _ in zip(client.list_drift_reports(model), range(limit), strict=False)]
    out.rows(
        found,
        ["when (UTC)", "version", "data", "rows", "drift", "score", "confidence", "drivers"],
        lambda r: [
            r.created_at,
            str(r.version),
            r.label,
            r.rows,
            r.drift_detected,
            r.score,
            r.confidence,
            ", ".join(r.drivers),
        ],
    )


def _show(out: Output, report: DriftReport) -> None:
    table = make_table(
        ["feature", "drift", "score", "KS", "needs", "KL", "needs", "p", "missing"],
        (
            [
                f.name,
                f.drifted,
                round(f.score, 2),
                round(f.ks, 3),
                round(f.ks_threshold, 3),
                round(f.kl, 3),
                round(f.kl_threshold, 3),
                round(f.adjusted_p_value, 3),
                f"{f.missing_share:.0%}",
            ]
            for f in report.features
        ),
    )
    facts = {
        "version": f"{report.version}, reference {report.reference} of {report.reference_rows} rows",
        "data": f"{report.label}, {report.rows} rows".lstrip(", "),
        "drift": report.drift_detected,
        "score": round(report.score, 2),
        "confidence": f"{report.confidence:.1%}",
        "report": report.report_id,
    }
    out.record(report, facts, table, report.summary, *(f"[dim]note: {caveat}[/]" for caveat in report.caveats))


COMMANDS = [drift, reports]
