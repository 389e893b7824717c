"""The profile of reference data: what detection needs of it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from modelward.drift import FeatureKind, FeatureProfile
from modelward_server.statistics.distances import Floats, Ints, Places
from modelward_server.statistics.null_distribution import NullDistribution
from modelward_server.statistics.rounding import snap_to

CATEGORIES_SHOWN = 100
RECURRENCE = 2
"""Rows for each distinct value from which on they are taken to recur."""
LEAST_COUNT = 5
"""Categories with fewer rows in the reference are tested together, with those that it lacks (Cochran, 1954)."""


def recurs(distinct: int, rows: int) -> bool:
    """Say whether values come again and again, as those on a grid do and measurements do not."""
    return rows >= RECURRENCE * distinct > 0


@dataclass(frozen=True)
class NumberProfile:
    """A feature of numbers.

    Attributes:
        values: the distinct values, ascending, infinities included, shape (k,).
        cumulative: rows at or below each value, shape (k,).
        missing: rows in which it is missing.
        edges: the upper edges of all bins but the last, themselves values of the reference, ascending, shape (b - 1,).
        counts: rows in each bin, shape (b,).
        bars: the edges of the histogram, ascending, shape (h - 1,).
        heights: rows in each bar of the histogram, shape (h,).
        moments: mean, standard deviation, least and greatest of the finite values.
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
        """Return values as they compare with the reference: rounding is no difference where its values recur."""
        return snap_to(values, self.values) if recurs(len(self.values), self.present) else values

    @cached_property
    def sample(self) -> Floats:
        """Return all values that are present, ascending."""
        if self.present == len(self.values):
            return self.values
        return np.repeat(self.values, np.diff(self.cumulative, prepend=0))


@dataclass(frozen=True)
class CategoryProfile:
    """A feature of categories.

    Attributes:
        categories: the most frequent first.
        counts: rows of each category, shape (k,).
        missing: rows in which it is missing.
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
        """Return counts of rows by category, as they are tested: the rare ones of the reference and all behind them
        together. Of a name with a row or two nobody knows how frequent it is, and many are absent by chance."""
        return pooled(counts, self.counts)


def pooled(counts: Ints, reference: Ints) -> Ints:
    """Put the counts of categories together that are rare in the reference, whose most frequent ones come first."""
    frequent = int(np.count_nonzero(reference >= LEAST_COUNT))
    return np.append(counts[:frequent], counts[frequent:].sum())


Feature = NumberProfile | CategoryProfile


@dataclass(frozen=True)
class JointProfile:
    """All features together, as random Fourier features of their places in the reference (`joint.py`).

    Attributes:
        sample: places of reference rows, evenly spread over time, shape (s, f); no row where there is nothing to join.
        frequencies: shape (f, d).
        phases: shape (d,).
        centre: the mean embedding of the reference, shape (d,).
        null: of the squared maximum mean discrepancy.
    """

    sample: Places
    frequencies: Floats
    phases: Floats
    centre: Floats
    null: NullDistribution


@dataclass(frozen=True)
class Profile:
    """Everything that detection needs of a reference.

    Attributes:
        tests: how many independent tests its features are worth, at least 1.
        ignored: columns that are no features, which live data may have.
    """

    rows: int
    features: tuple[Feature, ...]
    joint: JointProfile
    tests: float
    ignored: tuple[str, ...] = ()


def describe(profile: Profile) -> tuple[FeatureProfile, ...]:
    """Return what a caller is told of each feature."""
    return tuple(_describe(feature, profile.rows) for feature in profile.features)


def _describe(feature: Feature, rows: int) -> FeatureProfile:
    mean, deviation, least, greatest = map(float, getattr(feature, "moments", np.zeros(4)))
    return FeatureProfile(
        name=feature.name,
        kind=FeatureKind.NUMBER if isinstance(feature, NumberProfile) else FeatureKind.CATEGORY,
        missing_share=feature.missing / rows,
        mean=mean,
        standard_deviation=deviation,
        minimum=least,
        maximum=greatest,
        bin_edges=tuple(map(float, feature.edges)) if isinstance(feature, NumberProfile) else (),
        categories=_shares(feature) if isinstance(feature, CategoryProfile) else {},
        effective_rows=feature.null.independence * rows,
    )


def _shares(feature: CategoryProfile) -> dict[str, float]:
    present = max(feature.present, 1)
    shares = zip(feature.categories, feature.counts, strict=True)
    return {name: float(rows / present) for name, rows in list(shares)[:CATEGORIES_SHOWN]}
