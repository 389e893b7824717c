"""A drift report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from collections.abc import Sequence

from modelward.drift import DriftReport
from modelward_server.drift.queries import ReportScore
from modelward_server.reports.drift import charts
from modelward_server.reports.page import templates

PAGE_BYTES = 3_500_000
"""What a page may take: a message of gRPC holds 4 MiB by default."""
FEATURES_DRAWN = 6
DRIVERS_NAMED = 12

_templates = templates(__package__)


def draw_page(report: DriftReport, scores: Sequence[ReportScore]) -> bytes:
    """Draw a report as UTF-8 HTML of `PAGE_BYTES` at the most; a longer table is cut, and the page says so.

    Args:
        scores: those of earlier reports and of this one, the oldest first.
    """
    rows = len(report.features)
    page = _fill(report, scores, rows)
    while len(page) > PAGE_BYTES and rows:
        rows = rows * PAGE_BYTES // len(page) * 9 // 10
        page = _fill(report, scores, rows)
    return page


def _fill(report: DriftReport, scores: Sequence[ReportScore], rows: int) -> bytes:
    page = _templates.get_template("drift_report.html.jinja").render(
        report=report,
        drawn=report.features[:FEATURES_DRAWN],
        drivers=[feature for feature in report.features if feature.drifted][:DRIVERS_NAMED],
        table=report.features[:rows],
        course=charts.course(scores),
        steps=charts.steps,
        bars=charts.bars,
    )
    return page.encode()
