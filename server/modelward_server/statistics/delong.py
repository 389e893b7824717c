"""Do two models rank the positive rows equally well? DeLong's test of two areas under the curve.

Sources: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
characteristic curves", Biometrics 44 (1988); computed by ranks as Sun and Xu, "Fast implementation of DeLong's
algorithm", IEEE Signal Processing Letters 21 (2014).
"""

import numpy as np
import scipy
from numpy.typing import NDArray

from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.paired_tests import PairedTestResult, least_p_value
from modelward_server.statistics.rounding import TOLERANCE, differs, ties, varies

DELONG = "delong"


def delong(positive: NDArray[np.bool_], scores: Floats, other: Floats) -> PairedTestResult:
    """Test whether two models have the same area, on rows that are independent of each other.

    Args:
        positive: which rows are positive, shape (rows,); some are and some are not.
        scores: of the one model, shape (rows,), higher for what it thinks positive; ties count half.
        other: of the other model.
    """
    of_positive, of_negative = _placements_of(positive, scores, other)
    areas = of_positive.mean(axis=1)
    variance = _spread(of_positive) + _spread(of_negative)
    if not differs(areas[0], areas[1], 1.0):
        return PairedTestResult(DELONG, 0.0, 1.0)
    least = least_p_value(_apart(of_positive) + _apart(of_negative))
    if variance <= 0:
        return PairedTestResult(DELONG, 0.0, least)
    statistic = float(areas[0] - areas[1]) / float(np.sqrt(variance))
    return PairedTestResult(DELONG, statistic, max(float(2 * scipy.special.ndtr(-abs(statistic))), least))


def ranked_otherwise(positive: NDArray[np.bool_], scores: Floats, other: Floats) -> int:
    """Count the rows that two models rank otherwise among those of the other class."""
    return sum(map(_apart, _placements_of(positive, scores, other)))


def _placements_of(positive: NDArray[np.bool_], scores: Floats, other: Floats) -> tuple[Floats, Floats]:
    both = np.array([ties(scores), ties(other)])
    return _placements(both[:, positive], both[:, ~positive])


def _placements(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Return for each positive row the share of negative ones below it, and for each negative of positive above."""
    many, few = positive.shape[1], negative.shape[1]
    together = scipy.stats.rankdata(np.hstack([positive, negative]), axis=1)
    below = (together[:, :many] - scipy.stats.rankdata(positive, axis=1)) / few
    above = 1 - (together[:, many:] - scipy.stats.rankdata(negative, axis=1)) / many
    return below, above


def _apart(placements: Floats) -> int:
    """Count the rows whose places in the two rankings differ; places are shares of rows, so halves of 1 / rows."""
    return int(np.count_nonzero(~np.isclose(placements[0], placements[1], rtol=0.0, atol=TOLERANCE)))


def _spread(placements: Floats) -> float:
    """Return the variance of the mean of the two models' differences."""
    difference, rows = placements[0] - placements[1], placements.shape[1]
    return float(np.var(difference, ddof=1) / rows) if varies(difference, 1.0) else 0.0
