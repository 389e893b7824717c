"""Where estimates and the ends of their intervals go on a common axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from modelward_server.render.wording import ticks

TICKS = 5


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
    held = [value for value in values if math.isfinite(value)] + [0.0] * zero
    low, high = min(held, default=0.0), max(held, default=0.0)
    room = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    low, high = low - room, high + room
    places = MaxNLocator(nbins=TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return low, high, [float(place) for place in places if low <= place <= high]
