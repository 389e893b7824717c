"""Do two models rank the positive rows equally well? DeLong's test of two areas under the curve.

Sources: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
characteristic curves", Biometrics 44 (1988); computed by ranks as Sun and Xu, "Fast implementation of DeLong's
algorithm", IEEE Signal Processing Letters 21 (2014).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import rankdata

from modelward.comparison import SignificanceTest
from modelward_server.comparison.metrics import Floats
from modelward_server.comparison.significance import Tested


def delong(positive: NDArray[np.bool_], scores: Floats, other: Floats) -> Tested:
    """Test whether two models have the same area, on rows that are independent of each other.

    Args:
        positive: which rows are positive, shape (rows,); some are and some are not.
        scores: of the one model, shape (rows,), higher for what it thinks positive; ties count half.
        other: of the other model.
    """
    first, second = np.array([scores[positive], other[positive]]), np.array([scores[~positive], other[~positive]])
    of_positive, of_negative = _placements(first, second)
    areas = of_positive.mean(axis=1)
    variance = _spread(of_positive) + _spread(of_negative)
    difference = float(areas[0] - areas[1])
    if variance <= 0:
        return Tested(SignificanceTest.DELONG, 0.0, 1.0 if difference == 0 else 0.0)
    statistic = difference / float(np.sqrt(variance))
    return Tested(SignificanceTest.DELONG, statistic, float(2 * ndtr(-abs(statistic))))


def _placements(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Return for each positive row the share of negative ones below it, and for each negative of positive above."""
    many, few = positive.shape[1], negative.shape[1]
    together = rankdata(np.hstack([positive, negative]), axis=1)
    below = (together[:, :many] - rankdata(positive, axis=1)) / few
    above = 1 - (together[:, many:] - rankdata(negative, axis=1)) / many
    return below, above


def _spread(placements: Floats) -> float:
    """Return the variance of the mean of the two models' differences."""
    rows = placements.shape[1]
    return float(np.var(placements[0] - placements[1], ddof=1) / rows) if rows > 1 else 0.0
