"""Confidence sequences: intervals that are valid simultaneously at every look, so that looking at any time is allowed.

The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024, "Time-uniform central limit
theory and asymptotic confidence sequences", Annals of Statistics 52), with Robbins' normal mixture as its boundary.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy

TUNED_AT = 1_000
"""The number of units, of both arms together, at which the sequences are narrowest. At the level of 95 percent they are
wider than sequences that are tuned for another number: by 26 percent at 100 units, by 7 percent at 10,000."""
MIN_UNITS = 30
"""The minimum number of units in each arm: with fewer, the asymptotic theory does not apply, so there is no
interval."""


@dataclass(frozen=True)
class DifferenceEstimate:
    """The estimated difference between two arms in one metric."""

    units: int
    """The number of units of both arms, or of pairs where both arms have the same units."""
    difference: float
    variance: float
    """The squared standard error of the difference; 0 or below if it cannot be estimated."""
    effective_outcomes: float
    """The intrinsic time of the sequence: the number of single outcomes with the same information."""
    variance_explained: float = 0.0
    """The share of the variance that CUPED removed, from 0 to 1."""
    sufficient: bool = True
    """Whether each arm has at least `MIN_UNITS` units."""

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the ends of the interval at this look; infinite if there are too few units or no variance.

        Args:
            alpha: the probability that the interval excludes the true difference at any look.
        """
        if not self.sufficient or self.variance <= 0:
            return -np.inf, np.inf
        width = half_width(self.variance, self.effective_outcomes, alpha)
        return self.difference - width, self.difference + width


def half_width(variance: float, effective_outcomes: float, alpha: float) -> float:
    """Return half the width of the confidence sequence.

    Args:
        variance: the variance of the estimate, which is that of one outcome divided by `effective_outcomes`.
        effective_outcomes: the number of outcomes.
        alpha: the probability that the sequence ever excludes the true value.
    """
    grown = effective_outcomes * mixing_variance(alpha)
    return float(np.sqrt(variance * (grown + 1) / grown * np.log((grown + 1) / alpha**2)))


def mixing_variance(alpha: float, tuned_at: float = TUNED_AT) -> float:
    """Return the paper's rho squared, which makes the sequence narrowest at `tuned_at` outcomes (its appendix B.2)."""
    return float((-scipy.special.lambertw(-(alpha**2) / math.e, -1).real - 1) / tuned_at)
