"""An in-memory sample of a numeric feature: sorted once, then compared exactly."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from modelward_server.drift.profile import NumberProfile
from modelward_server.statistics.distances import Floats, Ints, ks_statistic, wasserstein
from modelward_server.statistics.kolmogorov import EXACT_ROWS, KEPT, exact_ks_p_values, steps_of

Steps = tuple[int, int, int]
"""The live rows, the reference rows, and the statistic in the units of `steps_of`: they determine the p-value."""
_kept: dict[Steps, float] = {}
"""The exact p-values found so far."""


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
        return np.diff(np.concatenate(([0], ends, [self.present])))


def exact_p_values(samples: Mapping[str, ExactSample]) -> dict[str, float]:
    """Return the exact Kolmogorov-Smirnov p-values of the samples with few enough rows, by name.

    They depend only on the sizes and the statistic, so that those of earlier samples are kept.
    """
    steps = {
        name: (*sample.sizes, steps_of(sample.ks, *sample.sizes))
        for name, sample in samples.items()
        if max(sample.sizes) <= EXACT_ROWS
    }
    if len(_kept) > KEPT:
        _kept.clear()
    known = {key: p_value for key in steps.values() if (p_value := _kept.get(key)) is not None}
    new = {key: samples[name] for name, key in steps.items() if key not in known}
    for sizes in {key[:2] for key in new}:
        known |= _computed({key: sample for key, sample in new.items() if key[:2] == sizes})
    _kept.update(known)
    return {name: known[key] for name, key in steps.items()}


def _computed(samples: Mapping[Steps, ExactSample]) -> dict[Steps, float]:
    """Return the exact p-values of samples with as many values, which are computed together."""
    reference = np.column_stack([sample._feature.sample for sample in samples.values()])
    live = np.column_stack([sample._values for sample in samples.values()])
    return dict(zip(samples, exact_ks_p_values(reference, live).tolist(), strict=True))


def _finite(ascending: Floats) -> Floats:
    first, last = np.searchsorted(ascending, [-np.inf, np.inf], side="left")
    first = np.searchsorted(ascending, -np.inf, side="right") if first < len(ascending) else first
    return ascending[first:last]
