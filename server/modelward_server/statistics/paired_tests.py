"""Paired significance tests of two models on the same rows, and Holm's correction for multiple tests.

Sources: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
Psychometrika 12 (1947); Diebold and Mariano, "Comparing predictive accuracy", Journal of Business & Economic Statistics
13 (1995); Harvey, Leybourne and Newbold, "Testing the equality of prediction mean squared errors", International
Journal of Forecasting 13 (1997); Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
of Statistics 6 (1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.rounding import differs, size_of, varies

MCNEMAR_EXACT = "mcnemar_exact"
MCNEMAR = "mcnemar"
DIEBOLD_MARIANO = "diebold_mariano"

FEW_DISAGREEMENTS = 25
"""With fewer rows on which only one model is correct, the chi-square limit is inaccurate and the exact test is fast."""


@dataclass(frozen=True)
class PairedTestResult:
    """The result of a paired test."""

    test: str
    statistic: float
    p_value: float
    """Two-sided."""


def min_p_value(informative: float) -> float:
    """Return the smallest two-sided p-value that a number of rows can support: that of the exact sign test.

    If two models are equally good, each row in which they differ favours either of them with probability 1/2. All such
    rows favour the same model by chance with this probability.

    Args:
        informative: the number of independent rows, or of blocks of rows, in which the models differ.
    """
    return float(min(1.0, 2.0 ** (1 - informative)))


def mcnemar(right: NDArray[np.bool_], other_right: NDArray[np.bool_]) -> PairedTestResult:
    """Test whether two models are correct equally often, on independent rows (McNemar 1947).

    Args:
        right: which rows the first model predicted correctly, shape (rows,).
        other_right: which rows the second model predicted correctly, shape (rows,).
    """
    table = [[np.sum(right & other_right), np.sum(right & ~other_right)]]
    table.append([np.sum(~right & other_right), np.sum(~right & ~other_right)])
    return mcnemar_table(np.array(table))


def mcnemar_table(table: NDArray[np.int64]) -> PairedTestResult:
    """Apply McNemar's test, with the continuity correction, to a table of counts.

    Args:
        table: shape (2, 2): both correct, only the first; only the second, neither.

    Returns:
        The result of the exact binomial test with fewer than `FEW_DISAGREEMENTS`, otherwise of the chi-square test.
    """
    first, second = int(table[0, 1]), int(table[1, 0])
    disagreements = first + second
    if not disagreements:
        return PairedTestResult(MCNEMAR_EXACT, 0.0, 1.0)
    if disagreements < FEW_DISAGREEMENTS:
        p_value = float(scipy.stats.binomtest(first, disagreements).pvalue)
        return PairedTestResult(MCNEMAR_EXACT, float(min(first, second)), p_value)
    statistic = (abs(first - second) - 1) ** 2 / disagreements
    return PairedTestResult(MCNEMAR, statistic, float(scipy.special.chdtrc(1, statistic)))


def diebold_mariano(losses: Floats, other: Floats, horizon: int = 1) -> PairedTestResult:
    """Test whether two series of losses have the same mean, with the small-sample correction and Student's t.

    Args:
        losses: the losses of the first model, finite, shape (rows,), in the order of time.
        other: the losses of the second model, shape (rows,).
        horizon: the number of rows over which losses are dependent; autocovariances up to lag `horizon` - 1 are
            included, with Bartlett weights where the plain sum would give a variance of zero or less.

    Returns:
        The statistic (positive if the first model's losses are larger) and its two-sided p-value.
    """
    difference, size = losses - other, size_of(losses, other)
    rows, scale = len(difference), size_of(difference) or 1.0
    if not varies(difference, size):
        return PairedTestResult(DIEBOLD_MARIANO, 0.0, _sign_test(difference, size, horizon))
    difference = difference / scale  # Otherwise squares of very large or small values would overflow or vanish.
    horizon = max(1, min(horizon, rows - 1))
    centred = difference - difference.mean()
    covariances = np.array([centred[lag:] @ centred[: rows - lag] / rows for lag in range(horizon)])
    variance = covariances[0] + 2 * covariances[1:].sum()
    if variance <= 0:
        variance = covariances[0] + 2 * (1 - np.arange(1, horizon) / horizon) @ covariances[1:]
    if variance <= 0:
        return PairedTestResult(DIEBOLD_MARIANO, 0.0, 1.0)
    corrected = (rows + 1 - 2 * horizon + horizon * (horizon - 1) / rows) / rows
    statistic = float(difference.mean() / np.sqrt(variance / rows) * np.sqrt(max(corrected, 0.0)))
    return PairedTestResult(DIEBOLD_MARIANO, statistic, float(2 * scipy.special.stdtr(rows - 1, -abs(statistic))))


def _sign_test(difference: Floats, size: float, horizon: int) -> float:
    """Return the sign test's p-value of a difference that is constant over all rows and so has no standard error."""
    if not len(difference) or not differs(float(difference.mean()), 0.0, size):
        return 1.0
    return min_p_value(len(difference) / max(1, horizon))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p-values, in the same order (Holm 1979).

    statsmodels does the same, but runs the garbage collector at each call.
    """
    raw = np.asarray(p_values, np.float64)
    order = np.argsort(raw)
    corrected = np.empty_like(raw)
    corrected[order] = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    return [float(value) for value in np.minimum(corrected, 1.0)]
