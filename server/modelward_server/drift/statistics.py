"""The distances between two distributions, as functions of cumulative or binned counts."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SMOOTHING = 0.5
"""Added to the count of each bin: the estimator of Krichevsky and Trofimov (1981), which keeps an empty bin from making
a divergence infinite and vanishes as rows come in."""


def ks_statistic(
    at_or_below: Floats, below: Floats, reference: Floats, missing: float, reference_missing: float
) -> float:
    """Return the two-sample Kolmogorov-Smirnov statistic, exact with ties.

    Between two neighbouring values of the reference its distribution function is flat and the live one only rises, so
    the largest difference lies at a reference value or right before one. A missing value counts as below all others.

    Args:
        at_or_below: share of live rows at or below each distinct reference value, shape (k,), k at least 1.
        below: share of live rows below each distinct reference value, shape (k,).
        reference: share of reference rows at or below each distinct reference value, shape (k,).
        missing: share of live rows in which the value is missing, which the shares above include.
        reference_missing: the same share of the reference.

    Returns:
        sup |F_live - F_reference|, from 0 to 1. Source: Smirnov (1939); equal to `scipy.stats.ks_2samp`.
    """
    before = np.concatenate(([reference_missing], reference[:-1]))
    at_values = max(np.abs(at_or_below - reference).max(), np.abs(below - before).max())
    return float(max(at_values, abs(missing - reference_missing)))


def ks_p_value(statistic: float, rows: int, reference_rows: int) -> float:
    """Return the p-value of the statistic for independent rows, as `ks_2samp(method="asymp")` does."""
    effective = max(np.round(rows * reference_rows / (rows + reference_rows)), 1)
    return float(np.clip(stats.kstwo.sf(statistic, effective), 0.0, 1.0))


def smoothed(counts: Ints) -> Floats:
    """Return the shares of bins, none of them 0, shape as `counts`."""
    return np.asarray((counts + SMOOTHING) / (counts.sum(-1, keepdims=True) + SMOOTHING * counts.shape[-1]))


def kl_divergence(p: Floats, q: Floats) -> Floats:
    """Return D(p || q) = sum p log(p / q) over the last axis, in nats. Source: Kullback and Leibler (1951).

    The terms are p log(p / q) - p + q, none of which is negative, so that rounding cannot make the sum so.
    """
    return np.asarray((p * np.log(p / q) - p + q).sum(-1).clip(0.0))


def js_divergence(p: Floats, q: Floats) -> float:
    """Return the Jensen-Shannon divergence in nats, from 0 to log 2. Source: Lin (1991)."""
    middle = (p + q) / 2
    return float((kl_divergence(p, middle) + kl_divergence(q, middle)) / 2)


def psi(p: Floats, q: Floats) -> float:
    """Return the population stability index, D(p || q) + D(q || p). Source: Siddiqi (2006), Credit Risk Scorecards."""
    return float(kl_divergence(p, q) + kl_divergence(q, p))


def total_variation(p: Floats, q: Floats) -> Floats:
    """Return half the sum of |p - q| over the last axis, from 0 to 1."""
    return np.asarray(np.abs(p - q).sum(-1) / 2)


def chi_square_p_value(counts: Ints, reference: Ints) -> float:
    """Return the p-value of Pearson's test that both rows of counts have one distribution; 1 with a single category."""
    table = np.stack([counts, reference])[:, (counts + reference) > 0]
    if table.shape[1] < 2 or not table.sum(1).all():
        return 1.0
    return float(stats.chi2_contingency(table, correction=False).pvalue)
