"""Distances between two distributions, and the chi-square test of independent rows."""

from functools import lru_cache
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
NormalizedRanks = NDArray[np.float32]
"""Normalized ranks of values in the reference, from 0 to 1 (see `drift/multivariate.py`)."""

SMOOTHING = 0.5
"""Pseudo-count added to each bin: the estimator of Krichevsky and Trofimov (1981), which keeps an empty bin from making
a divergence infinite and whose effect vanishes as the number of rows increases."""
STRIDE = 512
"""Number of reference values in each initial interval of `ks_statistic`."""
SINGLY = 2048
"""Up to so many live values are examined singly by `ks_statistic`."""
MAX_FLOAT = float(np.finfo(float).max)
PARTS = 16
"""Number of parts into which `ks_statistic` splits an interval."""


def ks_statistic(values: Floats, cumulative: Ints, live: Floats) -> float:
    """Return the two-sample Kolmogorov-Smirnov statistic, exact with ties.

    The reference is searched in intervals of its values. Over an interval both distribution functions stay between
    their values at its ends, which bounds their difference; only intervals whose bound exceeds the largest difference
    so far are split. Between two neighbouring values the reference is constant, so the bound is the difference itself.
    Between few live values it can only be largest at one of them.

    Args:
        values: the distinct values of the reference, ascending, without NaN, shape (k,).
        cumulative: the number of reference rows at or below each value, shape (k,).
        live: the live values, ascending, without NaN, shape (n,).

    Returns:
        sup |F_live - F_reference|, from 0 to 1; 0 if a side has no row. Source: Smirnov (1939); equal to
        `scipy.stats.ks_2samp`.
    """
    if not len(values) or not len(live):
        return 0.0
    if len(live) <= SINGLY:
        return _ks_at_live(values, cumulative, live)
    statistic = 0.0
    starts: Ints = np.arange(-1, len(values), STRIDE)
    ends: Ints = np.append(starts[1:], len(values))
    while len(starts):
        at_start, bound = _differences(values, cumulative, live, starts, ends)
        single = ends - starts == 1
        statistic = max(statistic, at_start.max(), bound.max(where=single, initial=0.0))
        unresolved = ~single & (bound > statistic)
        starts, ends = _split(starts[unresolved], ends[unresolved])
    return float(statistic)


def _ks_at_live(values: Floats, cumulative: Ints, live: Floats) -> float:
    """Return the statistic by looking only at the steps of the live distribution, on both sides of each."""
    known = np.concatenate(([0], cumulative)) / cumulative[-1]
    after = known[np.searchsorted(values, live, "right")] - np.searchsorted(live, live, "right") / len(live)
    before = known[np.searchsorted(values, live, "left")] - np.searchsorted(live, live, "left") / len(live)
    return float(max(np.abs(after).max(), np.abs(before).max()))


def _differences(values: Floats, cumulative: Ints, live: Floats, starts: Ints, ends: Ints) -> tuple[Floats, Floats]:
    """Return the difference at the start of each interval, and its upper bound over the interval."""
    known = np.append(cumulative, 0)  # Position -1, before all values, has no rows.
    reference_low, reference_high = known[starts] / cumulative[-1], known[ends - 1] / cumulative[-1]
    live_low = np.where(starts < 0, 0, np.searchsorted(live, values[starts], "right")) / len(live)
    last = np.minimum(ends, len(values) - 1)
    live_high = np.where(ends == len(values), len(live), np.searchsorted(live, values[last], "left")) / len(live)
    bound = np.maximum(reference_high - live_low, live_high - reference_low)
    return np.abs(reference_low - live_low), bound


def _split(starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    steps = -(-(ends - starts) // PARTS)
    bounds = starts[:, None] + steps[:, None] * np.arange(PARTS + 1)
    bounds = np.minimum(bounds, ends[:, None])
    nonempty = bounds[:, :-1] < bounds[:, 1:]
    return bounds[:, :-1][nonempty], bounds[:, 1:][nonempty]


def ks_of_counts(at_or_below: Ints, below: Ints, rows: int, cumulative: Ints) -> float:
    """Return the Kolmogorov-Smirnov statistic of live rows that were counted at the reference's values.

    Args:
        at_or_below: the number of live rows at or below each distinct reference value, shape (k,).
        below: the number of live rows below each, shape (k,).
        rows: the number of live rows.
        cumulative: the number of reference rows at or below each, shape (k,).

    Returns:
        A value from 0 to 1; 0 if a side has no row.
    """
    if not len(cumulative) or not rows:
        return 0.0
    reference = cumulative / cumulative[-1]
    before = np.concatenate(([0.0], reference[:-1]))
    return float(max(np.abs(at_or_below / rows - reference).max(), np.abs(below / rows - before).max()))


def wasserstein(first: Floats, second: Floats) -> float:
    """Return the Wasserstein distance of two samples, as the integral of |Q_1 - Q_2|.

    Equal to `scipy.stats.wasserstein_distance`. Source: Vallender (1974).

    Args:
        first: finite values, ascending, shape (m,).
        second: finite values, ascending, shape (n,).

    Returns:
        The distance in the unit of the values; 0 if a side has no row, the largest float if it overflows.
    """
    if not len(first) or not len(second):
        return 0.0
    with np.errstate(over="ignore"):  # An overflowing distance becomes the largest float.
        if len(first) == len(second):
            distance = np.abs(first - second).mean()
        else:
            widths, one, other = _quantiles(len(first), len(second))
            distance = widths @ np.abs(first[one] - second[other])
    return min(float(distance), MAX_FLOAT)


@lru_cache(4)
def _quantiles(first: int, second: int) -> tuple[Floats, Ints, Ints]:
    """Return the widths of the pieces on which both quantile functions are constant, and each sample's row there."""
    ends = np.concatenate((np.arange(1, first + 1) * second, np.arange(1, second + 1) * first))
    ends.sort(kind="stable")
    widths = np.diff(ends, prepend=0) / (first * second)
    return widths, (ends - 1) // second, (ends - 1) // first


def smoothed(counts: Ints) -> Floats:
    """Return smoothed shares of bins, none of them 0, shape as `counts`; the bins are the last axis."""
    return np.asarray((counts + SMOOTHING) / (counts.sum(-1, keepdims=True) + SMOOTHING * counts.shape[-1]))


def kl_divergence(p: Floats, q: Floats) -> Floats:
    """Return D(p || q) = sum p log(p / q) over the last axis, in nats. Source: Kullback and Leibler (1951).

    The summed terms are p log(p / q) - p + q, none of which is negative, so rounding cannot make the sum negative.

    Args:
        p: positive shares that sum to 1, shape (..., bins).
        q: the same; the shapes broadcast.
    """
    return np.asarray((p * np.log(p / q) - p + q).sum(-1).clip(0.0))


def js_divergence(p: Floats, q: Floats) -> float:
    """Return the Jensen-Shannon divergence of two sets of positive shares, shape (bins,), in nats, from 0 to log 2.

    Source: Lin (1991).
    """
    middle = (p + q) / 2
    return float((kl_divergence(p, middle) + kl_divergence(q, middle)) / 2)


def psi(p: Floats, q: Floats) -> float:
    """Return the population stability index of two sets of positive shares, shape (bins,): D(p || q) + D(q || p).

    Source: Siddiqi (2006), Credit Risk Scorecards.
    """
    return float(kl_divergence(p, q) + kl_divergence(q, p))


def total_variation(p: Floats, q: Floats) -> Floats:
    """Return the total variation distance: half the sum of |p - q| over the last axis, from 0 to 1."""
    return np.asarray(np.abs(p - q).sum(-1) / 2)


def chi_square(counts: Ints, reference: Ints) -> tuple[float, float]:
    """Return Pearson's statistic for the homogeneity of two rows of counts, and its p-value.

    Source: Pearson (1900); equal to `scipy.stats.chi2_contingency` without correction.

    Args:
        counts: the number of live rows of each category, shape (k,).
        reference: the number of reference rows of each category, shape (k,).

    Returns:
        The statistic and the p-value; 0 and 1 if there is a single category or a side has no row.
    """
    table = np.stack([counts, reference])[:, (counts + reference) > 0]
    if table.shape[1] < 2 or not table.sum(1).all():
        return 0.0, 1.0
    result = scipy.stats.chi2_contingency(table, correction=False)
    return float(result.statistic), float(result.pvalue)
