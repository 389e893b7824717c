"""Null distributions of drift statistics for dependent rows, fitted to bootstrap segments of the reference.

Returns cluster and volatilities persist, so one quarter differs from four years far more often than independent rows
would, and a test that assumes independence raises an alarm every quarter. Segments that are drawn in blocks
(`block_bootstrap.py`) show how much segments of the reference differ from it; live data must differ more than that.

This variation is estimated from a reference of finite length, which is equivalent to few independent segments when
dependence lasts. The scale of the null distribution is therefore uncertain, as the standard deviation is in Student's
t: it is mixed over a chi-square distribution with as many degrees of freedom as the reference has pairs of blocks. The
tail beyond the largest tenth of the segments is fitted (as in Knijnenburg et al., 2009): the tail of a squared distance
falls off exponentially.

Every statistic here is a squared distance times the number of rows, whose distribution has a limit as rows increase.
"""

from dataclasses import dataclass

import numpy as np
import scipy

from modelward_server.statistics.distances import Floats

REPLICATES = 999
"""Number of segments drawn of each length."""
SEGMENT_LENGTHS = (1, 4, 16, 64, 256, 1024)
"""Lengths of the segments in rows. The null is interpolated between them and constant beyond them (its limit)."""
LOG_LENGTHS = np.log(SEGMENT_LENGTHS)
MIN_LENGTH_LIMIT = 64
"""Segments up to this length are drawn even from a shorter reference; longer ones only up to the reference's length."""
MIN_PROBABILITY = 1e-6
"""The smallest tail probability at which a null distribution is stored and reported."""
PROBABILITIES = np.geomspace(1.0, MIN_PROBABILITY, 73)
"""Upper-tail probabilities at which the null is stored, twelve points for each power of ten."""
LOG_PROBABILITIES = np.log(PROBABILITIES)
GRID = np.append(0.0, np.geomspace(1e-4, 1e3, 400))
"""The values, as multiples of the largest statistic drawn, between which the null is interpolated."""
TAIL_SHARE = 0.1
"""The share of the segments, those with the largest statistics, to whose excess the tail is fitted."""
SPREAD_LEVELS = (np.arange(32) + 0.5) / 32
"""Probabilities of the chi-square distribution over which the scale is mixed."""
KOLMOGOROV_MEDIAN = 0.8275735551899077
"""The median of the Kolmogorov distribution, `scipy.stats.kstwobign.ppf(0.5)`."""
SEED = 20_081_015


def segment_lengths(rows: int) -> tuple[int, ...]:
    """Return the segment lengths that are drawn from a reference of that number of rows."""
    return tuple(length for length in SEGMENT_LENGTHS if length <= max(rows, MIN_LENGTH_LIMIT))


@dataclass(frozen=True)
class NullDistribution:
    """The null distribution of squared statistics between segments and the reference.

    Attributes:
        quantiles: the value that each statistic, squared and times the rows, exceeds with each of `PROBABILITIES`,
            shape (statistics, lengths, probabilities).
        tests: the equivalent number of independent tests of the statistics of one feature, at least 1.
        independence: the number of independent rows to which one row is equivalent, from 0 to 1; of a panel, to which
            the rows of one time are equivalent, at most their number.
    """

    quantiles: Floats
    tests: float
    independence: float


@dataclass(frozen=True)
class NullQuantiles:
    """The quantiles of the null for one number of live rows: squared statistics, shape (statistics, probabilities)."""

    quantiles: Floats

    def exceedance(self, statistic: int, squared: float) -> float:
        """Return the p-value of a squared statistic, from `MIN_PROBABILITY` to 1.

        Args:
            statistic: the index of the statistic.
            squared: its squared value.
        """
        quantiles = self.quantiles[statistic]
        if squared <= quantiles[0] * (1 + 1e-9):  # The factor keeps rounding from counting as a difference.
            return 1.0
        return float(np.exp(np.interp(squared, quantiles, LOG_PROBABILITIES)))

    def is_constant(self, statistic: int) -> bool:
        """Return whether the reference shows no variation, as one that has a single value."""
        return not self.quantiles[statistic].any()

    def critical(self, statistic: int, probability: float) -> float:
        """Return the critical value: the squared statistic that a segment exceeds with that probability."""
        return float(np.interp(-np.log(probability), -LOG_PROBABILITIES, self.quantiles[statistic]))


def null_for_rows(null: NullDistribution, rows: float, reference_rows: float) -> NullQuantiles:
    """Return the quantiles of the null for a number of live rows.

    The reference is a sample too: the squared statistic of two samples is larger than that of one by the factor
    1 + rows / reference_rows.
    """
    rows, reference_rows = max(rows, 1), max(reference_rows, 1)
    position = float(np.interp(np.log(rows), LOG_LENGTHS, np.arange(len(SEGMENT_LENGTHS))))
    low, share = int(position), position - int(position)
    high = min(low + 1, len(SEGMENT_LENGTHS) - 1)
    both = (1 - share) * null.quantiles[:, low] + share * null.quantiles[:, high]
    return NullQuantiles(both * (1 / rows + 1 / reference_rows))


def min_attainable_p_value(rows: float, reference_rows: float, differing: float = 1.0) -> float:
    """Return the probability that a part of independent live rows differs from all rows of the reference by chance.

    Of as many rows in any order, the reference has none of that part: Fisher's exact test. Where all live rows differ,
    it is the smallest p-value that they can attain.

    Args:
        rows: the number of independent live rows.
        reference_rows: the number of independent reference rows.
        differing: the share of the live rows that differ.
    """
    alike = max(1 - differing, 0.0) * rows
    log_ways = [scipy.special.gammaln(n + reference_rows + 1) - scipy.special.gammaln(n + 1) for n in (alike, rows)]
    return float(np.exp(log_ways[0] - log_ways[1]))


def fit_null(drawn: Floats, reached: Floats, blocks: float, max_rows: float = 1.0) -> NullDistribution:
    """Fit the null distribution to the statistics of drawn segments.

    Args:
        drawn: squared statistics times rows, the first one Kolmogorov-Smirnov or the total variation, shape
            (statistics, lengths, replicates).
        reached: their `p_values`, shape as `drawn`.
        blocks: the number of blocks of dependent rows in the reference.
        max_rows: the number of rows of a time, to which its effective rows are limited.
    """
    freedom = max(blocks / 2, 1.0)
    spreads = 2 * scipy.special.gammaincinv(freedom / 2, SPREAD_LEVELS) / freedom  # Quantiles of chi-square.
    ordered = np.sort(drawn, axis=-1)
    starts = np.quantile(ordered, 1 - TAIL_SHARE, axis=-1)
    quantiles = np.array(
        [[_quantiles(*one, spreads) for one in zip(*each, strict=True)] for each in zip(ordered, starts, strict=True)]
    )
    longer = len(SEGMENT_LENGTHS) - drawn.shape[1]
    quantiles = np.pad(quantiles, ((0, 0), (0, longer), (0, 0)), mode="edge")
    middle = np.median(drawn[0, -1])
    independence = KOLMOGOROV_MEDIAN**2 / middle if middle > 0 else 1.0
    return NullDistribution(quantiles, independent_tests(reached), float(np.clip(independence, 0.0, max_rows)))


def _quantiles(drawn: Floats, start: float, spreads: Floats) -> Floats:
    """Return the quantiles of a null distribution whose scale is mixed over its uncertainty.

    Args:
        drawn: the statistics of the segments, ascending, shape (replicates,).
        start: where the tail begins that is fitted.
        spreads: the factors by which their scale may be off, ascending, shape (s,).
    """
    if drawn[-1] <= 0:
        return np.zeros(len(PROBABILITIES))
    excess = (drawn[np.searchsorted(drawn, start) :] - start).mean()
    grid = _grid(drawn, start, excess, spreads)
    survival = _survival(drawn, start, excess, spreads[:, None] * grid).mean(axis=0)
    falling = np.minimum.accumulate(np.maximum(survival, MIN_PROBABILITY * 1e-3))
    return np.asarray(np.interp(-LOG_PROBABILITIES, -np.log(falling), grid))


def _grid(drawn: Floats, start: float, excess: float, spreads: Floats) -> Floats:
    """Return the values at which the survival is computed: those of `GRID` where it is below 1 and not negligible."""
    grid = max(drawn[-1], 1e-300) * GRID
    first = max(int(np.searchsorted(grid, drawn[0] / spreads[-1])) - 1, 0)
    if excess <= 0:
        return np.asarray(grid[first:])
    negligible = (start + excess * np.log(TAIL_SHARE / MIN_PROBABILITY)) / spreads[0]
    return np.asarray(grid[first : int(np.searchsorted(grid, negligible)) + 2])


def _survival(drawn: Floats, start: float, excess: float, squared: Floats) -> Floats:
    """Return the share of segments that reach a value; beyond the largest tenth, by an exponential tail.

    Args:
        excess: the mean by which the statistics in the tail exceed its start.
        squared: the values, any shape.
    """
    reach = (1 + len(drawn) - np.searchsorted(drawn, squared * (1 - 1e-9))) / (1 + len(drawn))
    tail = TAIL_SHARE * np.exp((start - squared).clip(max=0) / excess) if excess > 0 else MIN_PROBABILITY
    return np.where(squared > start, tail, reach)


def p_values(drawn: Floats) -> Floats:
    """Return for each drawn statistic the share of those that reach it, shape as `drawn`; ties get the largest
    share."""
    found = np.empty_like(drawn)
    for place in np.ndindex(drawn.shape[:-1]):
        found[place] = 1 - np.searchsorted(np.sort(drawn[place]), drawn[place]) / drawn.shape[-1]
    return found


def independent_tests(p: Floats) -> float:
    """Return the number of independent tests to which the first axis is equivalent.

    It is derived from how often the smallest p-value is at most 0.05.

    Args:
        p: p-values under the null, shape (tests, ..., replicates).
    """
    level = 0.05
    least = p.min(axis=0)
    share = min((least <= level).mean(), 1 - 1e-9)
    return float(np.clip(np.log1p(-share) / np.log1p(-level), 1.0, len(p)))


def sidak_p_value(least: float, tests: float) -> float:
    """Return the smallest p-value of several tests, corrected for their number (Sidak, 1967).

    Args:
        least: the smallest p-value.
        tests: the equivalent number of independent tests, at least 1.
    """
    return float(-np.expm1(tests * np.log1p(-min(least, 1 - 1e-16)))) if least < 1 else 1.0
