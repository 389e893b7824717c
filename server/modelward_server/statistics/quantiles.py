"""Quantiles of durations with distribution-free confidence intervals.

Source: David and Nagaraja, "Order statistics" (3rd edition, 2003), section 7.1: the number of durations below a
quantile is binomial, so two order statistics enclose it with a known probability. Consecutive calls are not entirely
independent; alternating between models reduces the dependence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy


@dataclass(frozen=True)
class Quantile:
    """A quantile and the ends of its confidence interval, in the unit of the values."""

    value: float
    low: float
    high: float


def quantile(values: Sequence[float], share: float, level: float) -> Quantile:
    """Return the smallest value that `share` of the values do not exceed, with its confidence interval.

    Args:
        values: at least one, finite. With few values the interval ends at the smallest or the largest, and its coverage
            is below `level`.
        share: the probability of the quantile, such as 0.99.
        level: the confidence level, such as 0.95.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    count = len(ordered)
    low, high = (float(scipy.stats.binom.ppf(tail, count, share)) for tail in ((1 - level) / 2, (1 + level) / 2))
    ranks = np.clip([np.ceil(share * count) - 1, low - 1, high], 0, count - 1).astype(int)
    value, bottom, top = ordered[ranks]
    return Quantile(float(value), float(min(bottom, value)), float(max(top, value)))
