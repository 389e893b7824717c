"""What stretches of the reference differ from it by themselves, when neighbouring rows depend on each other.

Returns cluster and volatilities persist, so a quarter of them differs from four years far more often than independent
rows would, and a test that assumes independence alarms every quarter. The stationary bootstrap (Politis and Romano,
1994) draws stretches of the reference in blocks, whose mean length follows Politis and White (2004) with the correction
of Patton, Politis and White (2009), so the stretches keep the dependence.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelward_server.drift.statistics import Floats, Ints, kl_divergence, smoothed, total_variation

REPLICATES = 999
"""Stretches drawn of each length: the least p-value that they can show is one in a thousand."""
LENGTHS = (4, 16, 64, 256, 1024)
"""Rows of the stretches. Between them the statistics are interpolated, beyond them scaled as they do asymptotically."""
KOLMOGOROV_MEDIAN = 0.8275735551899077
"""The median of the Kolmogorov distribution, `scipy.stats.kstwobign.ppf(0.5)`."""
SEED = 20_081_015


@dataclass(frozen=True)
class Null:
    """The statistics of stretches of the reference against it.

    Attributes:
        ks: sorted sqrt(n) times the Kolmogorov-Smirnov (or total variation) statistic, shape (lengths, replicates).
        kl: sorted n times the Kullback-Leibler divergence, shape (lengths, replicates).
        independence: how many independent rows one row is worth, from 0 to 1.
    """

    ks: Floats
    kl: Floats
    independence: float


@dataclass(frozen=True)
class NullAt:
    """The null for one number of live rows: sorted statistics, shape (replicates,)."""

    ks: Floats
    kl: Floats


def null_at(null: Null, rows: int, reference_rows: int) -> NullAt:
    """Return the null for so many live rows.

    The reference is a sample too: the squared statistic of two samples grows by rows / reference_rows over that of one.
    """
    position = float(np.interp(np.log(max(rows, 1)), np.log(LENGTHS), np.arange(len(LENGTHS))))
    low, share = int(position), position - int(position)
    high = min(low + 1, len(LENGTHS) - 1)
    both = 1 + rows / reference_rows
    ks = ((1 - share) * null.ks[low] + share * null.ks[high]) * np.sqrt(both / max(rows, 1))
    kl = ((1 - share) * null.kl[low] + share * null.kl[high]) * both / max(rows, 1)
    return NullAt(ks, kl)


def exceedance(sorted_null: Floats, statistic: float) -> float:
    """Return (1 + stretches that differ at least so much) / (1 + stretches), Davison and Hinkley (1997, 4.2)."""
    # A hair of tolerance, so that rounding does not make a stretch's own value exceed itself.
    at_least = len(sorted_null) - np.searchsorted(sorted_null, statistic - 1e-12, side="left")
    return float((1 + at_least) / (1 + len(sorted_null)))


def critical_value(sorted_null: Floats, significance: float) -> float:
    """Return what a statistic of a stretch stays under but for a share of `significance`."""
    return float(np.quantile(sorted_null, 1 - significance))


def number_null(ordered: Floats, ranks: Ints, reference: Floats, start: float, bins: Ints, shares: Floats) -> Null:
    """Draw the null of a feature of numbers.

    Args:
        ordered: the values in the order of time, NaN where missing, shape (m,).
        ranks: the index of each value among the distinct ones, -1 where it is missing, shape (m,).
        reference: share of rows at or below each distinct value, shape (k,).
        start: share of missing rows.
        bins: the bin of each row, shape (m,).
        shares: the smoothed share of each bin, shape (b,).
    """
    # With a leading entry for the missing ones, the distribution function at rank r is cdf[r + 1], before it cdf[r].
    cdf = np.concatenate(([start], reference))
    block = max(_block_length(ordered), _block_length(_distance_from_median(ordered)))

    def distance(stretches: Ints) -> Floats:
        drawn = np.sort(ranks[stretches], axis=1)
        n = drawn.shape[1]
        step = np.arange(1, n + 1) / n
        # Among equal ranks only the last step up and the first step down are the function's own.
        above = np.where(_last_of_ties(drawn), np.abs(step - cdf[drawn + 1]), 0.0)
        before = np.where(_first_of_ties(drawn) & (drawn >= 0), np.abs(step - 1 / n - cdf[np.maximum(drawn, 0)]), 0.0)
        return np.asarray(np.maximum(above, before).max(axis=1))

    return _null(len(ordered), block, distance, bins, shares)


def category_null(codes: Ints, counts: Ints) -> Null:
    """Draw the null of a feature of categories.

    Args:
        codes: the category of each row in the order of time, shape (m,).
        counts: rows of each category, shape (k,).
    """
    block = _block_length((codes == counts.argmax()).astype(np.float64))
    shares = counts / counts.sum()

    def distance(stretches: Ints) -> Floats:
        drawn = _bin_counts(codes[stretches], len(counts))
        return total_variation(drawn / drawn.sum(1, keepdims=True), shares)

    return _null(len(codes), block, distance, codes, smoothed(counts))


def _null(rows: int, block: float, distance, bins: Ints, shares: Floats) -> Null:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(SEED)
    ks, kl = [], []
    for length in LENGTHS:
        stretches = _stretches(random, rows, length, block)
        ks.append(np.sort(distance(stretches)) * np.sqrt(length))
        counts = _bin_counts(bins[stretches], len(shares))
        kl.append(np.sort(kl_divergence(smoothed(counts), shares)) * length)
    worth = (KOLMOGOROV_MEDIAN / np.median(ks[-1])) ** 2 if np.median(ks[-1]) > 0 else 1.0
    return Null(np.array(ks), np.array(kl), float(np.clip(worth, 1 / rows, 1.0)))


def _stretches(random: np.random.Generator, rows: int, length: int, block: float) -> Ints:
    """Draw row numbers by the stationary bootstrap, shape (replicates, length): blocks of geometric length, around."""
    begins = random.random((REPLICATES, length)) < 1 / block
    begins[:, 0] = True
    place = np.arange(length)
    block_start = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    first_row = random.integers(rows, size=(REPLICATES, length))
    return np.asarray((np.take_along_axis(first_row, block_start, axis=1) + place - block_start) % rows)


def _distance_from_median(series: Floats) -> Floats:
    """Return how far values lie from their middle: of returns that is what clusters, not their sign."""
    finite = series[np.isfinite(series)]
    return np.asarray(np.abs(finite - np.median(finite))) if len(finite) else finite


def _block_length(series: Floats) -> float:
    """Return the mean block length that suits a series; 1 where it does not vary or is too short to tell."""
    values = series[np.isfinite(series)]
    if len(values) < 8 or np.ptp(values) == 0:
        return 1.0
    from arch.bootstrap import optimal_block_length  # Here: it takes seconds to import, and the server shall start.

    with np.errstate(all="ignore"):  # A series that hardly varies divides by zero; that is caught below.
        # Scaled, since very large and very small values break the estimate, which does not depend on the unit.
        scaled = values / np.abs(values).max()
        scaled = (scaled - scaled.mean()) / (scaled.std() or 1.0)
        length = float(optimal_block_length(scaled)["stationary"].iloc[0])
    return max(length, 1.0) if np.isfinite(length) else 1.0


def _bin_counts(bins: Ints, size: int) -> Ints:
    """Count the bins of each stretch, shape (replicates, size)."""
    offsets = np.arange(len(bins))[:, None] * size
    return np.bincount((bins + offsets).ravel(), minlength=len(bins) * size).reshape(len(bins), size)


def _last_of_ties(drawn: Ints) -> NDArray[np.bool_]:
    return np.column_stack([drawn[:, 1:] != drawn[:, :-1], np.ones(len(drawn), bool)])


def _first_of_ties(drawn: Ints) -> NDArray[np.bool_]:
    return np.column_stack([np.ones(len(drawn), bool), drawn[:, 1:] != drawn[:, :-1]])
