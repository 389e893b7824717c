"""Is a paired difference luck? Tests of two models on the same rows, and the correction for looking at many.

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
"""Below so many rows on which just one is right, the chi-square limit is rough and the exact test is quick."""


@dataclass(frozen=True)
class PairedTestResult:
    """The result of a paired test."""

    test: str
    statistic: float
    p_value: float
    """Two-sided."""


def least_p_value(informative: float) -> float:
    """Return the least two-sided p-value that rows can bear: that of the exact sign test.

    Where nothing tells two models apart but their names, each row that tells anything favours the one or the other
    with even chances. So even when all of them favour one, that is luck with this probability.

    Args:
        informative: how many independent rows, or blocks of rows, tell the two apart.
    """
    return float(min(1.0, 2.0 ** (1 - informative)))


def mcnemar(right: NDArray[np.bool_], other_right: NDArray[np.bool_]) -> PairedTestResult:
    """Test whether two models are right equally often, on rows that are independent of each other.

    Args:
        right: which rows the one model had right, shape (rows,).
        other_right: which rows the other had right.
    """
    table = [[np.sum(right & other_right), np.sum(right & ~other_right)]]
    table.append([np.sum(~right & other_right), np.sum(~right & ~other_right)])
    return mcnemar_table(np.array(table))


def mcnemar_table(table: NDArray[np.int64]) -> PairedTestResult:
    """Test a table of (both right, only the first; only the second, neither), with the continuity correction."""
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
        losses: of the one model, shape (rows,), in the order of time.
        other: of the other model.
        horizon: over how many rows losses hang together; autocovariances up to `horizon` - 1 count, weighted after
            Bartlett where the plain sum would be a variance of zero or less.
    """
    difference, size = losses - other, size_of(losses, other)
    rows, told = len(difference), size_of(difference) or 1.0
    if not varies(difference, size):
        return PairedTestResult(DIEBOLD_MARIANO, 0.0, _of_constant(difference, size, horizon))
    difference = difference / told  # In its own size, or squares of what is very large or small would be lost.
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


def _of_constant(difference: Floats, size: float, horizon: int) -> float:
    """Return the p-value of a difference that is the same on every row: there is no error, but a sign test."""
    if not len(difference) or not differs(float(difference.mean()), 0.0, size):
        return 1.0
    return least_p_value(len(difference) / max(1, horizon))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being looked at together; statsmodels does it too, but collects garbage at each call."""
    found = np.asarray(p_values, np.float64)
    order = np.argsort(found)
    corrected = np.empty_like(found)
    corrected[order] = np.maximum.accumulate(found[order] * np.arange(len(found), 0, -1))
    return [float(value) for value in np.minimum(corrected, 1.0)]
