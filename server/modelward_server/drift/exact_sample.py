"""An in-memory sample of a numeric feature: sorted once, then compared exactly."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from modelward_server.drift.profile import NumberProfile
from modelward_server.statistics.distances import Floats, Ints, ks_statistic, wasserstein
from modelward_server.statistics.kolmogorov import EXACT_ROWS, exact_ks_p_values


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

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the number of live rows and of reference rows with a value."""
        return self.present, self._feature.present

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


def exact_p_values(samples: Mapping[str, ExactSample]) -> dict[str, float]:
    """Return the exact Kolmogorov-Smirnov p-values of the samples with few enough rows, by name.

    Features with as many values are computed together.
    """
    few = {name: sample.sizes for name, sample in samples.items() if max(sample.sizes) <= EXACT_ROWS}
    found: dict[str, float] = {}
    for sizes in set(few.values()):
        alike = [name for name in few if few[name] == sizes]
        reference = np.column_stack([samples[name]._feature.sample for name in alike])
        live = np.column_stack([samples[name]._values for name in alike])
        found |= zip(alike, exact_ks_p_values(reference, live).tolist(), strict=True)
    return found


def _finite(ascending: Floats) -> Floats:
    first, last = np.searchsorted(ascending, [-np.inf, np.inf], side="left")
    first = np.searchsorted(ascending, -np.inf, side="right") if first < len(ascending) else first
    return ascending[first:last]
