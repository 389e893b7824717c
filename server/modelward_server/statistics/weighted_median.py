"""The median of rows that draws contain with different weights, for hundreds of draws at a time."""

import math
from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import NDArray

from modelward_server.statistics.panel import Ints
from modelward_server.statistics.rounding import Floats


class WeightedMedian:
    """Finds medians among the cells of the ordered values, then within their cell, instead of among all rows.

    Args:
        values: finite, shape (rows,).
        times: the number of each row's time, whose weight it has, shape (rows,).
        length: the number of times.
    """

    def __init__(self, values: Floats, times: Ints, length: int) -> None:
        order = np.argsort(values)
        rows, self._width = len(values), math.isqrt(len(values))
        self._ordered, times = values[order], times[order]
        cells = np.arange(rows) // self._width
        # Transposed, because products of a sparse matrix are fast from the left.
        self._counts = scipy.sparse.csr_array((np.ones(rows), (cells, times)), (cells[-1] + 1, length))
        self._times = np.pad(times, (0, -rows % self._width), mode="edge").reshape(-1, self._width)

    def of(self, weights: Floats) -> Floats:
        """Return the median of each draw: of an even number of rows the mean of the two in the middle.

        Args:
            weights: how often each draw contains each time, integers, shape (draws, times).

        Returns:
            Shape (draws,).
        """
        below = np.cumsum(np.asarray(self._counts @ weights.T), axis=0).T
        half = below[:, -1:] / 2
        lower = self._first(weights, below, lambda sums: sums >= half)
        return (lower + self._first(weights, below, lambda sums: sums > half)) / 2

    def _first(self, weights: Floats, below: Floats, reaches: Callable[[Floats], NDArray[np.bool_]]) -> Floats:
        """Return the first value of each draw at which the sum of the weights so far reaches the middle."""
        cell = reaches(below).argmax(axis=1)
        before = np.pad(below, ((0, 0), (1, 0)))[np.arange(len(weights)), cell]
        within = np.take_along_axis(weights, self._times[cell], axis=1).cumsum(axis=1) + before[:, None]
        return np.asarray(self._ordered[cell * self._width + reaches(within).argmax(axis=1)])
