"""DeLong's test of the difference between two correlated areas under the ROC curve.

Sources: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
characteristic curves", Biometrics 44 (1988); computed by ranks as Sun and Xu, "Fast implementation of DeLong's
algorithm", IEEE Signal Processing Letters 21 (2014).
"""

import numpy as np
import scipy
from numpy.typing import NDArray

from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.paired_tests import PairedTestResult, min_p_value
from modelward_server.statistics.rounding import TOLERANCE, differs, equalize_ties, varies

DELONG = "delong"


def delong(positive: NDArray[np.bool_], scores: Floats, other: Floats) -> PairedTestResult:
    """Test whether two models have the same area under the ROC curve, on independent rows.

    Args:
        positive: which rows are positive, shape (rows,); at least one of each class.
        scores: the scores of the first model, finite, shape (rows,), higher for rows it considers positive; ties count
            half.
        other: the scores of the second model, shape (rows,).

    Returns:
        The z statistic (first minus second) and the two-sided p-value, no lower than that of the exact sign test.
    """
    positive_placements, negative_placements = _tied_placements(positive, scores, other)
    areas = positive_placements.mean(axis=1)
    variance = _mean_variance(positive_placements) + _mean_variance(negative_placements)
    if not differs(areas[0], areas[1], 1.0):
        return PairedTestResult(DELONG, 0.0, 1.0)
    least = min_p_value(_count_differing(positive_placements) + _count_differing(negative_placements))
    if variance <= 0:
        return PairedTestResult(DELONG, 0.0, least)
    statistic = float(areas[0] - areas[1]) / float(np.sqrt(variance))
    return PairedTestResult(DELONG, statistic, max(float(2 * scipy.special.ndtr(-abs(statistic))), least))


def influences(positive: NDArray[np.bool_], scores: Floats, other: Floats) -> Floats:
    """Return values of the rows whose mean is the area, and whose deviations from it are their influences.

    Summed by cluster they give the covariance for rows that depend on each other: Obuchowski, "Nonparametric analysis
    of clustered ROC curve data", Biometrics 53 (1997).

    Returns:
        Shape (2, rows); arguments as `delong`.
    """
    found, rows = np.empty((2, len(positive))), len(positive)
    for side, placements in zip((positive, ~positive), _tied_placements(positive, scores, other), strict=True):
        areas = placements.mean(axis=1, keepdims=True)
        found[:, side] = areas + (placements - areas) * (rows / placements.shape[1])
    return found


def ranked_differently(positive: NDArray[np.bool_], scores: Floats, other: Floats) -> NDArray[np.bool_]:
    """Return which rows have another rank among the rows of the other class with one model than with the other.

    Arguments as `delong`.
    """
    differing = np.empty(len(positive), bool)
    for side, placements in zip((positive, ~positive), _tied_placements(positive, scores, other), strict=True):
        differing[side] = _differ(placements)
    return differing


def _tied_placements(positive: NDArray[np.bool_], scores: Floats, other: Floats) -> tuple[Floats, Floats]:
    both = np.array([equalize_ties(scores), equalize_ties(other)])
    return _placements(both[:, positive], both[:, ~positive])


def _placements(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Return for each positive row the share of negative rows below it, for each negative that of positive above."""
    positives, negatives = positive.shape[1], negative.shape[1]
    ranks = scipy.stats.rankdata(np.hstack([positive, negative]), axis=1)
    below = (ranks[:, :positives] - scipy.stats.rankdata(positive, axis=1)) / negatives
    above = 1 - (ranks[:, positives:] - scipy.stats.rankdata(negative, axis=1)) / positives
    return below, above


def _count_differing(placements: Floats) -> int:
    return int(np.count_nonzero(_differ(placements)))


def _differ(placements: Floats) -> NDArray[np.bool_]:
    """Return which placements differ between the models; they are multiples of 1 / (2 rows)."""
    return np.asarray(~np.isclose(placements[0], placements[1], rtol=0.0, atol=TOLERANCE))


def _mean_variance(placements: Floats) -> float:
    """Return the variance of the mean difference between the two models' placements."""
    difference, rows = placements[0] - placements[1], placements.shape[1]
    return float(np.var(difference, ddof=1) / rows) if varies(difference, 1.0) else 0.0
