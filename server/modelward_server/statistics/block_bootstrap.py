"""Estimate each feature's null distribution by block-bootstrapping segments of the reference.

Neighbouring rows of market data are dependent. The stationary bootstrap (Politis and Romano, 1994) preserves that
dependence by drawing blocks of geometrically distributed length. The block length that is optimal for estimating a
variance follows Politis and White (2004) with the correction of Patton, Politis and White (2009). A test that must hold
its level needs longer blocks (Sun, Phillips and Jin, 2008), so blocks are drawn with twice that mean length.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from modelward_server.statistics.block_length import optimal_block_lengths
from modelward_server.statistics.distances import Floats, Ints, kl_divergence, smoothed, total_variation
from modelward_server.statistics.null_distribution import (
    REPLICATES,
    SEED,
    NullDistribution,
    fit_null,
    independent_tests,
    p_values,
    segment_lengths,
)
from modelward_server.statistics.panel import Panel, reduced
from modelward_server.statistics.panel_segments import categorical_statistics, numeric_statistics

BLOCK_LENGTH_FACTOR = 2.0
"""Mean length of the drawn blocks, as a multiple of the block length that is optimal for a variance."""
SCALES = (1, 4, 16)
"""Numbers of rows that are averaged before dependence is measured. The dependence of volatilities is weak between
single rows but lasts for months, so the noise of single rows hides it."""
MIN_AVERAGES = 50
"""Averages that a scale must have for its block length to be estimated."""
MAX_INDEPENDENT_LENGTH = 2.5
"""Block lengths up to this occur by chance for independent averages."""
MIN_BLOCKS = 8
"""A block length that leaves fewer blocks cannot be distinguished from chance."""
MAX_LEAST_BLOCK = 5.0
"""The most times over which a panel is taken to depend on itself where it does not show it: days of a trading week."""
MAX_ROWS_MEASURED = 20_000
"""Only the last rows, up to this number, are used to estimate the block length."""
QUANTILES = (np.arange(256) + 0.5) / 256
"""Probabilities at which the quantile functions are compared to compute the Wasserstein distance."""

SegmentStatistics = Callable[[Ints], Floats]
"""Maps row numbers of segments, shape (replicates, length), to squared statistics, shape (4, replicates): those of the
distribution function (or total variation), of the divergence, of the missing share, and of the Wasserstein distance (0
for categories), each multiplied by the number of rows."""


def dependence_length(series: Iterable[Floats]) -> float:
    """Estimate for how many rows the dependence lasts in the most dependent of several series.

    Args:
        series: transformations of the same feature, such as its values and their distances from the median (the latter
            cluster for returns, the former do not), each of shape (rows,), in the order of time; without NaN, without
            infinities, and without values whose squares overflow.

    Returns:
        The block length in rows, at least 1; 1 if there is no series.
    """
    parts = [part[-MAX_ROWS_MEASURED:] for part in series]
    return _multiscale_length(np.stack(parts)) if parts else 1.0


def _multiscale_length(series: Floats) -> float:
    """Return the longest significant block length of any series, shape (series, rows), over all `SCALES`, in rows."""
    rows, longest = series.shape[1], _optimal_length(series)
    for scale in SCALES[1:]:
        averages = series[:, : rows // scale * scale].reshape(len(series), -1, scale).mean(axis=2)
        length = _optimal_length(averages) if rows // scale >= MIN_AVERAGES else 0.0
        longest = max(longest, scale * length if length > MAX_INDEPENDENT_LENGTH else 1.0)
    return float(max(min(longest, rows / MIN_BLOCKS), 1.0))


def _optimal_length(series: Floats) -> float:
    """Return the longest optimal length of the series, at least 1."""
    varying = series[np.ptp(series, axis=1) > 0]
    if series.shape[1] < 10 or not len(varying):
        return 1.0
    lengths = optimal_block_lengths(varying.astype(np.float64).T)
    return float(lengths.max(where=np.isfinite(lengths), initial=1.0))


def mean_block_length(block: float, rows: int) -> float:
    """Return the mean length of the drawn blocks for an estimated dependence length."""
    return min(BLOCK_LENGTH_FACTOR * block, max(rows / 3, 1.0))


def enlarged(drawn: Floats, block: float, times: int) -> Floats:
    """Return squared statistics of drawn segments, enlarged by what the reference's own deviation takes from them.

    Segments are drawn from the reference and compared with it. Their variance lacks that of the reference's mean, the
    share of one block in all times (Lahiri, "Resampling methods for dependent data", 2003, section 5.2). That matters
    where times are few, as they are in panels.
    """
    return drawn / (1 - mean_block_length(block, times) / times)


class StationaryBootstrap:
    """Draw segments of the reference, with the same random numbers for every feature to preserve their dependence.

    Args:
        random: the generator of random numbers.
        rows: the number of rows of the reference.
        length: the number of rows of each segment.
        replicates: the number of segments.
    """

    def __init__(self, random: np.random.Generator, rows: int, length: int, replicates: int) -> None:
        self._rows = rows
        self._ends = random.random((replicates, length), dtype=np.float32)
        self._first = random.integers(rows, size=(replicates, length), dtype=np.int32)

    def segments(self, block: float) -> Ints:
        """Return row numbers, shape (replicates, length); the first row of the reference follows its last.

        Args:
            block: the estimated dependence length in rows; with 1 rows are drawn independently.
        """
        if block <= 1:
            return self._first
        begins = self._ends < 1 / mean_block_length(block, self._rows)
        begins[:, 0] = True
        position = np.arange(begins.shape[1], dtype=np.int32)
        block_start = np.maximum.accumulate(np.where(begins, position, 0), axis=1)
        first = np.take_along_axis(self._first, block_start, axis=1)
        return np.asarray((first + position - block_start) % self._rows)


class NullEstimator:
    """Estimate the null distributions of a reference's features from the same bootstrap segments.

    Args:
        rows: the number of rows of the reference.
        panel: their times, of which segments are then drawn, with all their rows; lengths are numbers of times. None if
            each row is a time of its own.

    Attributes:
        max_block: the longest dependence length of the features estimated so far, in times.
    """

    def __init__(self, rows: int, panel: Panel | None = None) -> None:
        random = np.random.default_rng(SEED)
        self.panel, self.max_rows = panel, rows / panel.length if panel else 1.0
        rows = panel.length if panel else rows
        self.rows, self.max_block = rows, 1.0
        self.bootstraps = [StationaryBootstrap(random, rows, length, REPLICATES) for length in segment_lengths(rows)]
        self._p_values: list[Floats] = []

    @property
    def tests(self) -> float:
        """Return the equivalent number of independent tests of all features together."""
        return independent_tests(np.array(self._p_values))

    def estimate_numeric(
        self, ordered: Floats, ranks: Ints, cumulative: Ints, bins: Ints, scaled: Floats
    ) -> NullDistribution:
        """Estimate the null distribution of a numeric feature.

        Args:
            ordered: the values in the order of time, NaN where missing, shape (m,).
            ranks: the index of each value among the distinct ones, -1 where it is missing, shape (m,).
            cumulative: the number of rows at or below each distinct value, shape (k,).
            bins: the bin of each distinct value, shape (k,).
            scaled: each distinct value in standard deviations, finite, shape (k,).
        """
        if not len(cumulative):
            return self._estimate([ranks], lambda segments: np.zeros((4, len(segments))))
        if self.panel:
            by_time = numeric_statistics(self.panel, ranks, cumulative, bins, scaled)
            return self._estimate(_dependence_series(ordered, ranks), by_time)
        shares = cumulative / cumulative[-1]
        counts = np.bincount(bins, weights=np.diff(cumulative, prepend=0))
        with_missing = np.append(bins, -1)  # The last stands for a missing row.
        reference_quantiles = scaled[np.searchsorted(shares, QUANTILES)]

        def statistics(segments: Ints) -> Floats:
            drawn = np.sort(ranks[segments], axis=1)
            drawn_bins = with_missing[drawn]
            shifts = _wasserstein(drawn, scaled, reference_quantiles)
            return _squared(drawn, _ks_statistics(drawn, shares), drawn_bins, counts, ranks, shifts)

        return self._estimate(_dependence_series(ordered, ranks), statistics)

    def estimate_categorical(self, codes: Ints, counts: Ints) -> NullDistribution:
        """Estimate the null distribution of a categorical feature.

        Args:
            codes: the category of each row in the order of time, -1 where it is missing, shape (m,).
            counts: the number of rows of each category, the most frequent first, shape (k,).
        """
        if not len(counts):
            return self._estimate([codes], lambda segments: np.zeros((4, len(segments))))

        presence = [(codes == 0).astype(float), (codes < 0).astype(float)]
        if self.panel:
            return self._estimate(presence, categorical_statistics(self.panel, codes, counts))

        def statistics(segments: Ints) -> Floats:
            drawn = codes[segments]
            drawn_counts = _counts(drawn, len(counts))
            shares = drawn_counts / drawn_counts.sum(1, keepdims=True).clip(1)
            distances = np.where(drawn_counts.any(1), total_variation(shares, counts / counts.sum()), 0.0)
            return _squared(drawn, distances, drawn, counts, codes, np.zeros(len(drawn)))

        return self._estimate(presence, statistics)

    def _estimate(
        self, series: Iterator[Floats] | list[Floats] | list[Ints], statistics: SegmentStatistics
    ) -> NullDistribution:
        block = dependence_length(reduced(np.asarray(one, np.float64), self.panel) for one in series)
        if self.panel:
            block = max(block, least_panel_block(self.rows))
        self.max_block = max(self.max_block, block)
        drawn = np.stack([statistics(bootstrap.segments(block)) for bootstrap in self.bootstraps], axis=1)
        if self.panel:
            drawn = enlarged(drawn, block, self.rows)
        null = fit_null(drawn, self.rows / block, self.max_rows)
        min_p_values = p_values(drawn).min(axis=0)
        self._p_values.append(1 - (1 - min_p_values) ** null.tests)
        return null


def least_panel_block(times: int) -> float:
    """Return the least block length of a panel, in times.

    A short series shows less of its dependence than there is: of 60 days with an autocorrelation of 0.5 the estimate is
    3.4 in the middle. The best length for that autocorrelation is 1.2 times the cube root of the number of times
    (Politis and White, 2004), and no more than five times are taken for granted.
    """
    return min(1.2 * float(np.cbrt(times)), MAX_LEAST_BLOCK, times)


def _dependence_series(ordered: Floats, ranks: Ints) -> Iterator[Floats]:
    """Yield the series in which rows may depend on each other: the level, its distance from the median, missingness."""
    unit = np.abs(ordered[np.isfinite(ordered)]).max(initial=0.0) or 1.0
    finite = np.where(np.isfinite(ordered), ordered / unit, np.nan)
    level = np.where(np.isnan(finite), np.nanmedian(finite) if np.isfinite(finite).any() else 0.0, finite)
    yield level
    yield np.abs(level - np.median(level))
    relative_rank = ranks / max(ranks.max(), 1)
    yield np.abs(relative_rank - 0.5)
    if (ranks < 0).any():
        yield (ranks < 0).astype(np.float64)


def _ks_statistics(drawn: Ints, shares: Floats) -> Floats:
    """Return the Kolmogorov-Smirnov statistic of each sorted segment, whose missing rows (-1) come first.

    A segment's distribution function is farthest above the reference's just after one of its values, and farthest below
    just before one. Among equal values the last step up and the first step down are the farthest, so none is left out.
    """
    missing = _missing(drawn)
    position = np.arange(drawn.shape[1]) - missing
    present = np.maximum(drawn.shape[1] - missing, 1)
    below = np.concatenate(([0.0], shares[:-1], [-np.inf]))  # The last stands for a missing row.
    above = ((position + 1) / present - shares[drawn]).max(axis=1)
    return np.asarray(np.maximum(above, (below[drawn] - position / present).max(axis=1)).clip(0.0))


def _wasserstein(drawn: Ints, scaled: Floats, reference_quantiles: Floats) -> Floats:
    """Return the Wasserstein distance of each sorted segment: the mean difference of the quantile functions."""
    missing = _missing(drawn)
    present = drawn.shape[1] - missing
    positions = np.minimum(missing + (QUANTILES * present).astype(np.int32), drawn.shape[1] - 1)
    # `take` leaves the places of a segment beside each other, so that their mean is summed in the same order.
    at = np.take(drawn, positions[0], axis=1) if len(missing) == 1 else np.take_along_axis(drawn, positions, axis=1)
    distances = scaled[at]
    distances -= reference_quantiles
    np.abs(distances, out=distances)
    return np.where(present[:, 0] > 0, distances.mean(axis=1), 0.0)


def _missing(drawn: Ints) -> Ints:
    """Return the number of missing rows of each sorted segment, shape (segments, 1), or (1, 1) if none is missing."""
    if not (drawn[:, 0] < 0).any():
        return np.zeros((1, 1), np.int64)
    return np.asarray((drawn < 0).sum(axis=1, keepdims=True))


def _squared(drawn: Ints, distances: Floats, bins: Ints, counts: Ints, codes: Ints, shifts: Floats) -> Floats:
    """Return the squared statistics of the segments, times the number of rows, shape (4, replicates)."""
    rows = drawn.shape[1]
    present = (drawn >= 0).sum(axis=1)
    divergence = np.where(present > 0, kl_divergence(smoothed(_counts(bins, len(counts))), smoothed(counts)), 0.0)
    missing = 1 - present / rows - (codes < 0).mean()
    return np.stack([present * distances**2, present * divergence, rows * missing**2, present * shifts**2])


def _counts(drawn: Ints, bins: int) -> Ints:
    """Count the entries of each segment by bin, ignoring negative ones, shape (segments, bins)."""
    offset = drawn + (bins + 1) * np.arange(len(drawn))[:, None] + 1
    return np.bincount(offset.ravel(), minlength=len(drawn) * (bins + 1)).reshape(len(drawn), bins + 1)[:, 1:]
