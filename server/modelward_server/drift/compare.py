"""Compute the drift statistics of live data against the profile of a reference."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from modelward.drift import FeatureKind, Histogram
from modelward_server.drift.exact_sample import ExactSample, exact_p_values
from modelward_server.drift.histogram_sample import CategoricalHistogramSample
from modelward_server.drift.multivariate import (
    MAX_CLASSIFIER_ROWS,
    can_compare_jointly,
    classifier_auc,
    normalized_ranks,
    squared_mmd,
    thin,
)
from modelward_server.drift.profile import CategoryProfile, Feature, NumberProfile, Profile
from modelward_server.drift.sample import FeatureSample, LiveSample, NumericSample
from modelward_server.statistics.distances import (
    Floats,
    Ints,
    NormalizedRanks,
    chi_square,
    js_divergence,
    kl_divergence,
    psi,
    smoothed,
    total_variation,
)
from modelward_server.statistics.kolmogorov import ks_p_value
from modelward_server.statistics.null_distribution import (
    NullQuantiles,
    min_attainable_p_value,
    null_for_rows,
    sidak_p_value,
)

MAX_NAMES_SHOWN = 100
MAX_CATEGORIES_DRAWN = 12
MAX_GAPS = 2
"""How many times as many rows as those of the live data the times of a reference may have, without counting as fewer:
symbols are delisted and days have gaps, also in the reference, and rows that share the day's shocks tell little more.
"""
OTHER = "(other)"
KS, KL, MISSING, WASSERSTEIN = range(4)
"""Indexes of the statistics in a feature's null distribution."""


@dataclass(frozen=True)
class CriticalValues:
    """The critical values of the statistics: segments of the reference exceed them with a given probability."""

    ks: float
    kl: float
    missing: float
    wasserstein: float


@dataclass(frozen=True)
class FeatureComparison:
    """The statistics of one feature. The fields are those of `FeatureDrift`, and its null distributions.

    Attributes:
        values: the null distribution for the number of rows with a value.
        rows: the null distribution for the number of all rows.
    """

    name: str
    kind: FeatureKind
    ks: float
    ks_p_value: float
    ks_method: str
    kl: float
    kl_reverse: float
    js: float
    psi: float
    wasserstein: float
    chi_square: float
    p_value: float
    effective_rows: float
    missing_share: float
    reference_missing_share: float
    out_of_range_share: float
    new_categories: tuple[str, ...]
    vanished_categories: tuple[str, ...]
    histogram: Histogram
    values: NullQuantiles
    rows: NullQuantiles

    def critical(self, probability: float) -> CriticalValues:
        return CriticalValues(
            ks=min(self.values.critical(KS, probability) ** 0.5, 1.0),
            kl=self.values.critical(KL, probability),
            missing=min(self.rows.critical(MISSING, probability) ** 0.5, 1.0),
            wasserstein=self.values.critical(WASSERSTEIN, probability) ** 0.5,
        )


@dataclass(frozen=True)
class JointComparison:
    """The statistics of all features together.

    Attributes:
        mmd: the squared maximum mean discrepancy.
        p_value: its p-value.
        rows: the number of live rows that were used; 0 if nothing was compared.
        of_all: whether the classifier uses every feature, as the null distribution of the discrepancy did.
        sides: the ranks of reference rows and of live rows for the classifier, each of shape (rows, features).
    """

    mmd: float = 0.0
    p_value: float = 1.0
    rows: int = 0
    of_all: bool = True
    sides: tuple[NormalizedRanks, NormalizedRanks] | None = None

    @cached_property
    def auc(self) -> float:
        """Return the area of the classifier; it is trained when this is first read, which takes most of the time."""
        assert self.sides is not None
        return classifier_auc(*self.sides)


@dataclass(frozen=True)
class TableComparison:
    """The statistics of a table.

    Attributes:
        tests: the equivalent number of independent tests of the features, at least 1.
    """

    features: tuple[FeatureComparison, ...]
    joint: JointComparison
    rows: int
    tests: float


@dataclass(frozen=True)
class Units:
    """The units in which the null distributions count rows: times of a panel, otherwise rows.

    Attributes:
        reference: the number of units of a reference row.
        live: the number of units of a live row.
        reference_rows: the number of rows of the reference.
    """

    reference: float
    live: float
    reference_rows: int


def compare(profile: Profile, live: LiveSample, name: str, ignored: Collection[str] = ()) -> TableComparison:
    """Compare live data with a reference.

    Args:
        profile: the profile of the reference.
        live: live data that were added with this profile.
        name: the name of the profile in `live`.
        ignored: features that the classifier does not use.
    """
    features = compare_features(profile, live, name)
    return TableComparison(features, compare_jointly(profile, live, ignored), live.rows, profile.tests)


def compare_features(profile: Profile, live: LiveSample, name: str) -> tuple[FeatureComparison, ...]:
    """Compare each feature separately."""
    samples: Mapping[str, FeatureSample] = live.of(name)
    units = Units(profile.times_per_row, _times(profile, live) / live.rows if live.rows else 1.0, profile.rows)
    tested = _ks_p_values(profile, samples)
    return tuple(_compare(units, feature, samples[feature.name], tested) for feature in profile.features)


def _ks_p_values(profile: Profile, samples: Mapping[str, FeatureSample]) -> dict[str, tuple[float, str]]:
    """Return the p-value of each number's Kolmogorov-Smirnov statistic, and the name of its method."""
    tested: dict[str, tuple[float, str]] = {}
    uncertain: dict[str, ExactSample] = {}
    for feature in profile.features:
        live = samples[feature.name]
        if not isinstance(live, CategoricalHistogramSample):
            tested[feature.name] = ks_p_value(live.ks, live.present, feature.present)
            # Near 1, where the exact p-value is not needed, rounding errors make scipy's computation fail.
            if isinstance(live, ExactSample) and tested[feature.name][0] < 0.9:
                uncertain[feature.name] = live
    return tested | {name: (p_value, "exact") for name, p_value in exact_p_values(uncertain).items()}


def compare_jointly(profile: Profile, live: LiveSample, ignored: Collection[str]) -> JointComparison:
    """Compare all features jointly; the result is empty with too few rows or features."""
    used = [feature.name not in ignored for feature in profile.features]
    if not can_compare_jointly(profile.joint, live.rows) or sum(used) < 2:
        return JointComparison()
    ranks = normalized_ranks(profile.features, live.sample())
    mmd = squared_mmd(profile.joint, ranks)
    known = profile.times or profile.rows
    times = _units(profile, live, live.sampled_times, len(ranks))
    null = null_for_rows(profile.joint.null, times, known)
    p_value = max(null.exceedance(0, mmd), _min_joint_p_value(profile, times, known))
    sides = profile.joint.sample[:, used], thin(ranks, MAX_CLASSIFIER_ROWS)[:, used]
    return JointComparison(mmd, p_value, len(ranks), all(used), sides)


def _times(profile: Profile, live: LiveSample) -> float:
    """Return the number of live times, in which the null distributions of a panel count."""
    return _units(profile, live, live.times, live.rows)


def _units(profile: Profile, live: LiveSample, times: int, rows: int) -> float:
    """Return the number of times of live rows; if it is unknown, they have as many rows as those of the reference.

    Times with only some of their rows vary more, and count as fewer: in a segment as many as would have so many rows,
    otherwise, where a part of them is missing by chance, as many as would have half of them.
    """
    counted = rows * profile.times_per_row
    if not (profile.times and times):
        return counted
    return min(times, counted if live.of_segment else MAX_GAPS * counted)


def _min_joint_p_value(profile: Profile, rows: float, reference_rows: float) -> float:
    """Return the smallest p-value that a number of live rows, of a panel times, can attain; dependence is the most."""
    independence = min(feature.null.independence for feature in profile.features)
    effective, known = (max(independence * n, 1.0) for n in (rows, reference_rows))
    return min_attainable_p_value(effective, known)


def _compare(
    units: Units, feature: Feature, live: FeatureSample, tested: Mapping[str, tuple[float, str]]
) -> FeatureComparison:
    if isinstance(feature, NumberProfile):
        assert not isinstance(live, CategoricalHistogramSample)
        return _numbers(units, feature, live, *tested[feature.name])
    assert isinstance(live, CategoricalHistogramSample)
    return _categories(units, feature, live)


def _numbers(
    units: Units, feature: NumberProfile, live: NumericSample, p_value: float, method: str
) -> FeatureComparison:
    both = bool(live.present and feature.present)
    shares = smoothed(live.bins()), smoothed(feature.counts)
    shift, divergences = _in_deviations(live.wasserstein(), feature), _divergences(*shares, both)
    return FeatureComparison(
        name=feature.name,
        kind=FeatureKind.NUMBER,
        ks=live.ks,
        ks_p_value=p_value,
        ks_method=method,
        wasserstein=shift,
        chi_square=0.0,
        **divergences,
        **_shares(units.reference_rows, feature, live),
        **_certainty(units, feature, live, live.ks, divergences["kl"], shift),
        new_categories=(),
        vanished_categories=(),
        histogram=Histogram(
            edges=tuple(feature.bars.tolist()),
            live=_normalized(live.bars()),
            reference=_normalized(feature.heights),
        ),
    )


def _categories(units: Units, feature: CategoryProfile, live: CategoricalHistogramSample) -> FeatureComparison:
    counts, reference = live.counts(), np.append(feature.counts, 0)
    both = bool(live.present and feature.present)
    distance = _distance(counts, reference) if both else 0.0
    statistic, p_value = chi_square(counts, reference)
    shares = _smoothed_categories(counts, reference)
    tested, known = feature.pooled(counts), feature.pooled(reference)
    divergence = _kl(*_smoothed_categories(tested, known), both)
    return FeatureComparison(
        name=feature.name,
        kind=FeatureKind.CATEGORY,
        ks=distance,
        ks_p_value=p_value,
        ks_method="chi-square",
        wasserstein=0.0,
        chi_square=statistic,
        **_divergences(*shares, both),
        **_shares(units.reference_rows, feature, live),
        **_certainty(units, feature, live, _distance(tested, known) if both else 0.0, divergence, 0.0),
        new_categories=live.new[:MAX_NAMES_SHOWN],
        vanished_categories=live.vanished[:MAX_NAMES_SHOWN],
        histogram=_bars(feature, counts, reference),
    )


def _distance(counts: Ints, reference: Ints) -> float:
    return float(total_variation(counts / max(counts.sum(), 1), reference / max(reference.sum(), 1)))


def _in_deviations(distance: float, feature: NumberProfile) -> float:
    """Return a distance in standard deviations of the reference; for a constant relative to it, for 0 unscaled."""
    mean, deviation = feature.moments[:2]
    with np.errstate(over="ignore"):
        return float(min(distance / (deviation or abs(mean) or np.float64(1.0)), np.finfo(float).max))


def _smoothed_categories(counts: Ints, reference: Ints) -> tuple[Floats, Floats]:
    """Smooth both; the bin of new categories is included only if it has rows, so that identical data give zero."""
    if counts[-1] == 0 and reference[-1] == 0 and len(counts) > 1:
        counts, reference = counts[:-1], reference[:-1]
    return smoothed(counts), smoothed(reference)


def _divergences(p: Floats, q: Floats, both: bool) -> dict[str, Any]:
    """Return the divergences of shares, or zeros if a side has no value."""
    if not both:
        return {"kl": 0.0, "kl_reverse": 0.0, "js": 0.0, "psi": 0.0}
    kl, kl_reverse = float(kl_divergence(p, q)), float(kl_divergence(q, p))
    return {"kl": kl, "kl_reverse": kl_reverse, "js": js_divergence(p, q), "psi": psi(p, q)}


def _kl(p: Floats, q: Floats, both: bool) -> float:
    return float(kl_divergence(p, q)) if both else 0.0


def _shares(reference_rows: int, feature: Feature, live: FeatureSample) -> dict[str, Any]:
    return {
        "missing_share": live.missing / live.rows,
        "reference_missing_share": feature.missing / reference_rows,
        "out_of_range_share": live.out_of_range() / live.rows,
    }


def _certainty(
    units: Units, feature: Feature, live: FeatureSample, ks: float, kl: float, shift: float
) -> dict[str, Any]:
    """Return the significance of the effects: the smallest p-value against the null distributions, Sidak-corrected."""
    values = null_for_rows(feature.null, units.live * live.present, units.reference * feature.present)
    reference_rows = units.reference * units.reference_rows
    complete = live.present == live.rows and feature.present == units.reference_rows
    rows = values if complete else null_for_rows(feature.null, units.live * live.rows, reference_rows)
    change = live.missing / live.rows - feature.missing / units.reference_rows
    effective, known = (max(feature.null.independence * n, 1.0) for n in (units.live * live.rows, reference_rows))
    moved = min(
        values.exceedance(KS, ks**2),
        values.exceedance(KL, kl),
        values.exceedance(WASSERSTEIN, min(shift, 1e100) ** 2),
    )
    if values.is_constant(KS):  # Numbers may differ on two sides.
        moved = max(moved, (1 + isinstance(feature, NumberProfile)) * min_attainable_p_value(effective, known, ks))
    vanished = rows.exceedance(MISSING, change**2)
    if rows.is_constant(MISSING):
        vanished = max(vanished, min_attainable_p_value(effective, known, abs(change)))
    least = min(moved, vanished, 1.0)
    p_value = sidak_p_value(max(least, min_attainable_p_value(effective, known)), feature.null.tests)
    return {"p_value": p_value, "effective_rows": effective, "values": values, "rows": rows}


def _bars(feature: CategoryProfile, counts: Ints, reference: Ints) -> Histogram:
    """Return the most frequent categories of the reference, and one bar for all others."""
    shown = feature.categories[:MAX_CATEGORIES_DRAWN]
    live, known = (np.append(side[: len(shown)], side[len(shown) :].sum()) for side in (counts, reference))
    names = (*shown, OTHER)
    if not live[-1] and not known[-1]:
        names, live, known = names[:-1], live[:-1], known[:-1]
    return Histogram(categories=names, live=_normalized(live), reference=_normalized(known))


def _normalized(counts: Ints) -> tuple[float, ...]:
    return tuple((counts / max(int(counts.sum()), 1)).tolist())
