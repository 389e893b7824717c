"""Format numbers for people: the same rules for sentences, pages, charts and tables.

Rounding never overstates: a share is not rounded to none or all, a p-value is not rounded to zero, and a number shown
next to its threshold has enough digits to show on which side of the threshold it is.
"""

import math
from collections.abc import Callable
from datetime import timedelta

MIN_DIGITS, MAX_DIGITS = 3, 17
"""Significant digits of a number that is shown next to another; 17 digits distinguish any two float64 values."""


def statistic(value: float) -> str:
    """Format a score, a distance or another statistic of a known scale: three decimals, three digits where it is small.

    NaN is formatted as `n/a`.
    """
    if not math.isfinite(value):
        return _not_finite(value)
    value += 0.0  # Zero has no sign.
    if value == 0 or 0.001 <= abs(value) < 100:
        return f"{value:.3f}"
    return f"{value:.3g}" if abs(value) < 0.001 else metric(value)


def metric(value: float) -> str:
    """Format a metric in its own unit: four digits, and every digit before the decimal point below a million.

    NaN is formatted as `n/a`.
    """
    if not math.isfinite(value):
        return _not_finite(value)
    return f"{value:,.0f}" if 1e4 <= round(abs(value)) < 1e6 else f"{value + 0.0:.4g}"  # Zero has no sign.


def difference(value: float) -> str:
    """Format a difference, version minus baseline, with its sign."""
    return f"+{metric(value)}" if value > 0 else metric(value)


def percent(share: float) -> str:
    """Format a share from 0 to 1 with one decimal; a share close to 0 or 1 is not rounded to it."""
    if not math.isfinite(share):
        return _not_finite(share)
    if share in {0, 1}:
        return f"{abs(share):.0%}"
    if 0 < share < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def level(share: float) -> str:
    """Format a configured level, such as a confidence level, with all of its digits."""
    return f"{100 * share:.10g}%"


def probability(p_value: float) -> str:
    """Format a p-value: three decimals, never rounded to zero or one."""
    if not math.isfinite(p_value):
        return _not_finite(p_value)
    if p_value in {0, 1}:
        return f"{abs(p_value):.0f}"
    if p_value < 0.001:
        return "<0.001"
    return ">0.999" if p_value > 0.999 else f"{p_value:.3f}"


def in_words(text: str) -> str:
    """Replace `<0.1%` by `under 0.1%` and `>99.9%` by `over 99.9%`, for use in a sentence."""
    return text.replace("<", "under ").replace(">", "over ")


def p_equals(p_value: float, level: float | None = None) -> str:
    """Format a p-value as a part of a sentence, such as `p = 0.031` or `p < 0.001`.

    Args:
        level: the significance level that it is compared with, from which it is distinguished.
    """
    text = probability(p_value) if level is None else beside(p_value, level, probability)[0]
    return f"p {text[0]} {text[1:]}" if text[0] in "<>" else f"p = {text}"


def beside(value: float, threshold: float, write: Callable[[float], str] = statistic) -> tuple[str, str]:
    """Format a number and its threshold with enough digits to distinguish them.

    Args:
        write: the formatter to use where it already distinguishes them.
    """
    pair = write(value), write(threshold)
    digits = MIN_DIGITS
    while pair[0] == pair[1] and value != threshold and digits <= MAX_DIGITS:
        pair = _digits(value, digits, write), _digits(threshold, digits, write)
        digits += 1
    return pair


def score(value: float) -> str:
    """Format a drift score, whose threshold is 0.5."""
    return beside(value, 0.5)[0]


def duration(span: timedelta) -> str:
    """Return a duration, for example `7 days` or `1 day, 6:00:00`."""
    return str(span).removesuffix(", 0:00:00")


def _digits(value: float, digits: int, write: Callable[[float], str]) -> str:
    return f"{100 * value:.{digits}g}%" if write is percent else f"{value:.{digits}g}"


def _not_finite(value: float) -> str:
    return "n/a" if math.isnan(value) else "∞" if value > 0 else "-∞"
