"""An in-memory sample of a numeric feature: sorted once, then compared exactly."""

from functools import cached_property

import numpy as np

from modelward_server.drift.profile import NumberProfile
from modelward_server.statistics.distances import (
    EXACT_ROWS,
    Floats,
    Ints,
    exact_ks_p_value,
    ks_p_value,
    ks_statistic,
    wasserstein,
)


class ExactSample:
    """The live values of a numeric feature, held in memory.

    Args:
        feature: the profile of the feature in the reference.
        ascending: the values, ascending, NaN last, shape (rows,).
    """

    def __init__(self, feature: NumberProfile, ascending: Floats) -> None:
        self._feature = feature
        self.rows = len(ascending)
        # NaN is sorted after infinity.
        self.present = int(np.searchsorted(ascending, np.nan))
        self._values = ascending[: self.present]

    @property
    def missing(self) -> int:
        return self.rows - self.present

    @cached_property
    def ks(self) -> float:
        return ks_statistic(self._feature.values, self._feature.cumulative, self._values)

    def ks_p_value(self) -> tuple[float, str]:
        """Return the Kolmogorov-Smirnov p-value for independent rows, and the name of its method."""
        p_value, method = ks_p_value(self.ks, self.present, self._feature.present)
        # Near 1, where the exact p-value is not needed, rounding errors make scipy's computation fail.
        if max(self.present, self._feature.present) <= EXACT_ROWS and p_value < 0.9:
            return exact_ks_p_value(self._feature.sample, self._values), "exact"
        return p_value, method

    def wasserstein(self) -> float:
        """Return the Wasserstein distance of the finite values, in the feature's unit."""
        return wasserstein(_finite(self._values), _finite(self._feature.sample))

    def bins(self) -> Ints:
        """Return the number of rows in each bin of the reference, shape (b,)."""
        return self._counts(self._feature.edges)

    def bars(self) -> Ints:
        """Return the number of rows in each bar of the histogram, shape (h,)."""
        return self._counts(self._feature.bars)

    def out_of_range(self) -> int:
        """Return the number of rows outside the reference's range."""
        if not self._feature.present:
            return self.present
        first, last = self._feature.values[[0, -1]]
        below, above = np.searchsorted(self._values, first, "left"), np.searchsorted(self._values, last, "right")
        return int(below + self.present - above)

    def _counts(self, edges: Floats) -> Ints:
        """Count the rows between edges; each interval includes its upper edge."""
        ends = np.searchsorted(self._values, edges, "right")
        return np.diff(ends, prepend=0, append=self.present)


def _finite(ascending: Floats) -> Floats:
    first, last = np.searchsorted(ascending, [-np.inf, np.inf], side="left")
    first = np.searchsorted(ascending, -np.inf, side="right") if first < len(ascending) else first
    return ascending[first:last]
