"""How figures are written for people: one rule for sentences, pages, pictures and tables.

What is shown never says more than what is meant: a share is not rounded to none or all, a p-value not to zero, and a
figure that is shown beside its threshold has as many digits as it takes to see on which side of it it lies.
"""

import math
from collections.abc import Callable

MIN_DIGITS, MAX_DIGITS = 3, 17
"""Significant digits of a figure that is shown beside another one; 17 tell any two float64 apart."""


def statistic(value: float) -> str:
    """Write a score, a distance or another statistic of a known scale: three decimals, three digits where it is small.

    NaN is written as `n/a`.
    """
    if not math.isfinite(value):
        return _not_finite(value)
    if value == 0 or 0.001 <= abs(value) < 100:
        return f"{value:.3f}"
    return f"{value:.3g}" if abs(value) < 0.001 else metric(value)


def metric(value: float) -> str:
    """Write a metric in its own unit: four digits, and every digit before the point below a million.

    NaN is written as `n/a`.
    """
    if not math.isfinite(value):
        return _not_finite(value)
    return f"{value:,.0f}" if 1e4 <= round(abs(value)) < 1e6 else f"{value:.4g}"


def difference(value: float) -> str:
    """Write a difference, version minus baseline, with its sign."""
    return f"+{metric(value)}" if value > 0 else metric(value)


def percent(share: float) -> str:
    """Write a share from 0 to 1 with one decimal; what is nearly none or nearly all is not rounded to it."""
    if not math.isfinite(share):
        return _not_finite(share)
    if share in {0, 1}:
        return f"{share:.0%}"
    if 0 < share < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def level(share: float) -> str:
    """Write a level that somebody set, such as one of confidence, with all of its digits."""
    return f"{100 * share:.10g}%"


def probability(p_value: float) -> str:
    """Write a p-value: three decimals, never rounded to zero or one."""
    if not math.isfinite(p_value):
        return _not_finite(p_value)
    if p_value in {0, 1}:
        return f"{p_value:.0f}"
    if p_value < 0.001:
        return "<0.001"
    return ">0.999" if p_value > 0.999 else f"{p_value:.3f}"


def in_words(text: str) -> str:
    """Write `<0.1%` as `under 0.1%` and `>99.9%` as `over 99.9%`, as a sentence needs it."""
    return text.replace("<", "under ").replace(">", "over ")


def p_equals(p_value: float) -> str:
    """Write a p-value as a part of a sentence, such as `p = 0.031` or `p < 0.001`."""
    text = probability(p_value)
    return f"p {text[0]} {text[1:]}" if text[0] in "<>" else f"p = {text}"


def beside(value: float, threshold: float, write: Callable[[float], str] = statistic) -> tuple[str, str]:
    """Write a figure and its threshold with as many digits as tell them apart.

    Args:
        write: how such figures are written where that tells them apart already.
    """
    pair = write(value), write(threshold)
    digits = MIN_DIGITS
    while pair[0] == pair[1] and value != threshold and digits <= MAX_DIGITS:
        pair = _digits(value, digits, write), _digits(threshold, digits, write)
        digits += 1
    return pair


def score(value: float) -> str:
    """Write a drift score, which is at its threshold at 0.5."""
    return beside(value, 0.5)[0]


def _digits(value: float, digits: int, write: Callable[[float], str]) -> str:
    return f"{100 * value:.{digits}g}%" if write is percent else f"{value:.{digits}g}"


def _not_finite(value: float) -> str:
    return "n/a" if math.isnan(value) else "∞" if value > 0 else "-∞"
