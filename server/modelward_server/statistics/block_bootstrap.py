"""Estimate each feature's null distribution by block-bootstrapping segments of the reference.

Neighbouring rows of market data are dependent. The stationary bootstrap (Politis and Romano, 1994) preserves that
dependence by drawing blocks of geometrically distributed length. The block length that is optimal for estimating a
variance follows Politis and White (2004) with the correction of Patton, Politis and White (2009). A test that must hold
its level needs longer blocks (Sun, Phillips and Jin, 2008), so blocks are drawn with twice that mean length.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from modelward_server.statistics import panel_segments
from modelward_server.statistics.block_length import optimal_block_lengths
from modelward_server.statistics.block_rows import rows_in_blocks
from modelward_server.statistics.distances import Floats, Ints
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
from modelward_server.statistics.segment_statistics import (
    SegmentStatistics,
    categorical_statistics,
    numeric_statistics,
    row_keys,
)

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
VALUES_AT_ONCE = 1 << 17
"""About the number of rows of segments drawn at a time, few enough for the processor's cache."""


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
        self._ends[:, 0] = 0.0  # Each segment begins with a block.
        self._first = random.integers(rows, size=(replicates, length), dtype=np.int32)

    def segments(self, block: float) -> Ints:
        """Return row numbers, shape (replicates, length); the first row of the reference follows its last.

        Args:
            block: the estimated dependence length in rows; with 1 rows are drawn independently.
        """
        return np.concatenate(list(self.draw(np.arange(self._rows, dtype=np.int32), block)))

    def draw(self, values: Ints, block: float) -> Iterator[Ints]:
        """Yield what each row of the next segments has, shape (segments, length).

        Args:
            values: what each row of the reference has, shape (rows,).
            block: the estimated dependence length in rows; with 1 rows are drawn independently.
        """
        replicates, length = self._first.shape
        following = np.resize(values, self._rows + length)
        step = max(1, VALUES_AT_ONCE // length)
        for part in (slice(start, start + step) for start in range(0, replicates, step)):
            yield following.take(self._first[part] if block <= 1 else self._in_blocks(part, block))

    def _in_blocks(self, part: slice, block: float) -> Ints:
        """Return the row numbers of some segments, which count on after the reference's last row."""
        begins = self._ends[part] < 1 / mean_block_length(block, self._rows)
        return rows_in_blocks(self._first[part], begins, self._rows)


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
            return self._estimate([ranks], ranks, lambda drawn: np.zeros((4, len(drawn))))
        if self.panel:
            by_time = panel_segments.numeric_statistics(self.panel, ranks, cumulative, bins, scaled)
            return self._estimate(_dependence_series(ordered, ranks), self._times, by_time)
        keys, missing = row_keys(ranks, cumulative), float((ranks < 0).mean())
        by_row = numeric_statistics(cumulative, bins, scaled, missing)
        return self._estimate(_dependence_series(ordered, ranks), keys, by_row)

    def estimate_categorical(self, codes: Ints, counts: Ints) -> NullDistribution:
        """Estimate the null distribution of a categorical feature.

        Args:
            codes: the category of each row in the order of time, -1 where it is missing, shape (m,).
            counts: the number of rows of each category, the most frequent first, shape (k,).
        """
        if not len(counts):
            return self._estimate([codes], codes, lambda drawn: np.zeros((4, len(drawn))))

        presence = [(codes == 0).astype(float), (codes < 0).astype(float)]
        if self.panel:
            by_time = panel_segments.categorical_statistics(self.panel, codes, counts)
            return self._estimate(presence, self._times, by_time)
        return self._estimate(presence, codes, categorical_statistics(counts, float((codes < 0).mean())))

    @property
    def _times(self) -> Ints:
        return np.arange(self.rows, dtype=np.int32)

    def _estimate(
        self, series: Iterator[Floats] | list[Floats] | list[Ints], values: Ints, statistics: SegmentStatistics
    ) -> NullDistribution:
        """Estimate a null distribution from statistics of segments of `values`, shape (times,)."""
        block = dependence_length(reduced(np.asarray(one, np.float64), self.panel) for one in series)
        if self.panel:
            block = max(block, least_panel_block(self.rows))
        self.max_block = max(self.max_block, block)
        drawn = np.stack(
            [np.hstack([statistics(part) for part in one.draw(values, block)]) for one in self.bootstraps], axis=1
        )
        if self.panel:
            drawn = enlarged(drawn, block, self.rows)
        reached = p_values(drawn)
        null = fit_null(drawn, reached, self.rows / block, self.max_rows)
        self._p_values.append(1 - (1 - reached.min(axis=0)) ** null.tests)
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
