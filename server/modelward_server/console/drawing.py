"""Small drawings for pages, as figures of SVG: a timeline and a sparkline."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

WIDTH, HEIGHT = 120.0, 24.0
THRESHOLD = 0.5
"""The drift score at which the strongest feature is at its threshold."""


@dataclass(frozen=True)
class Bar:
    """A period on a timeline; `left` and `width` are percentages of it."""

    text: str
    left: float
    width: float
    begun: datetime
    ended: datetime | None


def bars(periods: Sequence[tuple[str, datetime, datetime | None]], now: datetime) -> list[Bar]:
    """Lay periods out on a line from the first beginning until now.

    Args:
        periods: text, beginning and end of each; an end of None is now.
        now: the end of the line.
    """
    if not periods:
        return []
    first = min(begun for _, begun, _ in periods)
    whole = max((now - first).total_seconds(), 1e-9)
    laid = []
    for text, begun, ended in periods:
        left = 100 * (begun - first).total_seconds() / whole
        width = 100 * ((ended or now) - begun).total_seconds() / whole
        laid.append(Bar(text, round(left, 3), round(max(width, 0.2), 3), begun, ended))
    return laid


@dataclass(frozen=True)
class Dot:
    """One score."""

    x: float
    y: float
    value: float
    alarm: bool
    at: datetime


@dataclass(frozen=True)
class Sparkline:
    """Scores from 0 to 1 in the order of time, in a figure of `WIDTH` by `HEIGHT`."""

    dots: Sequence[Dot]
    points: str
    threshold: float
    """The height of the threshold."""


def sparkline(scores: Sequence[tuple[float, bool, datetime]]) -> Sparkline | None:
    """Draw drift scores; None if there are none.

    Args:
        scores: score, alarm and time of each report, the oldest first.
    """
    if not scores:
        return None
    step = WIDTH / max(len(scores) - 1, 1)
    dots = [
        Dot(round(step * i, 1), round(HEIGHT * (1 - value), 1), value, alarm, at)
        for i, (value, alarm, at) in enumerate(scores)
    ]
    return Sparkline(dots, " ".join(f"{dot.x},{dot.y}" for dot in dots), HEIGHT * (1 - THRESHOLD))
