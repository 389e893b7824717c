"""Live data against a profile, counted batch by batch: memory is bounded by the reference, not by the live data."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward_server.drift.profile import CategoryProfile, NumberProfile, Profile, bin_of, category_labels
from modelward_server.drift.profile import count_categories as count


class LiveNumbers:
    """Counts of a feature of numbers, on the values of the reference; they add up over batches exactly."""

    def __init__(self, profile: NumberProfile) -> None:
        self._profile = profile
        places = len(profile.values) + 1
        self._above = np.zeros(places, np.int64)
        self._not_below = np.zeros(places, np.int64)
        self.bins = np.zeros(len(profile.counts), np.int64)
        self.rows = self.missing = self.out_of_range = 0
        self._distances = np.zeros(places)
        self._finite = np.zeros(places, np.int64)

    def add(self, values: Any) -> None:
        values = values.astype(np.float64)
        self.rows += len(values)
        self.bins += np.bincount(bin_of(values, self._profile.edges), minlength=len(self.bins))
        present = np.sort(values[~np.isnan(values)])
        self.missing += len(values) - len(present)
        if not len(self._profile.values):
            self.out_of_range += len(present)
            return
        first, last = self._profile.values[[0, -1]]
        self.out_of_range += int(((present < first) | (present > last)).sum())
        self._count(present)

    def _count(self, present: Any) -> None:
        places, size = np.searchsorted(self._profile.values, present, "left"), len(self._above)
        self._above += np.bincount(places, minlength=size)
        self._not_below += np.bincount(np.searchsorted(self._profile.values, present, "right"), minlength=size)
        finite = np.isfinite(present)
        self._finite += np.bincount(places[finite], minlength=size)
        # How far each value stays below the reference value above it, and the last ones above the greatest.
        nearest = self._profile.values[np.minimum(places, size - 2)][finite]
        with np.errstate(over="ignore"):
            distances = np.abs(np.where(np.isfinite(nearest), nearest - present[finite], 0.0))
        self._distances += np.bincount(places[finite], weights=distances, minlength=size)

    def at_or_below(self) -> Any:
        """Return the share of rows at or below each reference value, the missing ones included, shape (k,)."""
        return (self.missing + self._above.cumsum()[:-1]) / self.rows

    def below(self) -> Any:
        """Return the share of rows below each reference value, the missing ones included, shape (k,)."""
        return (self.missing + self._not_below.cumsum()[:-1]) / self.rows

    def wasserstein(self) -> float:
        """Return the Wasserstein distance of the finite values, in standard deviations of the reference.

        It is the integral of |F_live - F_reference| (Vallender, 1974). Between two reference values that of the live
        function follows from how far the live values there stay below the upper one. Where the two functions cross in
        between, the parts of either sign offset each other, by less than the gap between the two values.
        """
        values = self._profile.values[np.isfinite(self._profile.values)]
        finite = self._finite.sum()
        if not len(values) or not finite:
            return 0.0
        offset = int(np.isneginf(self._profile.values).sum())
        inside = slice(offset, offset + len(values) + 1)
        counts, distances = self._finite[inside], self._distances[inside]
        with np.errstate(all="ignore"):  # Beyond the range of floats the distance is the greatest one.
            outside = (distances[0] + distances[-1]) / finite
            distance = (outside + self._between(values, counts, distances, finite)) / self._scale()
        return float(np.nan_to_num(distance, nan=np.finfo(float).max))

    def _between(self, values: Any, counts: Any, distances: Any, finite: int) -> float:
        gaps = np.diff(values)
        rows = np.diff(self._profile.cumulative, prepend=self._profile.missing)[np.isfinite(self._profile.values)]
        ahead = counts.cumsum()[:-2] / finite - rows.cumsum()[:-1] / rows.sum()
        return float(np.abs(ahead * gaps + distances[1:-1] / finite).sum())

    def _scale(self) -> float:
        mean, deviation = self._profile.moments[:2]
        return float(deviation or abs(mean) or 1.0)


class LiveCategories:
    """Counts of a feature of categories."""

    def __init__(self, profile: CategoryProfile) -> None:
        self._profile = profile
        self._counts: dict[str | None, int] = {}
        self.rows = 0

    def add(self, values: Any) -> None:
        self.rows += len(values)
        for label, rows in count(category_labels(values)).items():
            self._counts[label] = self._counts.get(label, 0) + rows

    @property
    def missing(self) -> int:
        return self._counts.get(None, 0)

    @property
    def new(self) -> dict[str, int]:
        """Return the rows of categories that the reference lacks."""
        known = {None, *self._profile.categories}
        return {str(label): rows for label, rows in self._counts.items() if label not in known}

    @property
    def vanished(self) -> tuple[str, ...]:
        return tuple(category for category in self._profile.categories if category not in self._counts)

    def counts(self) -> Any:
        """Return rows of the reference's categories, then missing ones, then new ones, shape (k + 2,)."""
        known = [self._counts.get(category, 0) for category in self._profile.categories]
        return np.array([*known, self.missing, sum(self.new.values())])


Live = LiveNumbers | LiveCategories


def count_live(profile: Profile, batches: Iterable[Columns], field: str) -> Mapping[str, Live]:
    """Count live data.

    Args:
        batches: tables with every feature of the profile, by name, and no others.
        field: how errors name the data.

    Raises:
        InvalidField: a feature is lacking, unknown or of another kind, or there is no row.
    """
    live: dict[str, Live] = {
        feature.name: LiveNumbers(feature) if isinstance(feature, NumberProfile) else LiveCategories(feature)
        for feature in profile.features
    }
    for batch in batches:
        check_columns(live, batch, field)
        for name, counter in live.items():
            counter.add(batch[name])
    if not next(iter(live.values())).rows:
        raise InvalidField(FieldViolation(field, "has no rows; send at least one"))
    return live


def check_columns(live: Mapping[str, Live], batch: Columns, field: str) -> None:
    """Refuse a table that does not have the columns of the reference."""
    lacking = [FieldViolation(field, f"lacks the feature {name!r}; send it") for name in live if name not in batch]
    known = ", ".join(live)
    unknown = [
        FieldViolation(f"{field}[{name!r}]", f"is no feature of the reference, which has {known}; leave it out")
        for name in batch
        if name not in live
    ]
    mistaken = [
        FieldViolation(f"{field}[{name!r}]", f"holds {_kind(batch[name])} where the reference holds {_wanted(counter)}")
        for name, counter in live.items()
        if name in batch and _kind(batch[name]) != _wanted(counter)
    ]
    if violations := [*lacking, *unknown, *mistaken]:
        raise InvalidField(*violations)


def _kind(values: Any) -> str:
    return "numbers" if values.dtype.kind in "if" else "categories"


def _wanted(counter: Live) -> str:
    return "numbers" if isinstance(counter, LiveNumbers) else "categories"
