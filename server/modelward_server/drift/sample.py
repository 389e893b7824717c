"""Live data of any size against profiles: exact, and in bounded memory.

Rows are kept until they take `KEPT_BYTES`; what fits is sorted once and compared exactly. What does not fit is folded,
part by part, into counts on the values of the reference, which add up exactly too: counts of parts that were counted
elsewhere may be merged.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import Kind, category_labels, kind_of, missing_in
from modelward_server.drift.exact_sample import SortedNumbers
from modelward_server.drift.histogram_sample import CountedCategories, CountedNumbers
from modelward_server.drift.profile import Feature, NumberProfile, Profile
from modelward_server.storage.table_memory import bytes_of

KEPT_BYTES = 96 << 20
"""Live data up to this size are kept whole."""
ROWS_SAMPLED = 4096
"""Rows that are looked at together; of more, evenly spread ones."""

LiveNumbers = SortedNumbers | CountedNumbers
LiveFeature = LiveNumbers | CountedCategories


@dataclass(frozen=True)
class Parts:
    """Counts without the profiles that they were made against.

    Attributes:
        counted: the state of each counter, by the names of its profile and feature.
    """

    counted: Mapping[tuple[str, str], Mapping[str, Any]]
    sample: "Sample"
    rows: int


class Live:
    """Live data on their way in.

    Args:
        profiles: of references with the same features, by name.
        field: how errors name the data.
        kept_bytes: how much may be kept before it is folded.
        sample: takes the rows that are looked at together.
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        field: str,
        kept_bytes: int = KEPT_BYTES,
        sample: "Sample | None" = None,
    ) -> None:
        self._profiles = profiles
        self._field = field
        self._most = kept_bytes
        self._reference = next(iter(profiles.values()))
        self._features = self._reference.features
        self._kept: list[Columns] = []
        self._kept_bytes = 0
        self._counted: dict[tuple[str, str], CountedNumbers | CountedCategories] = {}
        self._sample = sample or Sample()
        self.rows = 0

    def add(self, batch: Columns) -> None:
        """Take the next rows.

        Raises:
            InvalidField: a feature is lacking, unknown or of another kind.
        """
        batch = fit_columns(self._reference, batch, self._field)
        rows = len(next(iter(batch.values())))
        if not rows:
            return
        self._sample.add(batch, rows)
        self.rows += rows
        self._kept.append(batch)
        self._kept_bytes += bytes_of(batch)
        if self._kept_bytes > self._most:
            self.fold()

    def fold(self) -> None:
        """Turn the rows that are kept into counts."""
        for feature in self._features:
            values = self._column(feature.name)
            counted = _prepared(feature, values)
            for name, profile in self._profiles.items():
                self._counter(name, _named(profile, feature.name)).add(counted)
        self._kept, self._kept_bytes = [], 0

    def of(self, profile: str) -> Mapping[str, LiveFeature]:
        """Return each feature as it compares with the reference of that name."""
        if self._counted and self._kept:
            self.fold()
        return {feature.name: self._feature(profile, feature) for feature in self._profiles[profile].features}

    def sample(self) -> Columns:
        """Return rows to be looked at together, evenly spread over all."""
        return self._sample.columns()

    def merge(self, other: "Live") -> None:
        """Add rows that came elsewhere; both sides are folded."""
        for side in (self, other):
            if side._kept:
                side.fold()
        for key, counted in other._counted.items():
            self._counted[key] = self._counted[key].merged(counted) if key in self._counted else counted  # type: ignore[arg-type]
        self._sample.merge(other._sample)
        self.rows += other.rows

    def parts(self) -> Parts:
        """Return the counts of all rows, to be sent elsewhere and taken there."""
        if self._kept:
            self.fold()
        return Parts({key: counted.state() for key, counted in self._counted.items()}, self._sample, self.rows)

    def take(self, parts: Parts) -> None:
        """Take counts that were made elsewhere against the same profiles, in place of what there is."""
        for (profile, name), state in parts.counted.items():
            self._counter(profile, _named(self._profiles[profile], name)).restore(state)
        self._sample, self.rows = parts.sample, parts.rows

    def _feature(self, profile: str, feature: Feature) -> LiveFeature:
        if self._counted:
            return self._counted[profile, feature.name]
        values = self._column(feature.name)
        if isinstance(feature, NumberProfile):
            return SortedNumbers(feature, feature.read(_prepared(feature, values)))
        counted = CountedCategories(feature)
        counted.add(_prepared(feature, values))
        return counted

    def _column(self, name: str) -> Any:
        parts = [batch[name] for batch in self._kept]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _counter(self, profile: str, feature: Feature) -> Any:
        key = (profile, feature.name)
        if key not in self._counted:
            numbers = isinstance(feature, NumberProfile)
            self._counted[key] = CountedNumbers(feature) if numbers else CountedCategories(feature)  # type: ignore[arg-type]
        return self._counted[key]


def _prepared(feature: Feature, values: Any) -> Any:
    if isinstance(feature, NumberProfile):
        return np.sort(values.astype(np.float64, copy=False))
    return category_labels(values)


def _named(profile: Profile, name: str) -> Feature:
    return next(feature for feature in profile.features if feature.name == name)


class Sample:
    """Every k-th row: of few rows all, and k doubles whenever there are too many.

    Args:
        first_row: how many rows come before, which other samples take.
    """

    def __init__(self, first_row: int = 0, every: int = 1) -> None:
        self._every, self._seen = every, first_row
        self._parts: list[Columns] = []
        self._rows = 0

    def add(self, batch: Columns, rows: int) -> None:
        while rows > ROWS_SAMPLED * self._every:
            self._thin()
        first = -self._seen % self._every
        self._seen += rows
        # Copies, or else a slice would keep its whole batch in memory.
        self._keep({name: values[first :: self._every].copy() for name, values in batch.items()})

    def merge(self, other: "Sample") -> None:
        for part in other._parts:
            self._keep(part)

    def columns(self) -> Columns:
        return {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}

    def _keep(self, part: Columns) -> None:
        self._parts.append(part)
        self._rows += len(next(iter(part.values())))
        while self._rows > ROWS_SAMPLED:
            self._thin()

    def _thin(self) -> None:
        self._every *= 2
        if self._parts:
            self._parts = [{name: values[::2].copy() for name, values in self.columns().items()}]
            self._rows = len(next(iter(self._parts[0].values())))


def sampled_every(rows: int) -> int:
    """Return k so that every k-th of so many rows is the sample that is left of them in the end."""
    every = 1
    while -(-rows // every) > ROWS_SAMPLED:
        every *= 2
    return every


def count_live(profiles: Mapping[str, Profile], batches: Iterable[Columns], field: str) -> Live:
    """Take in live data.

    Args:
        profiles: of references with the same features, by name.
        batches: tables with every feature, by name, and no others.
        field: how errors name the data.

    Raises:
        InvalidField: a feature is lacking, unknown or of another kind, or there is no row.
    """
    live = Live(profiles, field)
    for batch in batches:
        live.add(batch)
    if not live.rows:
        raise InvalidField(FieldViolation(field, "has no rows; send at least one"))
    return live


def fit_columns(reference: Profile, batch: Columns, field: str) -> Columns:
    """Read a table under the kinds that the reference decided.

    Columns that are no features are left out. A column that is missing in every row is of the reference's kind.

    Raises:
        InvalidField: a feature is lacking, unknown or of another kind.
    """
    known = {feature.name for feature in reference.features}
    others = [name for name in batch if name not in known and name not in reference.ignored]
    names = ", ".join(feature.name for feature in reference.features)
    fix = f"is no feature of the reference, which has {names}; leave it out, or name it as ignored"
    unknown = [FieldViolation(f"{field}[{name!r}]", fix) for name in others if kind_of(batch[name]) is not Kind.TIME]
    lacking = [FieldViolation(field, f"lacks the feature {name!r}; send it") for name in sorted(known - batch.keys())]
    present = [feature for feature in reference.features if feature.name in batch]
    fitted = {feature.name: _fitted(feature, batch[feature.name]) for feature in present}
    mistaken = [_mistaken(feature, batch[feature.name], field) for feature in present if fitted[feature.name] is None]
    if violations := [*lacking, *unknown, *mistaken]:
        raise InvalidField(*violations)
    return {name: values for name, values in fitted.items() if values is not None}


def _fitted(feature: Feature, values: Any) -> Any:
    """Return a column of the kind of a feature; None when it is of another."""
    kind = kind_of(values)
    numbers = isinstance(feature, NumberProfile)
    if kind is not Kind.TIME and (kind is Kind.NUMBER) == numbers:
        return values
    if missing_in(values).all():
        return np.full(len(values), np.nan) if numbers else np.full(len(values), None, object)
    return None


def _mistaken(feature: Feature, values: Any, field: str) -> FieldViolation:
    wanted = "numbers" if isinstance(feature, NumberProfile) else "categories"
    held = "categories" if kind_of(values) is Kind.TRUTH else kind_of(values)
    but = "" if feature.present else " (no value of it: set the reference again from rows that have some)"
    return FieldViolation(f"{field}[{feature.name!r}]", f"holds {held} where the reference holds {wanted}{but}")
