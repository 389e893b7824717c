"""The report of an A/B test as one self-contained HTML page."""

from modelward.abtest import AbTest, AbTestResult
from modelward_server.reports.abtest import wording
from modelward_server.reports.abtest.timeline import courses
from modelward_server.reports.intervals import lay_out
from modelward_server.reports.page import templates

_templates = templates(__package__)


def draw_page(test: AbTest, result: AbTestResult) -> bytes:
    """Draw a test as UTF-8 HTML."""
    found = ((metric, wording.differences(result, metric)) for metric in test.metrics)
    charts = [
        (metric, lay_out(intervals, f"Difference from {test.control.name} in {metric.key}", zero=True))
        for metric, intervals in found
        if intervals
    ]
    template = _templates.get_template("ab_test.html.jinja")
    return template.render(
        test=test,
        result=result,
        charts=charts,
        courses=courses(result),
        wording=wording,
        units=sum(one.units for one in result.variants),
    ).encode()
