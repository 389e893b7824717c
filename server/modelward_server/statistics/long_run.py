"""Test the mean of a time series whose neighbouring values depend on each other.

The long-run variance is the mean of the squared cosine transforms at the lowest frequencies: Lazarus, Lewis, Stock and
Watson, "HAR inference: recommendations for practice", Journal of Business & Economic Statistics 36 (2018). In contrast
to sums of autocovariances it is never negative, and its few degrees of freedom are accounted for by Student's t, so the
test holds its level with few times.
"""

import numpy as np
import scipy

from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.paired_tests import DIEBOLD_MARIANO, PairedTestResult, min_p_value
from modelward_server.statistics.rounding import differs, size_of, unit_of, varies

FREQUENCIES_PER_BLOCK = 2 / 3
"""Frequencies used for each block of dependent times. The spectrum of sums over a block of independent values is still
68 % of its peak at the highest of them, and on average 89 %; more would give power at the price of false alarms."""
MAX_FREQUENCIES = 0.5
"""Maximum number of frequencies, as a share of the times: weak dependence is not found in few of them."""
MIN_FREQUENCIES = 2


def mean_difference(series: Floats, other: Floats, block: float) -> PairedTestResult:
    """Test whether two series have the same mean.

    Args:
        series: the values of the first model, such as losses, finite, shape (times,), in the order of time.
        other: the values of the second model, shape (times,).
        block: the number of times over which values are dependent, at least 1.

    Returns:
        The statistic (positive if the first mean is larger) and its two-sided p-value.
    """
    difference, size = series - other, size_of(series, other)
    if not varies(difference, size):
        constant = len(difference) > 0 and differs(float(difference.mean()), 0.0, size)
        return PairedTestResult(DIEBOLD_MARIANO, 0.0, min_p_value(len(difference) / block) if constant else 1.0)
    difference = difference / unit_of(difference)
    error, freedom = standard_error(difference, block)
    statistic = float(difference.mean() / error)
    return PairedTestResult(DIEBOLD_MARIANO, statistic, float(2 * scipy.special.stdtr(freedom, -abs(statistic))))


def standard_error(series: Floats, block: float) -> tuple[float, int]:
    """Return the standard error of the mean of a series, and its degrees of freedom.

    Args:
        series: finite, shape (times,), at least two; not constant.
        block: the number of times over which values are dependent, at least 1.
    """
    times = len(series)
    least = min(MIN_FREQUENCIES, times - 1)
    found = min(FREQUENCIES_PER_BLOCK / block, MAX_FREQUENCIES) * times
    freedom = int(np.clip(round(found), least, times - 1))
    waves = scipy.fft.dct(series, norm="ortho")[1 : freedom + 1]
    return float(np.sqrt(np.square(waves).mean() / times)), freedom
