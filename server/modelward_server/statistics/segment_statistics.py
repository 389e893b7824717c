"""Drift statistics of bootstrap segments whose rows are times of their own.

The value of each row is represented by its key: the number of reference rows at or below it, 0 if it is missing. The
distribution functions of a sorted segment and of the reference then differ by integers.
"""

from collections.abc import Callable

import numpy as np

from modelward_server.statistics.distances import Floats, Ints, kl_divergence, smoothed, total_variation

QUANTILES = (np.arange(256) + 0.5) / 256
"""Probabilities at which the quantile functions are compared to compute the Wasserstein distance."""
MAX_LENGTH = 1024
"""The most rows of a segment, up to which keys of 32 bits do not overflow."""

SegmentStatistics = Callable[[Ints], Floats]
"""Maps what was drawn for each row of segments, shape (segments, length), to squared statistics, shape (4, segments):
those of the distribution function (or total variation), of the divergence, of the missing share, and of the Wasserstein
distance (0 for categories), each multiplied by the number of rows."""


def row_keys(ranks: Ints, cumulative: Ints) -> Ints:
    """Return the key of each row.

    Args:
        ranks: the index of each value among the distinct ones, -1 where it is missing, shape (m,).
        cumulative: the number of rows at or below each distinct value, shape (k,).
    """
    fits = (len(ranks) + 1) * MAX_LENGTH <= np.iinfo(np.int32).max
    return np.asarray(np.append(cumulative, 0).astype(np.int32 if fits else np.int64)[ranks])


def numeric_statistics(cumulative: Ints, bins: Ints, scaled: Floats, missing: float) -> SegmentStatistics:
    """Return the function of the keys of segments that gives their squared statistics.

    Args:
        cumulative: the number of rows at or below each distinct value, shape (k,).
        bins: the bin of each distinct value, nondecreasing, shape (k,).
        scaled: each distinct value in standard deviations, finite, shape (k,).
        missing: the share of the reference in which the value is missing.
    """
    rows, before = int(cumulative[-1]), np.zeros(cumulative[-1] + 1, np.int32)
    before[cumulative[1:]] = cumulative[:-1]
    by_key = np.zeros(rows + 1)
    by_key[cumulative] = scaled
    quantiles = scaled[np.searchsorted(cumulative / rows, QUANTILES)]
    ends = cumulative[np.flatnonzero(np.diff(bins, append=bins[-1] + 1))]
    counts, recurring = np.diff(ends, prepend=0), len(cumulative) < rows

    def statistics(keys: Ints) -> Floats:
        drawn = np.sort(keys, axis=1)
        absent = _missing(drawn)
        below = before.take(drawn) if recurring else drawn - 1
        distances = _ks_statistics(drawn, below, rows, absent)
        shifts = _wasserstein(drawn, by_key, quantiles, absent)
        return _squared(
            keys.shape[1], absent[:, 0], distances, _bin_counts(drawn, ends, absent), counts, missing, shifts
        )

    return statistics


def categorical_statistics(counts: Ints, missing: float) -> SegmentStatistics:
    """Return the function of the categories of segments, -1 where missing, that gives their squared statistics.

    Args:
        counts: the number of rows of each category, shape (k,).
        missing: the share of the reference in which the category is missing.
    """

    def statistics(codes: Ints) -> Floats:
        drawn = count_codes(codes, len(counts))
        present = drawn.sum(axis=1)
        shares = drawn / present[:, None].clip(1)
        distances = np.where(present > 0, total_variation(shares, counts / counts.sum()), 0.0)
        length = codes.shape[1]
        return _squared(length, length - present, distances, drawn, counts, missing, np.zeros(len(drawn)))

    return statistics


def _missing(drawn: Ints) -> Ints:
    """Return the number of missing rows of each sorted segment, shape (segments, 1), or (1, 1) if none is missing."""
    if drawn[:, 0].all():
        return np.zeros((1, 1), drawn.dtype)
    return np.asarray((drawn == 0).sum(axis=1, keepdims=True, dtype=drawn.dtype))


def _ks_statistics(drawn: Ints, below: Ints, rows: int, missing: Ints) -> Floats:
    """Return the Kolmogorov-Smirnov statistic of each sorted segment, whose missing rows come first.

    A segment's distribution function is farthest above the reference's just after one of its values, and farthest below
    just before one. Among equal values the last step up and the first step down are the farthest, so none is left out.

    Args:
        drawn: the keys, ascending, shape (segments, length).
        below: the number of reference rows below each value, 0 or less where it is missing, shape as `drawn`.
        rows: the number of reference rows with a value.
        missing: the number of missing rows of each segment, as `_missing` returns it.
    """
    position = np.arange(drawn.shape[1], dtype=drawn.dtype) - missing
    present = np.maximum(drawn.shape[1] - missing, 1)
    above = (np.maximum(position + 1, 0) * rows - drawn * present).max(axis=1)
    under = (below * present - np.maximum(position, 0) * rows).max(axis=1)
    return np.asarray(np.maximum(above, under).clip(0) / (rows * present[:, 0].astype(np.float64)))


def _bin_counts(drawn: Ints, ends: Ints, missing: Ints) -> Ints:
    """Return the number of rows of each sorted segment in each bin, shape (segments, bins).

    Args:
        ends: the largest key in each bin, ascending, shape (bins,).
    """
    segments, length = drawn.shape
    number = np.arange(segments, dtype=drawn.dtype)[:, None]
    apart = number * drawn.dtype.type(ends[-1] + 1)  # Makes the keys of all segments one ascending sequence.
    inner = ends[:-1].astype(drawn.dtype)
    found = np.searchsorted((drawn + apart).ravel(), (inner + apart).ravel(), "right").reshape(segments, -1)
    return np.asarray(np.diff(found - length * number, prepend=np.broadcast_to(missing, number.shape), append=length))


def _wasserstein(drawn: Ints, by_key: Floats, quantiles: Floats, missing: Ints) -> Floats:
    """Return the Wasserstein distance of each sorted segment: the mean difference of the quantile functions.

    Args:
        by_key: the scaled value of each key, shape (rows + 1,).
        quantiles: the reference's at `QUANTILES`.
    """
    length = drawn.shape[1]
    if len(missing) == 1:
        values = by_key.take(_distinct_quantiles(drawn))
        distances = np.repeat(values, len(QUANTILES) // values.shape[1], axis=1) - quantiles
    else:
        positions = np.minimum(missing + (QUANTILES * (length - missing)).astype(np.int32), length - 1)
        distances = by_key.take(np.take_along_axis(drawn, positions, axis=1)) - quantiles
    np.abs(distances, out=distances)
    return np.where(missing[:, 0] < length, distances.mean(axis=1), 0.0)


def _distinct_quantiles(drawn: Ints) -> Ints:
    """Return the order statistics at `QUANTILES`, each once: a short segment has fewer rows than quantiles."""
    length = drawn.shape[1]
    return drawn if length <= len(QUANTILES) else drawn[:, (QUANTILES * length).astype(np.int32)]


def _squared(
    length: int, absent: Ints, distances: Floats, drawn: Ints, counts: Ints, missing: float, shifts: Floats
) -> Floats:
    """Return the squared statistics of segments, times their number of rows, shape (4, segments).

    Args:
        length: the number of rows of each segment.
        absent: how many of them are missing, shape (segments,) or (1,).
        distances: the Kolmogorov-Smirnov statistics or total variations, shape (segments,).
        drawn: the number of rows in each bin, shape (segments, bins).
        counts: the same of the reference, shape (bins,).
        missing: the share of the reference that is missing.
        shifts: the Wasserstein distances, shape (segments,).
    """
    present = np.broadcast_to(length - absent, distances.shape)
    divergence = np.where(present > 0, kl_divergence(smoothed(drawn), smoothed(counts)), 0.0)
    change = 1 - present / length - missing
    return np.stack([present * distances**2, present * divergence, length * change**2, present * shifts**2])


def count_codes(drawn: Ints, bins: int) -> Ints:
    """Count the entries of each segment by code, ignoring negative ones, shape (segments, bins)."""
    offset = drawn + (bins + 1) * np.arange(len(drawn))[:, None] + 1
    return np.bincount(offset.ravel(), minlength=len(drawn) * (bins + 1)).reshape(len(drawn), bins + 1)[:, 1:]
