"""Layout of estimates and their intervals on a common axis."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modelward_server.libraries import load
from modelward_server.reports.wording import ticks
from modelward_server.statistics.rounding import unit_of

TICKS = 5
MAX_COORDINATE = 2.0**1021
"""Larger magnitudes are drawn at this one, since the length of an axis must be a finite float."""
MIN_MARGIN_SHARE = 1e-9
"""Minimum margin beside the intervals, relative to their magnitude: closer tick values are not distinct as floats."""


@dataclass(frozen=True)
class Interval:
    """One line of the chart."""

    name: str
    value: float
    low: float
    high: float
    tone: str
    """`better`, `worse`, `unsure`, or `neutral` without a verdict."""
    note: str
    """The text beside the name, such as its verdict."""


@dataclass(frozen=True)
class Tick:
    """A label on the axis."""

    at: float
    """In per cent of the width."""
    text: str


@dataclass(frozen=True)
class Placed:
    """An interval with its positions, in per cent of the width."""

    interval: Interval
    at: float
    start: float
    end: float


@dataclass(frozen=True)
class Chart:
    """Intervals on one axis."""

    rows: tuple[Placed, ...]
    ticks: tuple[Tick, ...]
    zero: float | None
    """The position of zero, in per cent; None if the axis does not show it."""
    alt: str


def lay_out(intervals: Sequence[Interval], what: str, *, zero: bool) -> Chart:
    """Lay out intervals on an axis that contains them all.

    Args:
        intervals: the intervals.
        what: the subject of the chart, for its alternative text.
        zero: whether the axis must contain and mark zero.
    """
    bottom, top, places = axis([end for one in intervals for end in (one.low, one.value, one.high)], zero=zero)

    def across(value: float) -> float:
        return 100 * (min(max(value, bottom), top) - bottom) / (top - bottom)

    rows = tuple(Placed(one, across(one.value), across(one.low), across(one.high)) for one in intervals)
    description = "; ".join(f"{one.name} {ticks([one.value, one.low, one.high])}" for one in intervals[:12])
    return Chart(
        rows,
        ticks_at(places, across),
        across(0.0) if zero else None,
        f"{what}, each with its interval: {description}.",
    )


def ticks_at(places: Sequence[float], at: Callable[[float], float]) -> tuple[Tick, ...]:
    """Label values of an axis; `at` returns the position of one."""
    return tuple(Tick(at(place), text) for place, text in zip(places, ticks(places), strict=True))


def axis(values: Sequence[float], *, zero: bool) -> tuple[float, float, list[float]]:
    """Return the ends of an axis that contains all finite values, and the round tick values between them."""
    held = [min(max(value, -MAX_COORDINATE), MAX_COORDINATE) for value in values if math.isfinite(value)] + [0.0] * zero
    unit = unit_of(held)  # In this unit neither very large nor very small values lose precision.
    low, high = min(held, default=0.0) / unit, max(held, default=0.0) / unit
    size = max(abs(low), abs(high))
    room = max(0.04 * (high - low), 0.04 * size if high == low else MIN_MARGIN_SHARE * size) or 1.0
    low, high = low - room, high + room
    places = load("matplotlib.ticker").MaxNLocator(nbins=TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    shown = [float(place) for place in places if low <= place <= high] or [low, high]
    return low * unit, high * unit, [place * unit + 0.0 for place in shown]
