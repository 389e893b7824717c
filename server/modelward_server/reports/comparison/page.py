"""The report of a comparison as one self-contained HTML page."""

from modelward.comparison import AnyMetric, Comparison
from modelward_server.reports.charts import cost_curves, logits
from modelward_server.reports.comparison import wording
from modelward_server.reports.intervals import Chart, lay_out
from modelward_server.reports.page import templates
from modelward_server.reports.wording import ADJUSTMENTS

_templates = templates(__package__)


def draw_page(comparison: Comparison) -> bytes:
    """Draw a comparison as UTF-8 HTML."""
    page = _templates.get_template("comparison.html.jinja").render(
        comparison=comparison,
        wording=wording,
        adjustment=ADJUSTMENTS,
        ran=wording.ran(comparison),
        decisive=_differences(comparison),
        curves=cost_curves(comparison),
        logits=logits(comparison.overfitting),
        estimates=[(metric, _estimates(comparison, metric)) for metric in comparison.metrics],
    )
    return page.encode()


def _differences(comparison: Comparison) -> Chart:
    what = f"Difference from {comparison.baseline} in {wording.named(comparison.primary_metric)}"
    return lay_out(wording.differences(comparison), what, zero=True)


def _estimates(comparison: Comparison, metric: AnyMetric) -> Chart:
    return lay_out(wording.estimates(comparison, metric), wording.named(metric), zero=False)
