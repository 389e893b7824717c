"""Samples of live data of any size relative to profiles, in bounded memory.

Rows are held in memory up to `MAX_EXACT_BYTES`; what fits is sorted once and compared exactly. What does not fit is
folded, part by part, into counts at the values of the reference. Counts are additive, so those of parts that were
counted elsewhere can be merged.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelward.data import Columns
from modelward.drift import TimeWindow
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import Kind, category_labels, kind_of, missing_in
from modelward_server.drift.exact_sample import ExactSample
from modelward_server.drift.histogram_sample import CategoricalHistogramSample, NumericHistogramSample
from modelward_server.drift.profile import Feature, NumberProfile, Profile
from modelward_server.statistics.distances import Ints
from modelward_server.statistics.even_sample import in_sample
from modelward_server.storage.columns import joined, select_rows
from modelward_server.storage.table_memory import bytes_of

if TYPE_CHECKING:
    from modelward_server.drift.segments import DividedRows

MAX_EXACT_BYTES = 96 << 20
"""Live data up to this size are held in memory."""
MAX_ROWS_SAMPLED = 4096
"""About the maximum number of rows in the joint comparison; of more rows a sample is taken."""
MAX_PANEL_ROWS_SAMPLED = 1 << 16
"""The same of a panel, of which whole times are sampled."""

NumericSample = ExactSample | NumericHistogramSample
FeatureSample = NumericSample | CategoricalHistogramSample


@dataclass(frozen=True)
class SampleCounts:
    """The state of a sample without the profiles to which it is relative.

    Attributes:
        counted: the state of each histogram sample, by the names of its profile and feature.
    """

    counted: Mapping[tuple[str, str], Mapping[str, Any]]
    sample: "EvenSample"
    rows: int


class LiveSample:
    """A sample of live data, to which batches are added.

    Args:
        profiles: the profiles of references with the same features, by name.
        field: the name of the data in errors.
        kept_bytes: the number of bytes held in memory before rows are folded into counts.
        sample: collects the rows for the joint comparison.

    Attributes:
        window: the times and groups of the rows; None without a time.
        of_segment: whether the times have only the rows of a segment, compared with a reference of all rows.
        divided: the rows with their segments; None without segments.
        left_out: the number of rows that do not belong to the sessions of the reference.
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        field: str,
        kept_bytes: int = MAX_EXACT_BYTES,
        sample: "EvenSample | None" = None,
    ) -> None:
        self._profiles = profiles
        self._field = field
        self._most = kept_bytes
        self._reference = next(iter(profiles.values()))
        self._features = self._reference.features
        self._kept: list[Columns] = []
        self._kept_bytes = 0
        self._counted: dict[tuple[str, str], NumericHistogramSample | CategoricalHistogramSample] = {}
        self._sample = sample or sample_of(profiles)
        self.rows = 0
        self.window: TimeWindow | None = None
        self.of_segment = False
        self.left_out = 0
        self.divided: DividedRows | None = None

    @property
    def times(self) -> int:
        """Return the number of times; 0 if they are unknown."""
        return self.window.times if self.window else 0

    @property
    def sampled_times(self) -> int:
        """Return the number of times of the rows in the joint comparison; 0 if they are unknown."""
        return self._sample.times if self.times or self._reference.times else 0

    def add(self, batch: Columns, times: Ints | None = None) -> None:
        """Add the next rows.

        Args:
            batch: their columns.
            times: the numbers of their times, nondecreasing, shape (rows,); None if they are unknown.

        Raises:
            InvalidField: a feature is missing, unknown or of another kind.
        """
        batch = fit_columns(self._reference, batch, self._field)
        rows = len(next(iter(batch.values())))
        if not rows:
            return
        self._sample.add(batch, rows, times)
        self.rows += rows
        self._kept.append(batch)
        self._kept_bytes += bytes_of(batch)
        if self._kept_bytes > self._most:
            self.fold()

    def fold(self) -> None:
        """Fold the rows held in memory into counts."""
        for feature in self._features:
            values = self._column(feature.name)
            counted = _prepared(feature, values)
            for name, profile in self._profiles.items():
                self._counter(name, _named(profile, feature.name)).add(counted)
        self._kept, self._kept_bytes = [], 0

    def of(self, profile: str) -> Mapping[str, FeatureSample]:
        """Return the sample of each feature relative to the profile of that name."""
        if self._counted and self._kept:
            self.fold()
        return {feature.name: self._feature(profile, feature) for feature in self._profiles[profile].features}

    def sample(self) -> Columns:
        """Return the rows for the joint comparison, evenly spread over all."""
        return self._sample.columns()

    def merge(self, other: "LiveSample") -> None:
        """Add the rows of another sample; both samples are folded."""
        for side in (self, other):
            if side._kept:
                side.fold()
        for key, counted in other._counted.items():
            self._counted[key] = self._counted[key].merged(counted) if key in self._counted else counted  # type: ignore[arg-type]
        self._sample.merge(other._sample)
        self.rows += other.rows

    def parts(self) -> SampleCounts:
        """Return the counts of all rows, to be sent to another process and restored there."""
        if self._kept:
            self.fold()
        return SampleCounts({key: counted.state() for key, counted in self._counted.items()}, self._sample, self.rows)

    def take(self, parts: SampleCounts) -> None:
        """Replace the content by counts of another process that are relative to the same profiles."""
        for (profile, name), state in parts.counted.items():
            self._counter(profile, _named(self._profiles[profile], name)).restore(state)
        self._sample, self.rows = parts.sample, parts.rows

    def _feature(self, profile: str, feature: Feature) -> FeatureSample:
        if self._counted:
            return self._counted[profile, feature.name]
        values = self._column(feature.name)
        if isinstance(feature, NumberProfile):
            return ExactSample(feature, feature.read(_prepared(feature, values)))
        counted = CategoricalHistogramSample(feature)
        counted.add(_prepared(feature, values))
        return counted

    def _column(self, name: str) -> Any:
        parts = [batch[name] for batch in self._kept]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _counter(self, profile: str, feature: Feature) -> Any:
        key = (profile, feature.name)
        if key not in self._counted:
            numbers = isinstance(feature, NumberProfile)
            self._counted[key] = NumericHistogramSample(feature) if numbers else CategoricalHistogramSample(feature)  # type: ignore[arg-type]
        return self._counted[key]


def _prepared(feature: Feature, values: Any) -> Any:
    if isinstance(feature, NumberProfile):
        return np.sort(values.astype(np.float64, copy=False))
    return category_labels(values)


def _named(profile: Profile, name: str) -> Feature:
    return next(feature for feature in profile.features if feature.name == name)


class EvenSample:
    """A sample of one row in k, for the joint comparison; k doubles whenever there are more rows than wanted.

    Rows of the same time are chosen together: a part of a day's symbols differs from the next part.

    Args:
        first_row: the number of preceding rows, which belong to other samples.
        rows: the number of rows of all samples together, if it is known.
        times_per_row: the number of times of a row, of a panel whose times are unknown; 1 if each row is a time.
    """

    def __init__(self, first_row: int = 0, rows: int = 0, times_per_row: float = 1.0) -> None:
        self._seen, self._times_per_row = first_row, times_per_row
        self._max_rows = MAX_ROWS_SAMPLED if times_per_row == 1.0 else MAX_PANEL_ROWS_SAMPLED
        self._every = self._every_of(rows)
        self._parts: list[Columns] = []
        self._times: list[Ints] = []

    @property
    def times(self) -> int:
        """Return the number of different times in the sample."""
        return len(np.unique(np.concatenate(self._times))) if self._times else 0

    def add(self, batch: Columns, rows: int, times: Ints | None = None) -> None:
        """Add the next rows; `times` are the numbers of their times, shape (rows,)."""
        if times is None:
            times = (np.arange(self._seen, self._seen + rows) * self._times_per_row).astype(np.int64)
        self._seen += rows
        if (every := self._every_of(self._seen)) > self._every:
            self._thin(every)
        self._keep(batch, times)

    def merge(self, other: "EvenSample") -> None:
        self._parts += other._parts
        self._times += other._times

    def columns(self) -> Columns:
        return joined(self._parts)

    def _every_of(self, rows: int) -> int:
        """Return k for a number of rows, a power of 2."""
        return 1 << max(0, -(-rows // self._max_rows) - 1).bit_length()

    def _keep(self, part: Columns, times: Ints) -> None:
        chosen = in_sample(times, self._every)
        self._parts.append(select_rows(part, chosen))
        self._times.append(times[chosen])

    def _thin(self, every: int) -> None:
        parts, times = self._parts, self._times
        self._every, self._parts, self._times = every, [], []
        for part, own in zip(parts, times, strict=True):
            self._keep(part, own)


def sample_of(profiles: Mapping[str, Profile], first_row: int = 0, rows: int = 0) -> EvenSample:
    """Return an empty sample of live data for the joint comparison; the arguments are those of `EvenSample`."""
    return EvenSample(first_row, rows, next(iter(profiles.values())).times_per_row)


def count_live(
    profiles: Mapping[str, Profile], batches: Iterable[tuple[Columns, Ints | None]], field: str
) -> LiveSample:
    """Return a sample of live data.

    Args:
        profiles: the profiles of references with the same features, by name.
        batches: tables with a column for every feature, and no other columns, with the numbers of their rows' times.
        field: the name of the data in errors.

    Raises:
        InvalidField: a feature is missing, unknown or of another kind, or there is no row.
    """
    live = LiveSample(profiles, field)
    for batch, times in batches:
        live.add(batch, times)
    if not live.rows:
        raise InvalidField(FieldViolation(field, "has no rows; send at least one"))
    return live


def fit_columns(reference: Profile, batch: Columns, field: str) -> Columns:
    """Return the features of a table, checked against the kinds in the reference.

    Columns that are not features are left out. A column that is missing in every row has the reference's kind.

    Raises:
        InvalidField: a feature is missing, unknown or of another kind.
    """
    known = {feature.name for feature in reference.features}
    others = [name for name in batch if name not in known and name not in reference.ignored]
    names = ", ".join(feature.name for feature in reference.features)
    fix = f"is not a feature of the reference, which has {names}; leave it out, or name it as ignored"
    unknown = [FieldViolation(f"{field}[{name!r}]", fix) for name in others if kind_of(batch[name]) is not Kind.TIME]
    missing = [FieldViolation(field, f"lacks the feature {name!r}; send it") for name in sorted(known - batch.keys())]
    present = [feature for feature in reference.features if feature.name in batch]
    fitted = {feature.name: _fitted(feature, batch[feature.name]) for feature in present}
    wrong_kind = [
        _kind_violation(feature, batch[feature.name], field) for feature in present if fitted[feature.name] is None
    ]
    if violations := [*missing, *unknown, *wrong_kind]:
        raise InvalidField(*violations)
    return {name: values for name, values in fitted.items() if values is not None}


def _fitted(feature: Feature, values: Any) -> Any:
    """Return a column if it is of the kind of a feature, otherwise None."""
    kind = kind_of(values)
    numbers = isinstance(feature, NumberProfile)
    if kind is not Kind.TIME and (kind is Kind.NUMBER) == numbers:
        return values
    if missing_in(values).all():
        return np.full(len(values), np.nan) if numbers else np.full(len(values), None, object)
    return None


def _kind_violation(feature: Feature, values: Any, field: str) -> FieldViolation:
    expected = "numbers" if isinstance(feature, NumberProfile) else "categories"
    held = "categories" if kind_of(values) is Kind.TRUTH else kind_of(values)
    but = "" if feature.present else " (no value of it: set the reference again from rows that have some)"
    return FieldViolation(f"{field}[{feature.name!r}]", f"holds {held} where the reference holds {expected}{but}")
