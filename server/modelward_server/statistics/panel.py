"""Panels: several rows at each time, such as the symbols of each day.

Rows of the same time share its shocks and neighbouring times depend on each other, so a panel has far fewer independent
observations than rows. A panel is therefore reduced to one value for each time, whose mean is the mean over the rows,
and this one series is tested as any time series. That is the covariance estimator of Driscoll and Kraay, "Consistent
covariance matrix estimation with spatially dependent panel data", Review of Economics and Statistics 80 (1998): it
holds whatever the dependence between the rows of a time.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelward_server.statistics.rounding import Floats

Ints: TypeAlias = NDArray[np.int64]


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

    def part(self, rows: Ints) -> "Panel":
        """Return the panel of some rows, ascending, shape (rows,)."""
        times = self.times[rows]
        begins = np.diff(times, prepend=times[:1]) != 0
        return Panel(begins.cumsum(), None if self.groups is None else self.groups[rows])

    def sums(self, values: Floats) -> Floats:
        """Return the sum of the rows of each time.

        Args:
            values: shape (rows,) or (rows, columns).

        Returns:
            The sums, shape (length,) or (length, columns).
        """
        return np.asarray(np.add.reduceat(values, self.starts[:-1], axis=0))

    def series(self, values: Floats) -> Floats:
        """Reduce rows to one value for each time, whose mean over the times is the mean over the rows.

        The mean over the rows is a ratio of two sums over the times: of the values, and of the numbers of rows. Each
        time therefore contributes its deviations from the mean, in proportion to its number of rows (Cochran,
        "Sampling techniques", 3rd edition, 1977, section 6.3). With equally many rows at each time the series is that
        of the means of the times.

        Args:
            values: finite, shape (rows,) or (rows, columns).

        Returns:
            Shape (length,) or (length, columns).
        """
        mean = values.mean(axis=0)
        return np.asarray(mean + self.sums(values - mean) * (self.length / self.rows))

    def expand(self, weights: Floats) -> Floats:
        """Give each row the weight of its time.

        Args:
            weights: shape (draws, length).

        Returns:
            Shape (draws, rows).
        """
        return np.repeat(weights, self.counts, axis=1)


def stacked(panel: Panel | None) -> Panel | None:
    """Return a panel with several rows at some time; None for one that is a time series, with one row at each time."""
    return panel if panel and panel.length < panel.rows else None


def reduced(values: Floats, panel: Panel | None, weights: Floats | None = None) -> Floats:
    """Return one value for each time of a panel; without a panel the values themselves, as each row is a time.

    Args:
        values: finite, shape (rows,).
        panel: the times of the rows.
        weights: the weight of each row, at least 0 and not all 0, shape (rows,): the mean of what is returned is then
            the weighted mean, by the same ratio of two sums as in `Panel.series`. None: 1 each.
    """
    if weights is None:
        return values if panel is None else panel.series(values)
    mean, times = weights @ values / weights.sum(), len(values) if panel is None else panel.length
    return np.asarray(mean + summed(weights * (values - mean), panel) * (times / weights.sum()))


def summed(values: Floats, panel: Panel | None) -> Floats:
    """Return the sum of each time of a panel; without a panel the values themselves."""
    return values if panel is None else panel.sums(values)
