"""Drift statistics of bootstrap segments of a panel: segments consist of whole times with all their rows.

The rows of each time are counted once, in cells of the feature's values. The counts of a segment are sums of those of
its times, and all statistics follow from them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modelward_server.statistics.distances import Floats, Ints, kl_divergence, smoothed, total_variation
from modelward_server.statistics.panel import Panel

CELLS = 256
"""Maximum number of cells besides those of the bins. The maximum difference of two distribution functions is
underestimated by less than the share of one cell."""
MAX_VALUES_AT_ONCE = 1 << 23
"""Maximum number of weights in memory at a time."""

SegmentStatistics = Callable[[Ints], Floats]


@dataclass(frozen=True)
class SegmentCounts:
    """The counts of segments.

    Attributes:
        cells: the number of rows in each cell, shape (segments, cells).
        times: the number of times whose rows have a value, as far as a part of a time's rows have none: the number of
            times multiplied by the share of rows with a value, shape (segments,).
        missing: the share of rows without a value, shape (segments,).
    """

    cells: Floats
    times: Floats
    missing: Floats


class PanelCounts:
    """The number of rows of each time in each cell.

    Args:
        panel: the times of the rows.
        cells: the cell of each row, -1 where the value is missing, shape (rows,).
        number: the number of cells.
    """

    def __init__(self, panel: Panel, cells: Ints, number: int) -> None:
        places = panel.times * (number + 1) + cells + 1
        counts = np.bincount(places, minlength=panel.length * (number + 1))
        self._counts = counts.reshape(panel.length, number + 1).astype(np.float32)

    def of(self, segments: Ints) -> SegmentCounts:
        """Return the counts of segments, given by the numbers of their times, shape (segments, times)."""
        counts = sum_times(segments, self._counts)
        rows, missing = counts.sum(axis=1).clip(1), counts[:, 0]
        return SegmentCounts(counts[:, 1:], segments.shape[1] * (1 - missing / rows), missing / rows)


def sum_times(segments: Ints, values: Floats) -> Floats:
    """Return the sums over the times of each segment.

    Args:
        segments: the numbers of the times, shape (segments, length).
        values: of each time, shape (times, columns).
    """
    times = len(values)
    step = max(1, MAX_VALUES_AT_ONCE // times)
    return np.vstack(
        [_weights(segments[start : start + step], times) @ values for start in range(0, len(segments), step)]
    ).astype(np.float64)


def _weights(segments: Ints, times: int) -> Floats:
    places = segments + times * np.arange(len(segments))[:, None]
    return np.bincount(places.ravel(), minlength=len(segments) * times).reshape(-1, times).astype(np.float32)


def numeric_statistics(panel: Panel, ranks: Ints, cumulative: Ints, bins: Ints, scaled: Floats) -> SegmentStatistics:
    """Return the function of segments that gives their squared statistics; arguments as `NullEstimator`'s.

    Returns:
        Maps the numbers of times, shape (segments, length), to shape (4, segments), times the number of times.
    """
    last = _last_of_cells(cumulative, bins)
    cells = np.append(np.searchsorted(last, np.arange(len(cumulative))), -1)[ranks]
    counted = PanelCounts(panel, cells, len(last))
    starts = np.flatnonzero(np.diff(bins[last], prepend=-1))
    reference = np.add.reduceat(np.diff(cumulative[last], prepend=0), starts)
    shares, gaps, missing = cumulative[last] / cumulative[-1], np.diff(scaled[last]), (ranks < 0).mean()

    def statistics(segments: Ints) -> Floats:
        found = counted.of(segments)
        present = found.cells.sum(axis=1, keepdims=True)
        differences = np.abs(found.cells.cumsum(axis=1) / present.clip(1) - shares) * (present > 0)
        divergence = _divergence(np.add.reduceat(found.cells, starts, axis=1), reference)
        return _squared(found, differences.max(axis=1), divergence, missing, differences[:, :-1] @ gaps)

    return statistics


def categorical_statistics(panel: Panel, codes: Ints, counts: Ints) -> SegmentStatistics:
    """Return the function of segments that gives their squared statistics; see `numeric_statistics`."""
    counted, missing = PanelCounts(panel, codes, len(counts)), (codes < 0).mean()

    def statistics(segments: Ints) -> Floats:
        found = counted.of(segments)
        shares = found.cells / found.cells.sum(axis=1, keepdims=True).clip(1)
        distances = np.where(found.cells.any(axis=1), total_variation(shares, counts / counts.sum()), 0.0)
        return _squared(found, distances, _divergence(found.cells, counts), missing, np.zeros(len(segments)))

    return statistics


def _last_of_cells(cumulative: Ints, bins: Ints) -> Ints:
    """Return the index of the last distinct value of each cell; cells have equal shares of rows, and end with bins."""
    positions = np.arange(1, CELLS + 1) / CELLS * cumulative[-1]
    ends = np.flatnonzero(np.diff(bins, append=bins[-1] + 1))
    return np.union1d(np.searchsorted(cumulative, positions - 1e-9), ends)


def _divergence(counts: Floats, reference: Ints) -> Floats:
    shares = smoothed(counts.astype(np.int64))
    return np.where(counts.any(axis=1), kl_divergence(shares, smoothed(reference)), 0.0)


def _squared(found: SegmentCounts, distances: Floats, divergence: Floats, missing: float, shifts: Floats) -> Floats:
    length = found.times / (1 - found.missing).clip(1e-9)
    parts = [distances**2 * found.times, divergence * found.times, length * (found.missing - missing) ** 2]
    return np.stack([*parts, found.times * shifts**2])
