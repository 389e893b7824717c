"""What stretches of the reference differ from it by themselves, when neighbouring rows depend on each other.

Returns cluster and volatilities persist, so a quarter of them differs from four years far more often than independent
rows would, and a test that assumes independence alarms every quarter. Stretches drawn in blocks (`blocks.py`) show how
far the reference wanders; live data must go further.

How far was learnt from a reference of finite length, itself worth few independent stretches when dependence lasts. So
the spread of the null is itself uncertain, like the standard deviation in Student's t: it is mixed over a chi-square
distribution with as many degrees of freedom as the reference has pairs of blocks. Behind the largest tenth of the
stretches the tail is fitted (as in Knijnenburg et al., 2009): that of a squared distance falls off exponentially.

Every statistic here is a squared distance times the number of rows, whose distribution tends to a limit as rows grow.
"""

from dataclasses import dataclass

import numpy as np
import scipy

from modelward_server.statistics.distances import Floats

REPLICATES = 999
"""Stretches drawn of each length."""
LENGTHS = (1, 4, 16, 64, 256, 1024)
"""Rows of the stretches. Between them the null is interpolated, beyond them it is taken at its limit."""
SHORT = 64
"""Stretches are drawn up to this length also of a shorter reference; longer ones only up to the reference's own."""
LEAST = 1e-6
"""The least probability that is told of a null."""
PROBABILITIES = np.geomspace(1.0, LEAST, 73)
"""The upper tail at which the null is stored, a dozen points for each power of ten."""
TAIL = 0.1
"""The share of the stretches from whose excess the tail is fitted."""
SPREADS = (np.arange(32) + 0.5) / 32
"""Levels of the chi-square distribution over which the spread is mixed."""
KOLMOGOROV_MEDIAN = 0.8275735551899077
"""The median of the Kolmogorov distribution, `scipy.stats.kstwobign.ppf(0.5)`."""
SEED = 20_081_015


def lengths(rows: int) -> tuple[int, ...]:
    """Return the lengths of which stretches are drawn from a reference of so many rows."""
    return tuple(length for length in LENGTHS if length <= max(rows, SHORT))


@dataclass(frozen=True)
class Null:
    """The squared statistics of stretches against the reference.

    Attributes:
        quantiles: what each statistic, squared and times the rows, exceeds with each of `PROBABILITIES`, shape
            (statistics, lengths, probabilities).
        tests: how many independent tests the statistics of one feature are worth, at least 1.
        independence: how many independent rows one row is worth, from 0 to 1.
    """

    quantiles: Floats
    tests: float
    independence: float


@dataclass(frozen=True)
class NullAt:
    """The null for one number of live rows: squared statistics, shape (statistics, probabilities)."""

    quantiles: Floats

    def exceedance(self, statistic: int, squared: float) -> float:
        """Return the probability that a stretch differs at least so much, from `LEAST` to 1."""
        quantiles = self.quantiles[statistic]
        if squared <= quantiles[0] * (1 + 1e-9):  # A hair, so that rounding does not count as a difference.
            return 1.0
        return float(np.exp(np.interp(squared, quantiles, np.log(PROBABILITIES))))

    def critical(self, statistic: int, probability: float) -> float:
        """Return the squared statistic that a stretch exceeds with that probability."""
        return float(np.interp(-np.log(probability), -np.log(PROBABILITIES), self.quantiles[statistic]))


def null_at(null: Null, rows: int, reference_rows: int) -> NullAt:
    """Return the null for so many live rows.

    The reference is a sample too: the squared statistic of two samples grows by rows / reference_rows over that of one.
    """
    rows, reference_rows = max(rows, 1), max(reference_rows, 1)
    position = float(np.interp(np.log(rows), np.log(LENGTHS), np.arange(len(LENGTHS))))
    low, share = int(position), position - int(position)
    high = min(low + 1, len(LENGTHS) - 1)
    both = (1 - share) * null.quantiles[:, low] + share * null.quantiles[:, high]
    return NullAt(both * (1 / rows + 1 / reference_rows))


def least_probability(rows: float, reference_rows: float) -> float:
    """Return the least p-value that so many independent rows can show: that all live ones lie beyond all others."""
    return float(
        np.exp(
            -scipy.special.gammaln(rows + reference_rows + 1)
            + scipy.special.gammaln(rows + 1)
            + scipy.special.gammaln(reference_rows + 1)
        )
    )


def null_of(drawn: Floats, blocks: float) -> Null:
    """Describe the null by stretches that were drawn.

    Args:
        drawn: squared statistics times rows, the first one that of Kolmogorov and Smirnov or the total variation, shape
            (statistics, lengths, replicates).
        blocks: how many blocks of dependent rows the reference has.
    """
    freedom = max(blocks / 2, 1.0)
    quantiles = np.array([[_quantiles(np.sort(one), freedom) for one in statistic] for statistic in drawn])
    longer = len(LENGTHS) - drawn.shape[1]
    quantiles = np.pad(quantiles, ((0, 0), (0, longer), (0, 0)), mode="edge")
    middle = np.median(drawn[0, -1])
    worth = KOLMOGOROV_MEDIAN**2 / middle if middle > 0 else 1.0
    return Null(quantiles, independent_tests(p_values(drawn)), float(np.clip(worth, 0.0, 1.0)))


def _quantiles(drawn: Floats, freedom: float) -> Floats:
    """Return the quantiles of a null whose spread is mixed over its uncertainty."""
    grid = np.concatenate(([0.0], np.geomspace(max(drawn[-1], 1e-300) * 1e-4, max(drawn[-1], 1e-300) * 1e3, 400)))
    spreads = scipy.stats.chi2.ppf(SPREADS, freedom) / freedom
    survival = _survival(drawn, grid[:, None] * spreads).mean(axis=1)
    falling = np.minimum.accumulate(np.maximum(survival, LEAST * 1e-3))
    return np.asarray(np.interp(-np.log(PROBABILITIES), -np.log(falling), grid))


def _survival(drawn: Floats, squared: Floats) -> Floats:
    """Return the share of stretches that reach a value, behind the largest tenth by an exponential tail."""
    reach = (1 + len(drawn) - np.searchsorted(drawn, squared * (1 - 1e-9))) / (1 + len(drawn))
    start = np.quantile(drawn, 1 - TAIL)
    excess = (drawn[drawn >= start] - start).mean()
    if excess <= 0:
        return np.where(squared > start, LEAST, reach)
    return np.where(squared > start, np.minimum(TAIL, reach.max()) * np.exp(-(squared - start).clip(0) / excess), reach)


def p_values(drawn: Floats) -> Floats:
    """Return of each drawn statistic the share of those that reach it, shape as `drawn`; ties share the greatest."""
    return np.asarray(scipy.stats.rankdata(-drawn, method="max", axis=-1) / drawn.shape[-1])


def independent_tests(p: Floats) -> float:
    """Return how many independent tests the first axis is worth: how often the least p-value is below 0.05.

    Args:
        p: p-values under the null, shape (tests, ..., replicates).
    """
    level = 0.05
    least = p.min(axis=0)
    share = min((least <= level).mean(), 1 - 1e-9)
    return float(np.clip(np.log1p(-share) / np.log1p(-level), 1.0, len(p)))


def family_p_value(least: float, tests: float) -> float:
    """Return the probability that the least p-value of so many independent tests is as low (Sidak, 1967)."""
    return float(-np.expm1(tests * np.log1p(-min(least, 1 - 1e-16)))) if least < 1 else 1.0
