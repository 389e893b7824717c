"""Layout of the lines, bars and labels of the page's charts.

Horizontal positions are percentages, so that a chart is as wide as its box and its text has the normal size. Paths are
drawn in a separate box that is stretched: a histogram's is as wide as its number of bins, and every box is 100 high.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from modelward.drift import FeatureDrift, Histogram
from modelward_server.drift.queries import ReportScore
from modelward_server.reports.intervals import Tick
from modelward_server.reports.wording import instant, percent, short, tick, ticks
from modelward_server.reports.wording import score as score_text

TICKS = 4
MAX_CATEGORIES_SHOWN = 7
MAX_LABELS_WIDE, MAX_LABELS_NARROW = 12, 2
"""Maximum number of labels below the scores, on a wide and on a narrow screen."""
CEILINGS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Steps:
    """The histogram of a numeric feature."""

    bins: int
    reference: str
    """The path of an area."""
    live: str
    """The path of a line."""
    ticks: tuple[Tick, ...]
    ceiling: str
    """The share at the top of the chart."""
    alt: str


@dataclass(frozen=True)
class Bar:
    """One category: the widths of its two bars, in per cent, and their labels."""

    name: str
    reference_width: float
    live_width: float
    reference: str
    live: str


@dataclass(frozen=True)
class Bars:
    """The histogram of a categorical feature."""

    bars: tuple[Bar, ...]
    alt: str


@dataclass(frozen=True)
class Point:
    """A report on the timeline, and whether its label is shown."""

    x: float
    y: float
    """In per cent from the top."""
    score: ReportScore
    wide: bool
    """Whether its label is shown on a wide screen."""
    narrow: bool
    """Whether its label is shown on a narrow screen."""

    @property
    def at(self) -> datetime:
        return self.score.created_at


@dataclass(frozen=True)
class Course:
    """Scores over time."""

    points: tuple[Point, ...]
    line: str
    alt: str


def steps(feature: FeatureDrift) -> Steps | None:
    """Lay out the histogram of a numeric feature; None if none is stored.

    The bins are drawn with equal widths, since the first and the last are unbounded.
    """
    stored, bins = feature.histogram, len(feature.histogram.reference)
    if not stored.edges:
        return None
    top = ceiling(stored)
    return Steps(
        bins=bins,
        reference=_outline(stored.reference, top) + "Z",
        live=_outline(stored.live, top),
        ticks=_ticks(stored.edges, bins),
        ceiling=f"{top:.0%}",
        alt=_steps_in_words(feature.name, stored),
    )


def ceiling(histogram: Histogram) -> float:
    """Return the smallest predefined share that the highest bin does not exceed."""
    highest = max((*histogram.reference, *histogram.live), default=1.0)
    return next((level for level in CEILINGS if highest <= level), 1.0)


def ticked(edges: int) -> list[int]:
    """Return the indexes of the labelled edges: the first, the last and some between."""
    last, gaps = edges - 1, min(TICKS, edges) - 1
    return sorted({round(last * i / max(gaps, 1)) for i in range(gaps + 1)})


def _ticks(edges: Sequence[float], bins: int) -> tuple[Tick, ...]:
    places = ticked(len(edges))
    texts = ticks([edges[place] for place in places])
    return tuple(Tick(100 * (place + 1) / bins, text) for place, text in zip(places, texts, strict=True))


def _outline(shares: Sequence[float], top: float) -> str:
    """Return a path along the tops of bars, from the baseline and back to it."""
    return "M0 100" + "".join(f"V{100 - 100 * share / top:.2f}H{i + 1}" for i, share in enumerate(shares)) + "V100"


def _steps_in_words(name: str, histogram: Histogram) -> str:
    edges, shares = histogram.edges, (histogram.reference, histogram.live)
    reference, live = (max(range(len(side)), key=side.__getitem__) for side in shares)
    return (
        f"Histogram of {short(name)} in {len(histogram.reference)} bins from below {tick(edges[0])} to above "
        f"{tick(edges[-1])}. The largest bin of the reference is {_bin(edges, reference)} with "
        f"{percent(shares[0][reference])} of its rows, that of the live data {_bin(edges, live)} with "
        f"{percent(shares[1][live])}."
    )


def _bin(edges: Sequence[float], number: int) -> str:
    if number == 0:
        return f"below {tick(edges[0])}"
    return f"above {tick(edges[-1])}" if number >= len(edges) else f"{tick(edges[number - 1])} to {tick(edges[number])}"


def bars(feature: FeatureDrift) -> Bars | None:
    """Lay out the histogram of a categorical feature; None if none is stored."""
    if not feature.histogram.categories:
        return None
    shares = fewer(feature.histogram)
    longest = max(max(reference, live) for _, reference, live in shares) or 1.0
    laid = (
        Bar(short(name, 40), 100 * reference / longest, 100 * live / longest, percent(reference), percent(live))
        for name, reference, live in shares
    )
    description = "; ".join(f"{short(name, 40)}: {percent(one)} and {percent(other)}" for name, one, other in shares)
    return Bars(tuple(laid), f"Shares of the categories of {short(feature.name)}, reference and live: {description}.")


def fewer(histogram: Histogram) -> list[tuple[str, float, float]]:
    """Return name, reference and live share of the first categories; the others are combined."""
    shares = list(zip(histogram.categories, histogram.reference, histogram.live, strict=True))
    if len(shares) <= MAX_CATEGORIES_SHOWN:
        return shares
    head, rest = shares[: MAX_CATEGORIES_SHOWN - 1], shares[MAX_CATEGORIES_SHOWN - 1 :]
    return [*head, (f"{len(rest)} others", sum(part[1] for part in rest), sum(part[2] for part in rest))]


def course(scores: Sequence[ReportScore]) -> Course:
    """Lay out scores over time, side by side; the last always has a label."""
    points = tuple(
        Point(
            x=100 * (i + 0.5) / len(scores),
            y=100 * (1 - score.score),
            score=score,
            wide=labelled(i, len(scores), MAX_LABELS_WIDE),
            narrow=labelled(i, len(scores), MAX_LABELS_NARROW),
        )
        for i, score in enumerate(scores)
    )
    line = "M" + "L".join(f"{point.x:.2f} {point.y:.2f}" for point in points)
    drifted = sum(score.drift_detected for score in scores)
    words = "; ".join(f"{_named(score)} {score_text(score.score)}" for score in scores[-MAX_LABELS_WIDE:])
    return Course(
        points, line, f"Drift score of {len(scores)} reports, drift detected in {drifted}. The latest: {words}."
    )


def labelled(number: int, numbers: int, room: int) -> bool:
    """Return whether a point has a label if there is room for `room` labels, counted from the last point."""
    return (numbers - 1 - number) % -(-numbers // room) == 0


def _named(score: ReportScore) -> str:
    return short(score.label, 24) or instant(score.created_at)
