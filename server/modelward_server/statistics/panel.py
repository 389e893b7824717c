"""Panels: several rows at each time, such as the symbols of each day.

Rows of the same time share its shocks and neighbouring times depend on each other, so a panel has far fewer independent
observations than rows. The values of each time are summed, and the series of sums is tested as one time series.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics.distances import Floats, Ints


@dataclass(frozen=True)
class Panel:
    """The time of each row, and its group.

    Attributes:
        times: the index of each row's time, nondecreasing, from 0 to the number of times less 1 without gaps, shape
            (rows,).
        groups: the index of each row's group, such as its symbol, shape (rows,); None without groups.
    """

    times: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return len(self.times)

    @property
    def length(self) -> int:
        """Return the number of times."""
        return int(self.times[-1]) + 1 if len(self.times) else 0

    @cached_property
    def counts(self) -> Ints:
        """Return the number of rows of each time, shape (length,)."""
        return np.bincount(self.times, minlength=self.length)

    @cached_property
    def starts(self) -> Ints:
        """Return the number of the first row of each time, and last the number of rows, shape (length + 1,)."""
        return np.concatenate(([0], np.cumsum(self.counts)))

    def sums(self, values: Floats) -> Floats:
        """Return the sum of the rows of each time.

        Args:
            values: shape (rows,) or (rows, columns).

        Returns:
            The sums, shape (length,) or (length, columns).
        """
        return np.asarray(np.add.reduceat(values, self.starts[:-1], axis=0))
