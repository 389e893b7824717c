"""The live performance of a version as one self-contained HTML page."""

from collections.abc import Sequence

from modelward.drift import Performance
from modelward.lifecycle import ModelVersion
from modelward_server.reports.page import templates
from modelward_server.reports.performance.courses import metric_courses

_templates = templates(__package__)


def draw_page(version: ModelVersion, periods: Sequence[Performance]) -> bytes:
    """Draw performance as UTF-8 HTML.

    Args:
        version: the version.
        periods: at least one, the newest first.
    """
    page = _templates.get_template("performance_report.html.jinja").render(
        version=version,
        periods=periods,
        declined=[period for period in periods if period.declined],
        metrics=metric_courses(version.metrics, periods[::-1]),
    )
    return page.encode()
