"""The report of a comparison as a PNG: the verdict and the intervals of every metric, for a mail or a chat."""

from typing import Any

from modelward.comparison import Comparison
from modelward_server.reports.canvas import INK, LEFT, RIGHT, Canvas, drawing
from modelward_server.reports.comparison import wording
from modelward_server.reports.intervals import Interval
from modelward_server.reports.picture import draw_intervals
from modelward_server.reports.wording import change, count, instant, probability, short

COLUMNS, MAX_METRICS_DRAWN = 3, 6
HEAD, LINE, AROUND = 2.1, 0.36, 0.95
"""Heights in inches: the head, one interval, and the margins of a chart."""
MAX_VERSIONS_DRAWN = 12


def draw_picture(comparison: Comparison) -> bytes:
    """Draw a comparison as a PNG 2400 pixels wide, with at most the best `MAX_VERSIONS_DRAWN` versions."""
    metrics = comparison.metrics
    decisive = wording.differences(comparison)[:MAX_VERSIONS_DRAWN]
    panels = [
        (metric, wording.estimates(comparison, metric)[:MAX_VERSIONS_DRAWN]) for metric in metrics[:MAX_METRICS_DRAWN]
    ]
    first, panel = len(decisive) * LINE + AROUND, len(panels[0][1]) * LINE + AROUND
    height = HEAD + first + panel * -(-len(panels) // COLUMNS)
    with drawing:
        canvas = Canvas(height)
        _draw_head(canvas, comparison)
        title = f"Difference from {comparison.baseline} in {wording.named(metrics[0])}"
        _chart(canvas, (LEFT, height - HEAD - first, RIGHT - LEFT, first), title, decisive, zero=True)
        for number, (metric, intervals) in enumerate(panels):
            place = _panel(number, height - HEAD - first, panel)
            _chart(canvas, place, wording.named(metric), intervals, zero=False)
        return canvas.png()


def _draw_head(canvas: Canvas, comparison: Comparison) -> None:
    found = wording.decisive(comparison)
    facts = (
        f"difference {change(found.difference)}",
        f"adjusted p {probability(found.adjusted_p_value)}",
        f"{count(comparison.rows)} rows",
        f"{instant(comparison.created_at)} UTC"
        + (f", {short(comparison.created_by, 40)}" if comparison.created_by else ""),
    )
    metric = wording.named(comparison.primary_metric)
    eyebrow = f"Comparison  /  {len(comparison.results)} versions  /  primary metric {metric}"
    canvas.head(eyebrow, wording.headline(comparison), comparison.summary, facts, INK)


def _panel(number: int, top: float, height: float) -> tuple[float, float, float, float]:
    width = (RIGHT - LEFT - 0.8) / COLUMNS
    row, column = divmod(number, COLUMNS)
    return LEFT + column * (width + 0.4), top - (row + 1) * height, width, height


def _chart(
    canvas: Canvas, place: tuple[float, float, float, float], title: str, intervals: list[Interval], *, zero: bool
) -> None:
    left, bottom, width, height = place
    axes: Any = canvas.axes(left, bottom + 0.45, width, height - AROUND)
    draw_intervals(axes, title, intervals, zero=zero)
