"""Layout of charts of the pages: the Sharpe ratio over the cost, and the logits of the probability of overfitting.

Positions are per cent of the width from the left and of the height from the top.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from modelward.backtest import Overfitting
from modelward.comparison import Comparison, CostCurve, ModelResult
from modelward_server.reports.intervals import Tick, axis, ticks_at
from modelward_server.reports.wording import count, measure, percent

MAX_COLUMNS = 40
"""Maximum number of columns of the logits: more distinct logits are put together."""


@dataclass(frozen=True)
class Curve:
    """The Sharpe ratio of one version over the cost."""

    name: str
    line: str
    """The path, in a box 100 wide and 100 high."""
    zero: float
    levels: tuple[Tick, ...]
    """The ratios of the axis."""
    costs: tuple[Tick, ...]
    break_even: float | None
    """The break-even cost; None if it is not among the costs shown."""
    note: str
    alt: str


@dataclass(frozen=True)
class Column:
    """The splits with logits of one range."""

    left: float
    width: float
    height: float
    overfit: bool
    """Whether the best in sample was at or below the median out of sample."""


@dataclass(frozen=True)
class Logits:
    """The distribution of the logits of the splits."""

    columns: tuple[Column, ...]
    zero: float
    ticks: tuple[Tick, ...]
    note: str
    alt: str


def cost_curves(comparison: Comparison) -> list[Curve]:
    """Lay out the Sharpe ratio of each version with returns, on common axes."""
    found = [(one, one.cost_curve) for one in comparison.results if one.cost_curve and len(one.cost_curve.points) > 1]
    points = [point for _, curve in found for point in curve.points]
    if not points:
        return []
    end = max(point.cost_bps for point in points)
    levels = axis([point.sharpe for point in points], zero=True)
    return [_curve(result, curve, end, levels) for result, curve in found]


def _curve(result: ModelResult, curve: CostCurve, end: float, levels: tuple[float, float, list[float]]) -> Curve:
    bottom, top, places = levels
    _, _, costs = axis([0.0, end], zero=True)
    shown = [cost for cost in costs if 0 <= cost <= end]

    def down(ratio: float) -> float:
        return 100 * (top - ratio) / (top - bottom)

    even, (first, last) = curve.break_even_bps, (curve.points[0], curve.points[-1])
    note = "no trades" if even is None else f"break-even cost {measure(even)} bp"
    return Curve(
        name=str(result.version),
        line="M" + "L".join(f"{100 * one.cost_bps / end:.2f} {down(one.sharpe):.2f}" for one in curve.points),
        zero=down(0.0),
        levels=ticks_at(places, down),
        costs=ticks_at(shown, lambda cost: 100 * cost / end),
        break_even=100 * even / end if even is not None and 0 <= even <= end else None,
        note=note,
        alt=f"Sharpe ratio of {result.version}: {measure(first.sharpe)} at a cost of {measure(first.cost_bps)} basis "
        f"points, {measure(last.sharpe)} at {measure(last.cost_bps)}; {note}.",
    )


def logits(overfitting: Overfitting | None) -> Logits | None:
    """Lay out the logits of a selection; None where its probability of overfitting is not known."""
    selection = overfitting.backtest.selection if overfitting and overfitting.backtest else None
    if selection is None or not selection.logits:
        return None
    bottom, top, places = axis(list(selection.logits), zero=True)
    splits, share = sum(selection.logits.values()), percent(selection.probability)
    note = f"{share} of {count(splits)} splits at or below 0"
    return Logits(
        columns=_columns(selection.logits, bottom, top),
        zero=100 * -bottom / (top - bottom),
        ticks=ticks_at(places, lambda place: 100 * (place - bottom) / (top - bottom)),
        note=note,
        alt=f"Logits of the rank out of sample of the best in sample, from {measure(min(selection.logits))} to "
        f"{measure(max(selection.logits))}: {note}.",
    )


def _columns(counts: Mapping[float, int], bottom: float, top: float) -> tuple[Column, ...]:
    """Put logits together in ranges of equal width on both sides of zero, so that no column contains both."""
    width = (top - bottom) / MAX_COLUMNS
    ranges: dict[int, int] = {}
    for logit, splits in counts.items():
        place = _range(logit, width)
        ranges[place] = ranges.get(place, 0) + splits
    highest, scale = max(ranges.values()), 100 / (top - bottom)
    return tuple(
        Column(scale * (place * width - bottom), scale * width, 100 * splits / highest, place < 0)
        for place, splits in sorted(ranges.items())
    )


def _range(logit: float, width: float) -> int:
    """Return the number of a logit's range; zero belongs to those below."""
    return -1 - int(-logit / width) if logit <= 0 else int(logit / width)
