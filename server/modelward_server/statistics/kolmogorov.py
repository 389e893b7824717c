"""Kolmogorov-Smirnov p-values that are valid for independent rows."""

from functools import lru_cache
from math import ceil, lcm

import numpy as np
import scipy

from modelward_server.statistics.distances import Floats

KEPT = 1 << 14
"""Number of p-values that are kept in memory."""
EXACT_ROWS = 1_000
"""Up to this number of rows on each side the p-value is exact."""
LIMIT_ROWS = 10_000
"""From this effective number of rows on it is that of the limit distribution, whose relative error is then below 0.01.
"""
MATRIX_ROWS = 140
"""Up to this effective number of rows the distribution is computed as a matrix power, without an overflow."""
MATRIX_SQUARE = 4.0
"""Beyond this effective number of rows times the squared statistic, scipy needs no matrix: one tail is negligible."""


def ks_p_value(statistic: float, rows: int, reference_rows: int) -> tuple[float, str]:
    """Return the Kolmogorov-Smirnov p-value for independent rows, and the name of the method.

    "asymptotic" is `ks_2samp(method="asymp")`; "limit" is Kolmogorov's limit distribution (Kolmogorov, 1933), for
    samples so large that the former is slow and differs little.

    Args:
        statistic: the statistic, from 0 to 1.
        rows: the number of live rows.
        reference_rows: the number of reference rows.

    Returns:
        A p-value from 0 to 1; 1 if a side has no row.
    """
    if not rows or not reference_rows:
        return 1.0, "asymptotic"
    effective = rows * reference_rows / (rows + reference_rows)
    if effective >= LIMIT_ROWS:
        return float(scipy.special.kolmogorov(np.sqrt(effective) * statistic)), "limit"
    # Without rounding errors, samples of the same sizes have few different statistics, whose p-values are kept.
    p_value = _one_sample(round(statistic, 14), max(round(effective), 1))
    return float(np.clip(p_value, 0.0, 1.0)), "asymptotic"


def steps_of(statistic: float, rows: int, reference_rows: int) -> int:
    """Return the statistic in units of the smallest difference that samples of these sizes can have."""
    return round(statistic * lcm(rows, reference_rows))


@lru_cache(KEPT)
def _one_sample(statistic: float, rows: int) -> float:
    """Return the p-value of one sample, as `scipy.stats.kstwo.sf`, which is slow for few rows."""
    if rows * statistic <= 0.5:
        return 1.0
    if rows > MATRIX_ROWS or rows * statistic**2 >= MATRIX_SQUARE:
        return float(scipy.stats.kstwo.sf(statistic, rows))
    return 1 - _matrix_power(statistic, rows)


def _matrix_power(statistic: float, rows: int) -> float:
    """Return the probability of a smaller statistic. Source: Marsaglia, Tsang and Wang (2003)."""
    middle = ceil(rows * statistic)
    size, share = 2 * middle - 1, middle - rows * statistic
    place = np.arange(size)
    step = place[:, None] - place + 1
    matrix = (step >= 0).astype(np.float64)
    corner = share ** (place + 1.0)
    matrix[:, 0] -= corner
    matrix[-1] -= corner[::-1]
    matrix[-1, 0] += max(2 * share - 1, 0.0) ** size
    matrix /= scipy.special.gamma(np.maximum(step, 0) + 1)
    power = np.linalg.matrix_power(matrix, rows)[middle - 1, middle - 1]
    return float(power * np.prod(np.arange(1, rows + 1) / rows))


def exact_ks_p_values(reference: Floats, live: Floats) -> Floats:
    """Return the exact p-value of each feature, `ks_2samp(method="exact")`. Source: Hodges (1958).

    Args:
        reference: values without NaN, shape (m, features), at most `EXACT_ROWS` rows.
        live: values without NaN, shape (n, features), at most `EXACT_ROWS` rows.

    Returns:
        Shape (features,).
    """
    return np.asarray(scipy.stats.ks_2samp(live, reference, method="exact", axis=0).pvalue)
