"""The report of an A/B test as a PNG: the verdict, its timeline and its metrics, for a mail or a chat."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelward.abtest import AbLook, AbTest, AbTestResult
from modelward_server.reports.abtest import wording
from modelward_server.reports.abtest.timeline import axis_range, looks_of
from modelward_server.reports.canvas import DRIFT, INK, LEFT, LINE, LIVE, RIGHT, Canvas, align_ends, drawing, plain
from modelward_server.reports.picture import draw_intervals
from modelward_server.reports.wording import count, instant, level, probability, short, ticks
from modelward_server.statistics.rounding import unit_of

HEAD, COURSE, LINE_HEIGHT, AROUND = 2.1, 2.6, 0.36, 0.95
"""Heights in inches: the head, one challenger's timeline, one interval, and the margins of a chart."""
COLUMNS, MAX_METRICS_DRAWN, MAX_COURSES_DRAWN = 3, 6, 3


def draw_picture(test: AbTest, result: AbTestResult) -> bytes:
    """Draw a test as a PNG 2400 pixels wide."""
    courses = [looks for one in result.variants if len(looks := looks_of(result, one.variant)) > 1][:MAX_COURSES_DRAWN]
    found = [(metric, wording.differences(result, metric)) for metric in test.metrics[:MAX_METRICS_DRAWN]]
    panels = [(metric, intervals) for metric, intervals in found if intervals]
    panel = len(test.challengers) * LINE_HEIGHT + AROUND
    height = HEAD + COURSE * len(courses) + panel * -(-len(panels) // COLUMNS)
    with drawing:
        canvas = Canvas(height)
        _draw_head(canvas, test, result)
        for number, looks in enumerate(courses):
            bottom = height - HEAD - COURSE * (number + 1)
            _draw_course(canvas.axes(LEFT + 0.4, bottom + 0.6, RIGHT - LEFT - 0.4, COURSE - 1), looks, test)
        for number, (metric, intervals) in enumerate(panels):
            axes = _panel(canvas, number, height - HEAD - COURSE * len(courses), panel)
            draw_intervals(axes, short(metric.key, 40), intervals, zero=True)
        return canvas.png()


def _draw_head(canvas: Canvas, test: AbTest, result: AbTestResult) -> None:
    facts = (
        f"{count(sum(one.units for one in result.variants))} units",
        f"sample ratio p {probability(result.sample_ratio_p_value)}",
        f"{level(test.confidence_level)} confidence at every look",
        f"{instant(result.as_of)} UTC",
    )
    bad = result.sample_ratio_broken or result.broken_guardrails
    eyebrow = f"A/B test  /  {test.test}  /  {test.state.value}"
    canvas.head(eyebrow, wording.headline(test, result), result.summary, facts, DRIFT if bad else INK)


def _draw_course(axes: Any, looks: Sequence[AbLook], test: AbTest) -> None:
    plain(axes)
    bottom, top, places = axis_range(looks)
    numbers, unit = range(len(looks)), unit_of([bottom, top])
    ends = np.array([(look.low, look.high, look.difference) for look in looks]).T
    low, high, middle = np.clip(ends, bottom, top) / unit
    axes.fill_between(numbers, low, high, color=LIVE, alpha=0.13)
    axes.plot(numbers, middle, color=LIVE, linewidth=1.6)
    axes.axhline(0, color=INK, linewidth=1, linestyle=(0, (3, 3)))
    axes.set(xlim=(0, len(looks) - 1), ylim=(bottom / unit, top / unit))
    axes.set_yticks([place / unit for place in places], ticks(places))
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_xticks([0, len(looks) - 1], [instant(looks[0].at), instant(looks[-1].at)])
    align_ends(axes.get_xticklabels())
    axes.spines["bottom"].set_visible(True)
    title = f"{looks[0].variant} minus {test.control.name} in {short(test.primary_metric.key, 40)} over time"
    axes.set_title(title, loc="left", color=INK, fontsize=10, weight="bold", parse_math=False)


def _panel(canvas: Canvas, number: int, top: float, height: float) -> Any:
    width = (RIGHT - LEFT - 0.8) / COLUMNS
    row, column = divmod(number, COLUMNS)
    return canvas.axes(LEFT + column * (width + 0.4), top - (row + 1) * height + 0.45, width, height - AROUND)
