"""Where estimates and the ends of their intervals go on a common axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from modelward_server.libraries import load
from modelward_server.reports.wording import ticks
from modelward_server.statistics.rounding import unit_of

TICKS = 5
FURTHEST = 2.0**1021
"""What lies further out is drawn here, since the length of an axis is a float too."""
NARROWEST = 1e-9
"""The least room beside the intervals, relative to where they lie: between closer places no labels fit into a float."""


@dataclass(frozen=True)
class Interval:
    """One line of the chart."""

    name: str
    value: float
    low: float
    high: float
    tone: str
    """`better`, `worse`, `unsure`, or `neutral` where nothing is judged."""
    note: str
    """What stands beside the name, as its verdict."""


@dataclass(frozen=True)
class Tick:
    """A label on the axis."""

    at: float
    """In per cent of the width."""
    text: str


@dataclass(frozen=True)
class Placed:
    """An interval with its places, in per cent of the width."""

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
    """Where no difference lies, in per cent; None when the axis does not show it."""
    alt: str


def lay_out(intervals: Sequence[Interval], what: str, *, zero: bool) -> Chart:
    """Place intervals on an axis that holds them all.

    Args:
        what: what is drawn, for those who cannot see it.
        zero: whether the axis must hold zero and mark it.
    """
    bottom, top, places = axis([end for one in intervals for end in (one.low, one.value, one.high)], zero=zero)

    def across(value: float) -> float:
        return 100 * (min(max(value, bottom), top) - bottom) / (top - bottom)

    rows = tuple(Placed(one, across(one.value), across(one.low), across(one.high)) for one in intervals)
    texts = ticks(places)
    said = "; ".join(f"{one.name} {ticks([one.value, one.low, one.high])}" for one in intervals[:12])
    return Chart(
        rows,
        tuple(Tick(across(place), text) for place, text in zip(places, texts, strict=True)),
        across(0.0) if zero else None,
        f"{what}, each with its interval: {said}.",
    )


def axis(values: Sequence[float], *, zero: bool) -> tuple[float, float, list[float]]:
    """Return the ends of an axis that holds all finite values, and the round places between them."""
    held = [min(max(value, -FURTHEST), FURTHEST) for value in values if math.isfinite(value)] + [0.0] * zero
    unit = unit_of(held)  # In it neither very large nor very small figures are lost, whatever their axis is.
    low, high = min(held, default=0.0) / unit, max(held, default=0.0) / unit
    size = max(abs(low), abs(high))
    room = max(0.04 * (high - low), 0.04 * size if high == low else NARROWEST * size) or 1.0
    low, high = low - room, high + room
    places = load("matplotlib.ticker").MaxNLocator(nbins=TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    shown = [float(place) for place in places if low <= place <= high] or [low, high]
    return low * unit, high * unit, [place * unit + 0.0 for place in shown]
