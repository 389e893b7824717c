"""Quantiles of times with intervals that ask nothing of their distribution.

Source: David and Nagaraja, "Order statistics" (3rd edition, 2003), section 7.1: the number of times below a quantile is
binomial, so two order statistics hold it between them with a known chance. Calls that follow each other are not quite
independent; the turns between models make them more so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy


@dataclass(frozen=True)
class Quantile:
    """A quantile and the ends of its interval, in the unit of the values."""

    value: float
    low: float
    high: float


def quantile(values: Sequence[float], share: float, level: float) -> Quantile:
    """Return the least value that `share` of the values do not exceed, with its interval.

    Args:
        values: one at least. Of few values the interval ends at the least or the greatest, and holds less.
        share: as 0.99.
        level: the confidence level, as 0.95.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    count = len(ordered)
    low, high = (float(scipy.stats.binom.ppf(tail, count, share)) for tail in ((1 - level) / 2, (1 + level) / 2))
    ranks = np.clip([np.ceil(share * count) - 1, low - 1, high], 0, count - 1).astype(int)
    value, bottom, top = ordered[ranks]
    return Quantile(float(value), float(min(bottom, value)), float(max(top, value)))
