"""Tests of Sharpe ratios: the difference of two, and the deflated Sharpe ratio of the best of many trials.

Sources: Ledoit and Wolf, "Robust performance hypothesis testing with the Sharpe ratio", Journal of Empirical Finance 15
(2008), with the bootstrap's standard errors of Goetze and Kuensch, Annals of Statistics 24 (1996), and the kernel of
Newey and West, Econometrica 55 (1987); Bailey and Lopez de Prado, "The deflated Sharpe ratio", Journal of Portfolio
Management 40 (2014).
"""

import math
from collections.abc import Sequence

import numpy as np
import scipy

from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.paired_tests import PairedTestResult
from modelward_server.statistics.rounding import TOLERANCE, unit_of, varies

SHARPE_DIFFERENCE = "sharpe_difference"
DRAWS = 999
CHUNK_VALUES = 1 << 22


def sharpe_difference(returns: Floats, other: Floats, block_rows: float, seed: int) -> PairedTestResult:
    """Test whether two series of returns have the same Sharpe ratio (Ledoit and Wolf 2008).

    Args:
        returns: the returns of the first model, finite, shape (rows,), in the order of time.
        other: the returns of the second model, over the same rows.
        block_rows: the number of neighbouring rows that are drawn together.
        seed: the same seed gives the same result.

    Returns:
        The studentized difference (first minus second) and its two-sided p-value; 0 and 1 if a series does not vary.
    """
    if not (varies(returns) and varies(other)):
        return PairedTestResult(SHARPE_DIFFERENCE, 0.0, 1.0)
    returns, other = returns / unit_of(returns), other / unit_of(other)  # A ratio has no unit.
    moments = np.column_stack([returns, other, np.square(returns), np.square(other)])
    difference, gradient = _difference(moments.mean(axis=0)[None])
    with np.errstate(invalid="ignore"):  # Returns of almost no variance have no finite gradient; see below.
        error = np.sqrt(_long_run_variance((moments - moments.mean(axis=0)) @ gradient[0], block_rows) / len(moments))
    if not np.isfinite(error) or error <= TOLERANCE * _ratio_size(returns, other):
        return PairedTestResult(SHARPE_DIFFERENCE, 0.0, 1.0)
    statistic = float(difference[0] / error)
    drawn = _drawn_statistics(moments, float(difference[0]), min(len(moments), max(1, round(block_rows))), seed)
    p_value = (1 + np.count_nonzero(drawn >= abs(statistic))) / (len(drawn) + 1)
    return PairedTestResult(SHARPE_DIFFERENCE, statistic, float(p_value))


def _ratio_size(returns: Floats, other: Floats) -> float:
    """Return the magnitude of the ratios, to decide whether the standard error of their difference is only rounding."""
    return max(abs(sharpe_ratio(returns)), abs(sharpe_ratio(other)), 1.0)


def _difference(means: Floats) -> tuple[Floats, Floats]:
    """Return the difference of the ratios and its gradient.

    Args:
        means: shape (draws, 4): the means of both series, then those of their squares.
    """
    first, second, square, other_square = means.T
    with np.errstate(divide="ignore", invalid="ignore"):
        variance, other_variance = square - first**2, other_square - second**2
        value = first / np.sqrt(variance) - second / np.sqrt(other_variance)
        gradient = [square / variance**1.5, -other_square / other_variance**1.5]
        gradient += [-first / variance**1.5 / 2, second / other_variance**1.5 / 2]
    return value, np.stack(gradient, axis=1)


def _long_run_variance(values: Floats, block_rows: float) -> float:
    """Return the long-run variance (that of the mean times the rows), by Bartlett's kernel over twice the block."""
    rows = len(values)
    lags = min(rows - 1, max(int(np.ceil(2 * block_rows)) - 2, int(4 * (rows / 100) ** (2 / 9))))
    weights = 1 - np.arange(1, lags + 1) / (lags + 1)
    covariances = np.array([values[lag:] @ values[: rows - lag] / rows for lag in range(lags + 1)])
    return float(covariances[0] + 2 * weights @ covariances[1:])


def _drawn_statistics(moments: Floats, difference: float, block: int, seed: int) -> Floats:
    """Return the absolute studentized deviation of the ratios' difference in each circular block bootstrap draw."""
    random, rows = np.random.default_rng(seed), len(moments)
    blocks = max(2, rows // block)
    sums = np.vstack([np.zeros(4), np.vstack([moments, moments[:block]]).cumsum(axis=0)])
    means = (sums[block : rows + block] - sums[:rows]) / block
    at_once = max(1, CHUNK_VALUES // (4 * blocks))
    sizes = [min(at_once, DRAWS - start) for start in range(0, DRAWS, at_once)]
    drawn = [_studentized(means[random.integers(rows, size=(size, blocks))], difference) for size in sizes]
    return np.concatenate(drawn)


def _studentized(taken: Floats, difference: float) -> Floats:
    """Return |difference of the draw - difference| in standard errors; `taken` has shape (draws, blocks, 4)."""
    values, gradient = _difference(taken.mean(axis=1))
    projected = np.einsum("dbm,dm->db", taken - taken.mean(axis=1, keepdims=True), gradient)
    errors = np.sqrt(np.square(projected).mean(axis=1) / taken.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = np.abs(values - difference) / errors
    return np.asarray(np.nan_to_num(statistics, nan=np.inf, posinf=np.inf))


def sharpe_by_chance(trials: int, variance: float) -> float:
    """Return the ratio per period that is expected of the best of many trials without skill.

    The probability of a higher true ratio is the deflated Sharpe ratio (Bailey and Lopez de Prado 2014).

    Args:
        trials: the number of trials.
        variance: the sample variance of the trials' ratios, per period.
    """
    return float(np.sqrt(variance)) * expected_maximum(trials)


def shape_of(returns: Floats) -> tuple[float, float]:
    """Return the skewness and the kurtosis of returns; 0 and 3 for a normal distribution.

    Args:
        returns: finite returns that vary, shape (rows,), at least three.
    """
    scaled = returns / unit_of(returns)
    return float(scipy.stats.skew(scaled)), float(scipy.stats.kurtosis(scaled, fisher=False))


def probabilistic_sharpe_ratio(threshold: float, ratio: float, skewness: float, kurtosis: float, rows: int) -> float:
    """Return the probability that the true ratio exceeds a threshold (Bailey and Lopez de Prado 2012).

    Args:
        threshold: the ratio to exceed, per period.
        ratio: the observed ratio, per period.
        skewness: the skewness of the returns.
        kurtosis: the kurtosis of the returns; 3 for a normal distribution.
        rows: the number of returns.
    """
    variance = max(1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2, TOLERANCE)  # Below 0 only by rounding.
    return float(scipy.special.ndtr((ratio - threshold) / np.sqrt(variance / (rows - 1))))


def variance_of_ratios(series: Sequence[Floats]) -> float:
    """Return the variance of the compared models' ratios per period, but at least that of ratios without skill.

    Args:
        series: the returns of each model, finite, each of shape (rows,), which vary.
    """
    ratios = [sharpe_ratio(returns) for returns in series]
    observed = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0
    return max(observed, 1 / (len(series[0]) - 1))


def sharpe_ratio(returns: Floats) -> float:
    """Return the Sharpe ratio per period: mean over standard deviation.

    Args:
        returns: finite returns that vary, shape (rows,).
    """
    scaled = returns / unit_of(returns)
    return float(scaled.mean() / scaled.std())


def expected_maximum(trials: int) -> float:
    """Return the expected maximum of `trials` independent standard normal values, by the source's approximation."""
    if trials < 2:
        return 0.0
    return float(
        (1 - np.euler_gamma) * scipy.special.ndtri(1 - 1 / trials)
        + np.euler_gamma * scipy.special.ndtri(1 - 1 / (trials * math.e))
    )
