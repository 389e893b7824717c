"""Sharpe ratios: is the difference of two luck, and is one better than the best of many tries would be by luck?

Sources: Ledoit and Wolf, "Robust performance hypothesis testing with the Sharpe ratio", Journal of Empirical Finance 15
(2008), with the bootstrap's standard errors of Goetze and Kuensch, Annals of Statistics 24 (1996), and the kernel of
Newey and West, Econometrica 55 (1987); Bailey and Lopez de Prado, "The deflated Sharpe ratio", Journal of Portfolio
Management 40 (2014).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.paired_tests import PairedTestResult
from modelward_server.statistics.rounding import TOLERANCE, unit_of, varies

SHARPE_DIFFERENCE = "sharpe_difference"
DRAWS = 999
CHUNK_VALUES = 1 << 22
EULER = 0.5772156649015329


@dataclass(frozen=True)
class DeflatedRatio:
    """The probability that a ratio is above what the best of many tries without skill would show."""

    probability: float
    expected_maximum: float
    """The ratio that the best of the tries would show by chance, for a year."""


def sharpe_difference(returns: Floats, other: Floats, block_rows: float, seed: int) -> PairedTestResult:
    """Test whether two series of returns have the same Sharpe ratio.

    Args:
        returns: of the one model, shape (rows,), in the order of time.
        other: of the other model, over the same rows.
        block_rows: how many neighbouring rows are drawn together.
        seed: the same seed gives the same answer.
    """
    if not (varies(returns) and varies(other)):
        return PairedTestResult(SHARPE_DIFFERENCE, 0.0, 1.0)
    returns, other = returns / unit_of(returns), other / unit_of(other)  # A ratio has no unit.
    moments = np.column_stack([returns, other, np.square(returns), np.square(other)])
    difference, gradient = _difference(moments.mean(axis=0)[None])
    with np.errstate(invalid="ignore"):  # Returns that vary by next to nothing have no finite gradient; see below.
        error = np.sqrt(_long_run_variance((moments - moments.mean(axis=0)) @ gradient[0], block_rows) / len(moments))
    if not np.isfinite(error) or error <= TOLERANCE * _ratio_size(returns, other):
        return PairedTestResult(SHARPE_DIFFERENCE, 0.0, 1.0)
    statistic = float(difference[0] / error)
    drawn = _drawn_statistics(moments, float(difference[0]), min(len(moments), max(1, round(block_rows))), seed)
    p_value = (1 + np.count_nonzero(drawn >= abs(statistic))) / (len(drawn) + 1)
    return PairedTestResult(SHARPE_DIFFERENCE, statistic, float(p_value))


def _ratio_size(returns: Floats, other: Floats) -> float:
    """Return how large the two ratios are, by which it is told whether their difference has an error at all."""
    return max(abs(_ratio(returns)), abs(_ratio(other)), 1.0)


def _difference(means: Floats) -> tuple[Floats, Floats]:
    """Return the difference of the ratios and its gradient from rows of (mean, other mean, square, other square)."""
    first, second, square, other_square = means.T
    with np.errstate(divide="ignore", invalid="ignore"):
        spread, other_spread = square - first**2, other_square - second**2
        value = first / np.sqrt(spread) - second / np.sqrt(other_spread)
        gradient = [square / spread**1.5, -other_square / other_spread**1.5]
        gradient += [-first / spread**1.5 / 2, second / other_spread**1.5 / 2]
    return value, np.stack(gradient, axis=1)


def _long_run_variance(values: Floats, block_rows: float) -> float:
    """Return the variance of the mean times the rows, with Bartlett's kernel over twice the block."""
    rows = len(values)
    lags = min(rows - 1, max(int(np.ceil(2 * block_rows)) - 2, int(4 * (rows / 100) ** (2 / 9))))
    weights = 1 - np.arange(1, lags + 1) / (lags + 1)
    covariances = np.array([values[lag:] @ values[: rows - lag] / rows for lag in range(lags + 1)])
    return float(covariances[0] + 2 * weights @ covariances[1:])


def _drawn_statistics(moments: Floats, difference: float, block: int, seed: int) -> Floats:
    """Return how far the ratios' difference wandered in each draw of circular blocks, in errors of the draw."""
    random, rows = np.random.default_rng(seed), len(moments)
    blocks = max(2, rows // block)
    sums = np.vstack([np.zeros(4), np.vstack([moments, moments[:block]]).cumsum(axis=0)])
    means = (sums[block : rows + block] - sums[:rows]) / block
    at_once = max(1, CHUNK_VALUES // (4 * blocks))
    sizes = [min(at_once, DRAWS - start) for start in range(0, DRAWS, at_once)]
    drawn = [_studentized(means[random.integers(rows, size=(size, blocks))], difference) for size in sizes]
    return np.concatenate(drawn)


def _studentized(taken: Floats, difference: float) -> Floats:
    """Return |difference of the draw - difference| in its errors; `taken` is of shape (draws, blocks, 4)."""
    values, gradient = _difference(taken.mean(axis=1))
    along = np.einsum("dbm,dm->db", taken - taken.mean(axis=1, keepdims=True), gradient)
    errors = np.sqrt(np.square(along).mean(axis=1) / taken.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = np.abs(values - difference) / errors
    return np.asarray(np.nan_to_num(statistics, nan=np.inf, posinf=np.inf))


def deflated_sharpe(returns: Floats, trials: int, spread: float, periods_per_year: float) -> DeflatedRatio:
    """Say how likely a ratio is above what the best of `trials` tries without skill would show.

    Args:
        returns: shape (rows,), three at least.
        trials: how many tries there were.
        spread: the variance of the ratios of the tries, for one period.
        periods_per_year: for the ratio by luck, which is told for a year.
    """
    by_luck = float(np.sqrt(spread)) * best_of(trials)
    returns = returns / unit_of(returns)
    moments = float(scipy.stats.skew(returns)), float(scipy.stats.kurtosis(returns, fisher=False))
    probability = probability_above(by_luck, _ratio(returns), *moments, len(returns))
    return DeflatedRatio(probability, by_luck * float(np.sqrt(periods_per_year)))


def probability_above(threshold: float, ratio: float, skewness: float, kurtosis: float, rows: int) -> float:
    """Return how likely the true ratio is above a threshold, both for one period; the kurtosis is 3 when normal."""
    variance = max(1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2, TOLERANCE)  # None is below 0 but by rounding.
    return float(scipy.special.ndtr((ratio - threshold) / np.sqrt(variance / (rows - 1))))


def spread_of_ratios(series: Sequence[Floats]) -> float:
    """Return how much the ratios of the compared models vary, and at the least what luck alone makes them vary."""
    ratios = [_ratio(returns) for returns in series]
    seen = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0
    return max(seen, 1 / (len(series[0]) - 1))


def _ratio(returns: Floats) -> float:
    inside = returns / unit_of(returns)
    return float(inside.mean() / inside.std())


def best_of(trials: int) -> float:
    """Return the expected greatest of so many independent standard normal values, as the source approximates it."""
    if trials < 2:
        return 0.0
    return float(
        (1 - EULER) * scipy.special.ndtri(1 - 1 / trials) + EULER * scipy.special.ndtri(1 - 1 / (trials * np.e))
    )
