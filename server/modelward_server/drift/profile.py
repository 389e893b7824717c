"""The profile of reference data: the summary that drift detection uses."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from modelward.drift import FeatureKind, FeatureProfile
from modelward_server.statistics.distances import Floats, Ints, NormalizedRanks
from modelward_server.statistics.hashing import Hashes
from modelward_server.statistics.null_distribution import NullDistribution
from modelward_server.statistics.rounding import snap_to

MAX_CATEGORIES_SHOWN = 100
RECURRENCE = 2
"""Rows per distinct value from which values count as recurring."""
MIN_CATEGORY_COUNT = 5
"""Categories with fewer rows in the reference are pooled for the test, with those that it lacks (Cochran, 1954)."""


def values_recur(distinct: int, rows: int) -> bool:
    """Return whether values recur, such as those on a grid, in contrast to measurements."""
    return rows >= RECURRENCE * distinct > 0


@dataclass(frozen=True)
class NumberProfile:
    """The profile of a numeric feature.

    Attributes:
        values: the distinct values, ascending, including infinities, shape (k,).
        cumulative: the number of rows at or below each value, shape (k,).
        missing: the number of rows in which it is missing.
        edges: the upper edges of all bins but the last, themselves values of the reference, ascending, shape (b - 1,).
        counts: the number of rows in each bin, shape (b,).
        bars: the edges of the histogram, ascending, shape (h - 1,).
        heights: the number of rows in each bar of the histogram, shape (h,).
        moments: mean, standard deviation, minimum and maximum of the finite values, shape (4,).
        null: the null distribution of its statistics.
    """

    name: str
    values: Floats
    cumulative: Ints
    missing: int
    edges: Floats
    counts: Ints
    bars: Floats
    heights: Ints
    moments: Floats
    null: NullDistribution

    @property
    def present(self) -> int:
        return int(self.cumulative[-1]) if len(self.cumulative) else 0

    def read(self, values: Floats) -> Floats:
        """Return values for comparison with the reference: if its values recur, rounding errors are removed."""
        return snap_to(values, self.values) if values_recur(len(self.values), self.present) else values

    @cached_property
    def sample(self) -> Floats:
        """Return all non-missing values, ascending, shape (present,)."""
        if self.present == len(self.values):
            return self.values
        return np.repeat(self.values, np.diff(self.cumulative, prepend=0))


@dataclass(frozen=True)
class CategoryProfile:
    """The profile of a categorical feature.

    Attributes:
        categories: the names of the categories, the most frequent first.
        counts: the number of rows of each category, shape (k,).
        missing: the number of rows in which it is missing.
        null: the null distribution of its statistics.
    """

    name: str
    categories: tuple[str, ...]
    counts: Ints
    missing: int
    null: NullDistribution

    @property
    def present(self) -> int:
        return int(self.counts.sum())

    def pooled(self, counts: Ints) -> Ints:
        """Return counts by category as they are tested, with rare categories of the reference and new ones pooled.

        The frequency of a name with one or two rows is unknown, and many such names are absent by chance.
        """
        return pooled(counts, self.counts)


def pooled(counts: Ints, reference: Ints) -> Ints:
    """Pool the counts of categories that are rare in the reference, whose most frequent categories come first."""
    frequent = int(np.count_nonzero(reference >= MIN_CATEGORY_COUNT))
    return np.append(counts[:frequent], counts[frequent:].sum())


Feature = NumberProfile | CategoryProfile


@dataclass(frozen=True)
class JointProfile:
    """The joint profile: random Fourier features of the normalized ranks in the reference (`multivariate.py`).

    Attributes:
        sample: the ranks of reference rows, evenly spread over time, shape (s, f); without rows if features are not
            compared jointly.
        frequencies: the frequencies of the Fourier features, shape (f, d).
        phases: their phases, shape (d,).
        centre: the mean embedding of the reference, shape (d,).
        null: the null distribution of the squared maximum mean discrepancy.
    """

    sample: NormalizedRanks
    frequencies: Floats
    phases: Floats
    centre: Floats
    null: NullDistribution


@dataclass(frozen=True)
class Profile:
    """The profile of a reference.

    Attributes:
        tests: the equivalent number of independent tests of its features, at least 1.
        ignored: columns that are not features, which live data may contain.
        times: the number of times of a panel, in whose number its null distributions are; 0 if each row is a time.
        hashes: the least hashes of its rows, ascending (`row_hashes.py`); empty if an older server stored it.
        repeated: the share of its rows that repeat another row.
    """

    rows: int
    features: tuple[Feature, ...]
    joint: JointProfile
    tests: float
    ignored: tuple[str, ...] = ()
    times: int = 0
    hashes: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    repeated: float = 0.0

    @property
    def times_per_row(self) -> float:
        return self.times / self.rows if self.times else 1.0


def describe(profile: Profile) -> tuple[FeatureProfile, ...]:
    """Return the public summary of each feature."""
    return tuple(_describe(feature, profile) for feature in profile.features)


def _describe(feature: Feature, profile: Profile) -> FeatureProfile:
    mean, deviation, least, greatest = map(float, getattr(feature, "moments", np.zeros(4)))
    return FeatureProfile(
        name=feature.name,
        kind=FeatureKind.NUMBER if isinstance(feature, NumberProfile) else FeatureKind.CATEGORY,
        missing_share=feature.missing / profile.rows,
        mean=mean,
        standard_deviation=deviation,
        minimum=least,
        maximum=greatest,
        bin_edges=tuple(map(float, feature.edges)) if isinstance(feature, NumberProfile) else (),
        categories=_shares(feature) if isinstance(feature, CategoryProfile) else {},
        effective_rows=feature.null.independence * (profile.times or profile.rows),
    )


def _shares(feature: CategoryProfile) -> dict[str, float]:
    present = max(feature.present, 1)
    shares = zip(feature.categories, feature.counts, strict=True)
    return {name: float(rows / present) for name, rows in list(shares)[:MAX_CATEGORIES_SHOWN]}
