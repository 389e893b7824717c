"""Histogram samples of live data that do not fit into memory: counts at the reference's values, which are additive."""

from collections import Counter
from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import numpy as np

from modelward_server.drift.profile import CategoryProfile, NumberProfile
from modelward_server.statistics.distances import Floats, Ints, ks_of_counts
from modelward_server.statistics.rounding import size_of

MAX_NEW_CATEGORIES = 10_000
"""Maximum number of new categories that are counted by name; further ones are counted together."""
SUM_SCALE = 2.0**-64
"""Factor for sums of distances: a power of two, which loses no precision, so that no number of rows overflows them."""
MIN_SCALED = 2.0**-900
"""References of smaller values are not scaled: scaled, their distances would be subnormal and lose precision."""


class HistogramSample:
    """The base of counts relative to the profile of a feature."""

    def state(self) -> dict[str, Any]:
        """Return the counts without the profile to which they are relative."""
        return {name: value for name, value in vars(self).items() if name != "_feature"}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore counts that are relative to the same profile."""
        vars(self).update(state)


class NumericHistogramSample(HistogramSample):
    """Counts of a numeric feature at the distinct values of the reference."""

    def __init__(self, feature: NumberProfile) -> None:
        self._feature = feature
        distinct = len(feature.values)
        self.rows = self.present = 0
        self._at_or_below = np.zeros(distinct, np.int64)
        self._below = np.zeros(distinct, np.int64)
        self._bars = np.zeros(len(feature.bars) + 1, np.int64)
        self._sums = np.zeros(distinct + 1)
        self._finite = np.zeros(distinct + 1, np.int64)

    def add(self, ascending: Floats) -> None:
        """Count values, ascending, NaN last, shape (rows,)."""
        ascending = self._feature.read(ascending)
        present = ascending[: np.searchsorted(ascending, np.nan)]
        self.rows += len(ascending)
        self.present += len(present)
        ends = np.searchsorted(present, self._feature.bars, "right")
        self._bars += np.diff(ends, prepend=0, append=len(present))
        below = np.searchsorted(present, self._feature.values, "left")
        self._below += below
        self._at_or_below += np.searchsorted(present, self._feature.values, "right")
        self._add_distances(present, below)

    def _add_distances(self, present: Floats, below: Ints) -> None:
        """Add the distances of the finite values to the next reference value, or above all to the largest."""
        values = self._feature.values
        if not len(values):
            return
        finite = np.isfinite(present)
        nearest = np.append(values, values[-1])
        cuts = np.concatenate(([0], below, [len(present)]))
        counts = np.concatenate(([0], finite.cumsum()))
        self._finite += counts[cuts[1:]] - counts[cuts[:-1]]
        above = np.repeat(nearest, np.diff(cuts))
        with np.errstate(over="ignore", invalid="ignore"):
            distances = np.where(finite & np.isfinite(above), np.abs(above - present), 0.0)
        scaled = np.minimum(distances, np.finfo(float).max) * self._scale
        with np.errstate(over="ignore", invalid="ignore"):  # An overflowing distance becomes the largest float.
            sums = np.concatenate(([0.0], scaled.cumsum()))
            self._sums += sums[cuts[1:]] - sums[cuts[:-1]]

    @property
    def _scale(self) -> float:
        return SUM_SCALE if size_of(self._feature.values) >= MIN_SCALED else 1.0

    def merged(self, other: Self) -> Self:
        """Return the sum of two counts relative to the same profile."""
        both = copy(self)
        for name in ("rows", "present", "_at_or_below", "_below", "_bars", "_sums", "_finite"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    @property
    def missing(self) -> int:
        return self.rows - self.present

    @property
    def ks(self) -> float:
        return ks_of_counts(self._at_or_below, self._below, self.present, self._feature.cumulative)

    def bins(self) -> Ints:
        """Return the number of rows in each bin of the reference, shape (b,)."""
        if not len(self._at_or_below):
            return np.array([self.present])
        ends = self._at_or_below[np.searchsorted(self._feature.values, self._feature.edges)]
        return np.diff(ends, prepend=0, append=self.present)

    def bars(self) -> Ints:
        """Return the number of rows in each bar of the histogram, shape (h,)."""
        return self._bars

    def out_of_range(self) -> int:
        """Return the number of rows outside the reference's range."""
        return int(self._below[0] + self.present - self._at_or_below[-1]) if len(self._below) else self.present

    def wasserstein(self) -> float:
        """Return the Wasserstein distance of the finite values, in the feature's unit.

        Between two reference values the integral of |F_live - F_reference| follows from the distances of the live
        values there to the upper one. Where the two functions cross within the gap, parts of opposite sign cancel: the
        error is less than the gap times the share of live rows in it.
        """
        known = np.isfinite(self._feature.values)
        values, finite = self._feature.values[known], int(self._finite.sum())
        if not len(values) or not finite:
            return 0.0
        first = int(known.argmax())
        selected = slice(first, first + len(values) + 1)
        counts, means = self._finite[selected], self._sums[selected] / finite / self._scale
        rows = np.diff(self._feature.cumulative, prepend=0)[known]
        with np.errstate(all="ignore"):  # An overflowing distance becomes the largest float.
            ahead = counts.cumsum()[:-2] / finite - rows.cumsum()[:-1] / rows.sum()
            between = np.abs(ahead * np.diff(values) + means[1:-1]).sum()
            distance = between + means[0] + means[-1]
        return float(np.nan_to_num(distance, nan=np.finfo(float).max, posinf=np.finfo(float).max))


class CategoricalHistogramSample(HistogramSample):
    """Counts of a categorical feature."""

    def __init__(self, feature: CategoryProfile) -> None:
        self._feature = feature
        self._known = dict.fromkeys(feature.categories, 0)
        self._new: dict[str, int] = {}
        self._more = 0
        self.rows = self.missing = 0

    def add(self, labels: list[str | None]) -> None:
        """Count labels; None is missing."""
        counts = Counter(labels)
        self.missing += counts.pop(None, 0)
        self.rows += len(labels)
        for label, rows in counts.items():
            if label in self._known:
                self._known[label] += rows
            elif label is not None:
                self._add_new(label, rows)

    def _add_new(self, label: str, rows: int) -> None:
        if label in self._new or len(self._new) < MAX_NEW_CATEGORIES:
            self._new[label] = self._new.get(label, 0) + rows
        else:
            self._more += rows

    def merged(self, other: Self) -> Self:
        """Return the sum of two counts relative to the same profile."""
        both = copy(self)
        both.rows, both.missing = self.rows + other.rows, self.missing + other.missing
        both._known = {label: rows + other._known[label] for label, rows in self._known.items()}
        both._new, both._more = dict(self._new), self._more + other._more
        for label, rows in other._new.items():
            both._add_new(label, rows)
        return both

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @property
    def new(self) -> tuple[str, ...]:
        """Return the categories that the reference lacks, in alphabetical order."""
        return tuple(sorted(self._new))

    @property
    def vanished(self) -> tuple[str, ...]:
        """Return the reference's categories that have no live row."""
        return tuple(label for label, rows in self._known.items() if not rows)

    def counts(self) -> Any:
        """Return the number of rows of each category of the reference, then of all new ones, shape (k + 1,)."""
        return np.array([*self._known.values(), self._more + sum(self._new.values())], np.int64)

    def out_of_range(self) -> int:
        """Return the number of rows with a new category."""
        return int(self.counts()[-1])
