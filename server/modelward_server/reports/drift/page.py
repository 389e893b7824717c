"""A drift report as one self-contained HTML page: no script, font or picture is loaded from elsewhere."""

from collections.abc import Sequence

from modelward.drift import DriftReport
from modelward_server.drift.queries import ReportScore
from modelward_server.reports.drift import charts
from modelward_server.reports.page import templates
from modelward_server.reports.wording import ADJUSTMENTS

MAX_PAGE_BYTES = 3_500_000
"""Maximum size of a page: a gRPC message is limited to 4 MiB by default."""
MAX_FEATURES_DRAWN = 6
MAX_DRIVERS_NAMED = 12

_templates = templates(__package__)


def draw_page(report: DriftReport, scores: Sequence[ReportScore]) -> bytes:
    """Draw a report as UTF-8 HTML of at most `MAX_PAGE_BYTES`; a longer table is truncated, and the page states it.

    Args:
        report: the report.
        scores: the scores of earlier reports and of this one, the oldest first.
    """
    rows = len(report.features)
    page = _fill(report, scores, rows)
    while len(page) > MAX_PAGE_BYTES and rows:
        rows = rows * MAX_PAGE_BYTES // len(page) * 9 // 10
        page = _fill(report, scores, rows)
    return page


def _fill(report: DriftReport, scores: Sequence[ReportScore], rows: int) -> bytes:
    page = _templates.get_template("drift_report.html.jinja").render(
        report=report,
        drawn=report.features[:MAX_FEATURES_DRAWN],
        drivers=[feature for feature in report.features if feature.drifted][:MAX_DRIVERS_NAMED],
        table=report.features[:rows],
        course=charts.course(scores),
        steps=charts.steps,
        bars=charts.bars,
        adjustment=ADJUSTMENTS,
    )
    return page.encode()
