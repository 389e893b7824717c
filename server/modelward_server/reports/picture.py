"""Charts shared by several pictures."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modelward_server.reports.canvas import DRIFT, GROUND, INK, LINE, SOFT, WIDTH, label, plain
from modelward_server.reports.intervals import Interval, axis
from modelward_server.reports.wording import change, measure, middle_cut, ticks
from modelward_server.statistics.rounding import unit_of

LETTER = 0.072
"""Width of a character of the labels, in inches."""
BETTER = "#17693a"
COLOURS = {"better": BETTER, "worse": DRIFT, "unsure": GROUND, "neutral": GROUND}


def draw_intervals(axes: Any, title: str, intervals: Sequence[Interval], *, zero: bool) -> None:
    """Draw estimates with their intervals below each other, the first at the top.

    Args:
        axes: the axes of matplotlib.
        title: the title of the chart.
        intervals: the intervals.
        zero: whether the axis must contain and mark zero.
    """
    plain(axes)
    bottom, top, places = axis([end for one in intervals for end in (one.low, one.value, one.high)], zero=zero)
    unit = unit_of([bottom, top])  # Matplotlib does not accept an axis of 1e-300.
    axes.set(xlim=(bottom / unit, top / unit), ylim=(len(intervals) - 0.3, -0.7))
    axes.set_xticks([place / unit for place in places], ticks(places))
    axes.spines["bottom"].set_visible(True)
    axes.grid(axis="x", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    if zero:
        axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (3, 3)))
    for place, one in enumerate(intervals):
        _draw_interval(axes, place, one, change if zero else measure, unit)
    axes.set_title(title, loc="left", color=INK, fontsize=10, weight="bold", parse_math=False)


def _draw_interval(axes: Any, place: float, one: Interval, write: Callable[[float], str], unit: float) -> None:
    colour, beside = COLOURS[one.tone], axes.get_yaxis_transform()
    span = [end * unit for end in axes.get_xlim()]
    low, value, high = np.clip([one.low, one.value, one.high], *span) / unit  # An end may be infinite.
    axes.plot([low, high], [place, place], color=colour, linewidth=2, marker="|", markersize=7)
    axes.plot([value], [place], "o", color=colour, markersize=6, markeredgecolor="white")
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
    figures = f"{write(one.value)}   {measure(one.low)} to {measure(one.high)}"
    room = int(axes.get_position().width * WIDTH / LETTER) - len(figures)
    label(axes, 0, place - 0.42, _fitted(one, room), beside, color=INK, fontsize=8, bbox=ground)
    label(axes, 1, place - 0.42, figures, beside, color=SOFT, fontsize=8, ha="right", bbox=ground)


def _fitted(one: Interval, room: int) -> str:
    """Return an interval's name and, if there is room, its note; the end of the name, its version, is always kept."""
    noted = f"{one.name}  {one.note}"
    return noted if one.note and len(noted) <= room else middle_cut(one.name, room)
