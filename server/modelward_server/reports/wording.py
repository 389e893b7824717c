"""Formatting of numbers, times and names in reports."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from modelward.segments import SegmentAdjustment
from modelward.shared import figures
from modelward.shared.figures import duration, level, percent, probability

__all__ = ["duration", "level", "percent", "probability"]

MINUS = "\N{MINUS SIGN}"
_DIRECTIONS = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\N{REPLACEMENT CHARACTER}")
"""What stands for Unicode's embeddings, overrides and isolates."""
ADJUSTMENTS = {
    SegmentAdjustment.BENJAMINI_HOCHBERG: "Benjamini and Hochberg, 1995, as they have no time in common",
    SegmentAdjustment.BENJAMINI_YEKUTIELI: "Benjamini and Yekutieli, 2001, as they depend on each other",
}
_WRITERS = {"figure": figures.statistic, "measure": figures.metric, "percent": percent}


def figure(value: float) -> str:
    """Format a statistic, as everywhere else but with a typographic minus sign."""
    return _signed(figures.statistic(value))


def measure(value: float) -> str:
    """Format a metric in its own unit, likewise."""
    return _signed(figures.metric(value))


def score(value: float) -> str:
    """Format a drift score, likewise."""
    return figures.score(value)


def change(value: float) -> str:
    """Format a difference with its sign, likewise."""
    return _signed(figures.difference(value))


def against(value: float, threshold: float, written: str = "figure") -> list[str]:
    """Format a value and its threshold, with enough digits to show on which side of the threshold the value is."""
    return [_signed(text) for text in figures.beside(value, threshold, _WRITERS[written])]


def tick(value: float) -> str:
    """Format a single tick value of an axis with three digits."""
    return ticks((value,))[0]


def ticks(values: Sequence[float]) -> list[str]:
    """Format the tick values of an axis, with the decimals that three digits of the largest one need."""
    greatest = max(map(abs, values))
    if greatest and not 1e-3 <= greatest < 1e6:
        return [_signed(f"{value:.3g}") for value in values]
    decimals = max(0, 2 - math.floor(math.log10(greatest))) if greatest else 0
    return [_signed(f"{value:,.{decimals}f}") for value in values]


def count(number: float) -> str:
    """Format a number of rows."""
    return f"{number:,.0f}"


def instant(at: datetime) -> str:
    """Format a time, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def in_one_direction(value: object) -> object:
    """Replace the characters in a text that reverse what follows it, which could make a name look like another one."""
    return value.translate(_DIRECTIONS) if isinstance(value, str) else value


def short(text: str, length: int = 60) -> str:
    """Truncate a text that is too long for its place."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def middle_cut(text: str, length: int) -> str:
    """Truncate a name in the middle if it is too long for its place: versions of a model differ at the end."""
    tail = min(8, length // 2)
    return text if len(text) <= length else f"{text[: length - 1 - tail]}…{text[-tail:]}"


def listed(names: tuple[str, ...], shown: int = 3) -> str:
    """List the first few names."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(short(name, 40) for name in names[:shown]) + more


def _signed(text: str) -> str:
    return text.replace("-", MINUS)
