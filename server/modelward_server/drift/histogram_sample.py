"""Live data that do not fit into memory: counted on what the reference knows. Counts of parts add up."""

from collections import Counter
from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import numpy as np

from modelward_server.drift.profile import CategoryProfile, NumberProfile
from modelward_server.statistics.distances import Floats, Ints, ks_of_counts, ks_p_value

NEW_KEPT = 10_000
"""New categories whose rows are counted by name; those beyond are counted together."""
SHRUNK = 2.0**-64
"""Distances are summed times this, a power of two that costs no precision, so that no number of rows overflows."""


class Counted:
    """Counts against the profile of a feature."""

    def state(self) -> dict[str, Any]:
        """Return the counts without the profile that they were made against."""
        return {name: value for name, value in vars(self).items() if name != "_feature"}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take counts that were made against the same profile."""
        vars(self).update(state)


class CountedNumbers(Counted):
    """Counts of a feature of numbers on the values of the reference."""

    def __init__(self, feature: NumberProfile) -> None:
        self._feature = feature
        places = len(feature.values)
        self.rows = self.present = 0
        self._at_or_below = np.zeros(places, np.int64)
        self._below = np.zeros(places, np.int64)
        self._bars = np.zeros(len(feature.bars) + 1, np.int64)
        self._sums = np.zeros(places + 1)
        self._finite = np.zeros(places + 1, np.int64)

    def add(self, ascending: Floats) -> None:
        """Count values, NaN last."""
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
        """Add how far the finite values stay below the reference value above them, the last ones above the greatest."""
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
        shrunk = np.minimum(distances, np.finfo(float).max) * SHRUNK
        sums = np.concatenate(([0.0], shrunk.cumsum()))
        self._sums += sums[cuts[1:]] - sums[cuts[:-1]]

    def merged(self, other: Self) -> Self:
        """Return the counts of both."""
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

    def ks_p_value(self) -> tuple[float, str]:
        """Return the p-value for independent rows, and the name of its method."""
        return ks_p_value(self.ks, self.present, self._feature.present)

    def bins(self) -> Ints:
        if not len(self._at_or_below):
            return np.array([self.present])
        ends = self._at_or_below[np.searchsorted(self._feature.values, self._feature.edges)]
        return np.diff(ends, prepend=0, append=self.present)

    def bars(self) -> Ints:
        return self._bars

    def out_of_range(self) -> int:
        return int(self._below[0] + self.present - self._at_or_below[-1]) if len(self._below) else self.present

    def wasserstein(self) -> float:
        """Return the distance of the finite values, in the feature's unit.

        Between two reference values the integral of |F_live - F_reference| follows from how far the live values there
        stay below the upper one. Where the two functions cross in between, the parts of either sign offset each other:
        by less than the gap times the share of live rows in it.
        """
        known = np.isfinite(self._feature.values)
        values, finite = self._feature.values[known], int(self._finite.sum())
        if not len(values) or not finite:
            return 0.0
        first = int(known.argmax())
        inside = slice(first, first + len(values) + 1)
        counts, means = self._finite[inside], self._sums[inside] / finite / SHRUNK
        rows = np.diff(self._feature.cumulative, prepend=0)[known]
        with np.errstate(all="ignore"):  # Beyond the range of floats the distance is the greatest one.
            ahead = counts.cumsum()[:-2] / finite - rows.cumsum()[:-1] / rows.sum()
            between = np.abs(ahead * np.diff(values) + means[1:-1]).sum()
            distance = between + means[0] + means[-1]
        return float(np.nan_to_num(distance, nan=np.finfo(float).max, posinf=np.finfo(float).max))


class CountedCategories(Counted):
    """Counts of a feature of categories."""

    def __init__(self, feature: CategoryProfile) -> None:
        self._feature = feature
        self._known = dict.fromkeys(feature.categories, 0)
        self._new: dict[str, int] = {}
        self._more = 0
        self.rows = self.missing = 0

    def add(self, labels: list[str | None]) -> None:
        counted = Counter(labels)
        self.missing += counted.pop(None, 0)
        self.rows += len(labels)
        for label, rows in counted.items():
            if label in self._known:
                self._known[label] += rows
            elif label is not None:
                self._add_new(label, rows)

    def _add_new(self, label: str, rows: int) -> None:
        if label in self._new or len(self._new) < NEW_KEPT:
            self._new[label] = self._new.get(label, 0) + rows
        else:
            self._more += rows

    def merged(self, other: Self) -> Self:
        """Return the counts of both."""
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
        """Return categories that the reference lacks, in order."""
        return tuple(sorted(self._new))

    @property
    def vanished(self) -> tuple[str, ...]:
        return tuple(label for label, rows in self._known.items() if not rows)

    def counts(self) -> Any:
        """Return rows of the reference's categories, then those of all new ones, shape (k + 1,)."""
        return np.array([*self._known.values(), self._more + sum(self._new.values())], np.int64)

    def out_of_range(self) -> int:
        return int(self.counts()[-1])
