"""Commands for drift detection."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from rich.text import Text

from modelward import DriftReport, FeatureDrift, SegmentDrift
from modelward.cli.cells import Cell
from modelward.cli.completion import complete_models, complete_versions
from modelward.cli.options import BY, DATA, GROUP, IGNORE, TIME, ParamType, limit, regimes
from modelward.cli.output import Output, make_table
from modelward.cli.remote import remote
from modelward.cli.tables import is_csv, read_table
from modelward.shared.figures import beside, p_equals, percent, probability, score, statistic

if TYPE_CHECKING:
    from modelward import Client

FORMATS: dict[str, Literal["html", "png"]] = {".html": "html", ".png": "png"}


class Drawing(ParamType[Path]):
    """The path of a rendered report; its extension selects the format."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        if path.suffix.lower() not in FORMATS:
            self.fail(f"{str(path)!r} must end in .html or .png", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"there is no folder {str(path.parent)!r}", param, ctx)
        return path


SAVE = click.option("--save", type=Drawing(), metavar="FILE", help="Render the report to a .html or .png file.")


@click.command()
@click.argument("version", metavar="MODEL/VERSION", shell_complete=complete_versions)
@DATA
@click.option("--reference", default="", metavar="NAME", help="The reference to compare with.  [default: default]")
@click.option("--label", default="", metavar="TEXT", help="What the data are, for people who read the report.")
@IGNORE
@TIME
@GROUP
@BY
@regimes
@SAVE
@remote
def drift(
    client: "Client",
    out: Output,
    version: str,
    data: Path,
    reference: str,
    label: str,
    ignore: tuple[str, ...],
    time: str | None,
    group: str | None,
    by: str | None,
    periods: tuple[tuple[str, Any], ...],
    closures: tuple[tuple[str, Any], ...],
    save: Path | None,
) -> None:
    """Detect drift of DATA from a version's reference data.

    DATA is a CSV, Parquet or Arrow file with the features that the version was trained on. A CSV column is read with
    the type that it has in the reference data; an empty text is a missing value. Rows are sorted by the columns that
    --time and --group name, or else by those of the reference data. --by, --period and --closure add a result for
    each segment of the rows.
    """
    known = client.get_reference(version, name=reference) if is_csv(data) else None
    table = read_table(data, known, ignore)
    report = client.detect_drift(
        version,
        table,
        reference=reference,
        label=label or data.name,
        time=time,
        group=group,
        by=by,
        regimes=dict((*periods, *closures)),
    )
    if save:
        render_to(client, report.report_id, save)
    _show(out, report)


def render_to(client: "Client", report_id: str, path: Path) -> None:
    """Render a report in the format of the file's extension; the ids of comparisons are recognized by their prefix."""
    render = client.render_comparison if report_id.startswith("comparison-") else client.render_drift_report
    path.write_bytes(render(report_id, FORMATS[path.suffix.lower()]))


def _show(out: Output, report: DriftReport) -> None:
    headings = ["feature", "drift", "score", "KS", "limit", "KL", "limit", "p", "missing"]
    facts = {
        "version": f"{report.version}, reference {report.reference} of {report.reference_rows} rows",
        "data": f"{report.label}, {report.rows} rows".lstrip(", "),
        "drift": _yes_or_no(report.drift_detected),
        "score": score(report.score),
        "confidence": percent(report.confidence),
        **_multivariate(report),
        "report": report.report_id,
    }
    caveats = (Text(f"note: {caveat}", "dim") for caveat in report.caveats)
    table = make_table(headings, map(_row, report.features))
    segments = [make_table(SEGMENT_HEADINGS, map(_segment, report.segments))] if report.segments else []
    out.record(report, facts, table, *segments, report.summary, *caveats, rows=table)


SEGMENT_HEADINGS = ["segment", "drift", "score", "p", "adjusted p", "rows", "drivers"]


def _segment(segment: SegmentDrift) -> list[object]:
    name = f"{segment.column} {segment.name}".lstrip()
    if segment.p_value is None or segment.adjusted_p_value is None:
        return [name, "", "", "", "", segment.rows, f"not tested: {segment.note}"]
    return [
        name,
        _yes_or_no(segment.drift_detected),
        Cell(segment.score, score(segment.score)),
        Cell(segment.p_value, probability(segment.p_value)),
        Cell(segment.adjusted_p_value, probability(segment.adjusted_p_value)),
        segment.rows,
        ", ".join(segment.drivers),
    ]


def _multivariate(report: DriftReport) -> dict[str, str]:
    """Return the multivariate comparison and the distances from the references, where they exist."""
    joint, fields = report.joint, {}
    if joint.rows:
        auc, needed = beside(joint.auc, joint.auc_threshold)
        measured = f"AUC {auc} (threshold {needed})" if joint.auc else "not significant"
        fields["multivariate"] = f"{measured}, {p_equals(joint.p_value)}"
    if len(report.references) > 1:
        fields["nearest"] = ", ".join(f"{one.name} ({statistic(one.distance)})" for one in report.references)
    return fields


def _row(feature: FeatureDrift) -> list[object]:
    return [
        feature.name,
        _yes_or_no(feature.drifted),
        Cell(feature.score, score(feature.score)),
        *_beside(feature.ks, feature.ks_threshold),
        *_beside(feature.kl, feature.kl_threshold),
        Cell(feature.adjusted_p_value, probability(feature.adjusted_p_value)),
        Cell(feature.missing_share, percent(feature.missing_share)),
    ]


def _beside(value: float, threshold: float) -> list[Cell]:
    return list(map(Cell, (value, threshold), beside(value, threshold)))


def _yes_or_no(drifted: bool) -> Cell:
    return Cell(drifted, Text("yes", "bold red") if drifted else Text("no", "green"))


@click.command()
@click.argument("model", shell_complete=complete_models)
@limit(20)
@remote
def reports(client: "Client", out: Output, model: str, limit: int) -> None:
    """List the drift reports of MODEL, the newest first."""
    out.rows(
        list(islice(client.list_drift_reports(model), limit)),
        ["report", "time (UTC)", "version", "data", "rows", "drift", "score", "confidence"],
        lambda r: [
            r.report_id,
            r.created_at,
            str(r.version),
            r.label,
            r.rows,
            _yes_or_no(r.drift_detected),
            Cell(r.score, score(r.score)),
            Cell(r.confidence, percent(r.confidence)),
        ],
        prose=("drivers", lambda r: ", ".join(r.drivers)),
        none=f"there is no drift report of {model}",
    )
