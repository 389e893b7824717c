"""Commands about drift."""

from itertools import islice
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal

import click
from rich.text import Text

from modelward import Client, DriftReport, FeatureDrift
from modelward.cli.options import DATA, IGNORE, limit
from modelward.cli.output import Output, make_table
from modelward.cli.remote import remote
from modelward.cli.tables import is_csv, read_table
from modelward.shared.figures import beside, p_equals, percent, probability, score, statistic

FORMATS: dict[str, Literal["html", "png"]] = {".html": "html", ".png": "png"}


class Drawing(click.ParamType[Path]):
    """A file to draw a report into; its ending says how."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        if path.suffix.lower() not in FORMATS:
            self.fail(f"{str(path)!r} must end in .html or .png", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"there is no folder {str(path.parent)!r}", param, ctx)
        return path


SAVE = click.option("--save", type=Drawing(), metavar="FILE", help="Draw the report into a .html or .png file.")


@click.command()
@click.argument("version", metavar="MODEL/VERSION")
@DATA
@click.option("--reference", default="", metavar="NAME", help="The reference to compare with.  [default: default]")
@click.option("--label", default="", metavar="TEXT", help="What the data are, for people who read the report.")
@IGNORE
@SAVE
@remote
def drift(
    client: Client,
    out: Output,
    version: str,
    data: Path,
    reference: str,
    label: str,
    ignore: tuple[str, ...],
    save: Path | None,
) -> None:
    """Compare the file DATA with a version's training data.

    DATA is a CSV, Parquet or Arrow file with the features that the version was trained on. A column of CSV is read as
    the training data have it; an empty text is a missing one.
    """
    known = client.get_reference(version, name=reference) if is_csv(data) else None
    table = read_table(data, known, ignore)
    report = client.detect_drift(version, table, reference=reference, label=label or data.name)
    if save:
        draw(client, report.report_id, save)
    _show(out, report)


@click.command()
@click.argument("report_id")
@SAVE
@click.option("--open", "opened", is_flag=True, help="Open the file that was saved.")
@remote
def report(client: Client, out: Output, report_id: str, save: Path | None, opened: bool) -> None:
    """Draw a drift report or a comparison as a page or a picture.

    `drift`, `reports`, `compare` and `comparisons` tell its id.

    Without --save a page is written into the folder for temporary files and opened.
    """
    drawn = save or Path(gettempdir(), f"modelward-{report_id}.html")
    draw(client, report_id, drawn)
    out.say({"file": str(drawn)}, f"{drawn} holds the report")
    if opened or not save:
        click.launch(str(drawn))


def draw(client: Client, report_id: str, path: Path) -> None:
    """Draw a report, as the file's ending says; comparisons have ids that say so."""
    render = client.render_comparison if report_id.startswith("comparison-") else client.render_drift_report
    path.write_bytes(render(report_id, FORMATS[path.suffix.lower()]))


def _show(out: Output, report: DriftReport) -> None:
    headings = ["feature", "drift", "score", "KS", "needs", "KL", "needs", "p", "missing"]
    facts = {
        "version": f"{report.version}, reference {report.reference} of {report.reference_rows} rows",
        "data": f"{report.label}, {report.rows} rows".lstrip(", "),
        "drift": _yes_or_no(report.drift_detected),
        "score": score(report.score),
        "confidence": percent(report.confidence),
        **_together(report),
        "report": report.report_id,
    }
    caveats = (Text(f"note: {caveat}", "dim") for caveat in report.caveats)
    out.record(report, facts, make_table(headings, map(_row, report.features)), report.summary, *caveats)


def _together(report: DriftReport) -> dict[str, str]:
    """Say how the features compare together, and which regime is the nearest, where there is something to say."""
    joint, said = report.joint, {}
    if joint.rows:
        auc, needed = beside(joint.auc, joint.auc_threshold)
        said["together"] = f"AUC {auc} (needs {needed}), {p_equals(joint.p_value)}"
    if len(report.references) > 1:
        said["nearest"] = ", ".join(f"{one.name} ({statistic(one.distance)})" for one in report.references)
    return said


def _row(feature: FeatureDrift) -> list[object]:
    return [
        feature.name,
        _yes_or_no(feature.drifted),
        score(feature.score),
        *beside(feature.ks, feature.ks_threshold),
        *beside(feature.kl, feature.kl_threshold),
        probability(feature.adjusted_p_value),
        percent(feature.missing_share),
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
        ["report", "when (UTC)", "version", "data", "rows", "drift", "score", "confidence"],
        lambda r: [
            r.report_id,
            r.created_at,
            str(r.version),
            r.label,
            r.rows,
            _yes_or_no(r.drift_detected),
            score(r.score),
            percent(r.confidence),
        ],
        prose=("drivers", lambda r: ", ".join(r.drivers)),
        none=f"there is no drift report of {model}",
    )
