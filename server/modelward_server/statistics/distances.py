"""The distances between two distributions, and the p-values that hold when rows are independent."""

from functools import lru_cache
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Places = NDArray[np.float32]
"""Where values stand in the reference, from 0 to 1 (`joint.py`)."""

SMOOTHING = 0.5
"""Added to the count of each bin: the estimator of Krichevsky and Trofimov (1981), which keeps an empty bin from making
a divergence infinite and vanishes as rows come in."""
STRIDE = 512
PARTS = 16
EXACT_ROWS = 1_000
"""Up to so many rows on each side the p-value of Kolmogorov-Smirnov is the exact one."""
LIMIT_ROWS = 10_000
"""From so many effective rows on it is that of the limit, which then differs by less than 0.01 of itself."""


def ks_statistic(values: Floats, cumulative: Ints, live: Floats) -> float:
    """Return the two-sample Kolmogorov-Smirnov statistic, exact with ties.

    The reference is looked at in stretches of its values. Over a stretch neither distribution function leaves the range
    between its ends, which bounds their difference; just the stretches whose bound beats the largest difference so far
    are split. Between two neighbouring values the reference is flat, so there the bound is the difference itself.

    Args:
        values: the distinct values of the reference, ascending, shape (k,).
        cumulative: reference rows at or below each, shape (k,).
        live: ascending, shape (n,).

    Returns:
        sup |F_live - F_reference|, from 0 to 1; 0 when a side has no row. Source: Smirnov (1939); equal to
        `scipy.stats.ks_2samp`. NaN is not allowed.
    """
    if not len(values) or not len(live):
        return 0.0
    found = 0.0
    starts: Ints = np.arange(-1, len(values), STRIDE)
    ends: Ints = np.append(starts[1:], len(values))
    while len(starts):
        at_start, bound = _differences(values, cumulative, live, starts, ends)
        single = ends - starts == 1
        found = max(found, at_start.max(), bound.max(where=single, initial=0.0))
        open_ = ~single & (bound > found)
        starts, ends = _split(starts[open_], ends[open_])
    return float(found)


def _differences(values: Floats, cumulative: Ints, live: Floats, starts: Ints, ends: Ints) -> tuple[Floats, Floats]:
    """Return the difference at the start of each stretch, and what it cannot exceed before the end."""
    known = np.append(cumulative, 0)  # Position -1, before all values, has no rows.
    reference_low, reference_high = known[starts] / cumulative[-1], known[ends - 1] / cumulative[-1]
    live_low = np.where(starts < 0, 0, np.searchsorted(live, values[starts], "right")) / len(live)
    last = np.minimum(ends, len(values) - 1)
    live_high = np.where(ends == len(values), len(live), np.searchsorted(live, values[last], "left")) / len(live)
    bound = np.maximum(reference_high - live_low, live_high - reference_low)
    return np.abs(reference_low - live_low), bound


def _split(starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    steps = -(-(ends - starts) // PARTS)
    parts = starts[:, None] + steps[:, None] * np.arange(PARTS + 1)
    parts = np.minimum(parts, ends[:, None])
    real = parts[:, :-1] < parts[:, 1:]
    return parts[:, :-1][real], parts[:, 1:][real]


def ks_of_counts(at_or_below: Ints, below: Ints, rows: int, cumulative: Ints) -> float:
    """Return the Kolmogorov-Smirnov statistic of live rows that were counted on the reference's values.

    Args:
        at_or_below, below: live rows at or below, and below, each distinct reference value, shape (k,).
        rows: live rows.
        cumulative: reference rows at or below each, shape (k,).
    """
    if not len(cumulative) or not rows:
        return 0.0
    reference = cumulative / cumulative[-1]
    before = np.concatenate(([0.0], reference[:-1]))
    return float(max(np.abs(at_or_below / rows - reference).max(), np.abs(below / rows - before).max()))


def ks_p_value(statistic: float, rows: int, reference_rows: int) -> tuple[float, str]:
    """Return the p-value of the statistic for independent rows, and the name of the method.

    "asymptotic" is `ks_2samp(method="asymp")`; "limit" is Kolmogorov's limit distribution (Kolmogorov, 1933), for
    samples so large that the former takes long and differs little.
    """
    if not rows or not reference_rows:
        return 1.0, "asymptotic"
    effective = rows * reference_rows / (rows + reference_rows)
    if effective >= LIMIT_ROWS:
        return float(scipy.special.kolmogorov(np.sqrt(effective) * statistic)), "limit"
    found = scipy.stats.kstwo.sf(statistic, max(np.round(effective), 1))
    return float(np.clip(found, 0.0, 1.0)), "asymptotic"


def exact_ks_p_value(reference: Floats, live: Floats) -> float:
    """Return `ks_2samp(method="exact")`, for samples of at most `EXACT_ROWS`. Source: Hodges (1958)."""
    return float(scipy.stats.ks_2samp(live, reference, method="exact").pvalue)


def wasserstein(first: Floats, second: Floats) -> float:
    """Return the Wasserstein distance of two ascending samples of finite values, as the integral of |Q_1 - Q_2|.

    Equal to `scipy.stats.wasserstein_distance`. Source: Vallender (1974). 0 when a side has no row.
    """
    if not len(first) or not len(second):
        return 0.0
    with np.errstate(over="ignore"):  # Beyond the range of floats the distance is the greatest one.
        if len(first) == len(second):
            distance = np.abs(first - second).mean()
        else:
            widths, one, other = _quantiles(len(first), len(second))
            distance = widths @ np.abs(first[one] - second[other])
    return float(np.nan_to_num(distance, posinf=np.finfo(float).max))


@lru_cache(4)
def _quantiles(first: int, second: int) -> tuple[Floats, Ints, Ints]:
    """Return where the quantile functions of two samples are flat: the widths, and the row of each there."""
    ends = np.concatenate((np.arange(1, first + 1) * second, np.arange(1, second + 1) * first))
    ends.sort(kind="stable")
    widths = np.diff(ends, prepend=0) / (first * second)
    return widths, (ends - 1) // second, (ends - 1) // first


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


def chi_square(counts: Ints, reference: Ints) -> tuple[float, float]:
    """Return Pearson's statistic that both rows of counts have one distribution, and its p-value; 0 and 1 where there
    is a single category. Source: Pearson (1900); equal to `scipy.stats.chi2_contingency` without correction."""
    table = np.stack([counts, reference])[:, (counts + reference) > 0]
    if table.shape[1] < 2 or not table.sum(1).all():
        return 0.0, 1.0
    found = scipy.stats.chi2_contingency(table, correction=False)
    return float(found.statistic), float(found.pvalue)
