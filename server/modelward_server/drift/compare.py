"""The statistics of live data against the profile of a reference, before it is decided what counts."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelward.drift import FeatureKind, Histogram
from modelward_server.drift.histogram_sample import CountedCategories
from modelward_server.drift.multivariate import ROWS_LEARNT, area_under_curve, can_join, discrepancy, places, thinned
from modelward_server.drift.profile import CategoryProfile, Feature, NumberProfile, Profile
from modelward_server.drift.sample import Live, LiveFeature, LiveNumbers
from modelward_server.statistics.distances import (
    Floats,
    Ints,
    chi_square,
    js_divergence,
    kl_divergence,
    psi,
    smoothed,
    total_variation,
)
from modelward_server.statistics.null_distribution import (
    NullQuantiles,
    min_attainable_p_value,
    null_for_rows,
    sidak_p_value,
)

NAMES_SHOWN = 100
CATEGORIES_DRAWN = 12
OTHER = "(other)"
KS, KL, MISSING, WASSERSTEIN = range(4)
"""Places of the statistics in a feature's null."""


@dataclass(frozen=True)
class Critical:
    """What stretches of the reference exceed with a given probability, for each statistic."""

    ks: float
    kl: float
    missing: float
    wasserstein: float


@dataclass(frozen=True)
class Comparison:
    """What was measured of one feature. The fields are those of `FeatureDrift`."""

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

    def critical(self, probability: float) -> Critical:
        return Critical(
            ks=min(self.values.critical(KS, probability) ** 0.5, 1.0),
            kl=self.values.critical(KL, probability),
            missing=min(self.rows.critical(MISSING, probability) ** 0.5, 1.0),
            wasserstein=self.values.critical(WASSERSTEIN, probability) ** 0.5,
        )


@dataclass(frozen=True)
class JointComparison:
    """What was measured of all features together.

    Attributes:
        of_all: whether the classifier saw every feature, as the null of the discrepancy did.
    """

    auc: float = 0.5
    mmd: float = 0.0
    p_value: float = 1.0
    rows: int = 0
    of_all: bool = True


@dataclass(frozen=True)
class TableComparison:
    """What was measured of a table.

    Attributes:
        tests: how many independent tests the features are worth, at least 1.
    """

    features: tuple[Comparison, ...]
    joint: JointComparison
    rows: int
    tests: float


def compare(profile: Profile, live: Live, name: str, ignored: Collection[str] = ()) -> TableComparison:
    """Compare live data with the reference that they were taken in for under that name.

    Args:
        ignored: features that the classifier does not see.
    """
    features = compare_features(profile, live, name)
    return TableComparison(features, compare_together(profile, live, ignored), live.rows, profile.tests)


def compare_features(profile: Profile, live: Live, name: str) -> tuple[Comparison, ...]:
    """Compare each feature by itself."""
    counted: Mapping[str, LiveFeature] = live.of(name)
    return tuple(_compare(profile, feature, counted[feature.name]) for feature in profile.features)


def compare_together(profile: Profile, live: Live, ignored: Collection[str]) -> JointComparison:
    """Compare all features together; nothing is measured where there are too few rows or features."""
    seen = [feature.name not in ignored for feature in profile.features]
    if not can_join(profile.joint, live.rows) or sum(seen) < 2:
        return JointComparison()
    placed = places(profile.features, live.sample())
    mmd = discrepancy(profile.joint, placed)
    null = null_for_rows(profile.joint.null, len(placed), profile.rows)
    auc = area_under_curve(profile.joint.sample[:, seen], thinned(placed, ROWS_LEARNT)[:, seen])
    p_value = max(null.exceedance(0, mmd), _least_together(profile, len(placed)))
    return JointComparison(auc, mmd, p_value, len(placed), all(seen))


def _least_together(profile: Profile, rows: int) -> float:
    """Return the least p-value that so many live rows can show, by the most dependent of the features."""
    independence = min(feature.null.independence for feature in profile.features)
    effective, known = (max(independence * n, 1.0) for n in (rows, profile.rows))
    return min_attainable_p_value(effective, known)


def _compare(profile: Profile, feature: Feature, live: LiveFeature) -> Comparison:
    if isinstance(feature, NumberProfile):
        assert not isinstance(live, CountedCategories)
        return _numbers(profile.rows, feature, live)
    assert isinstance(live, CountedCategories)
    return _categories(profile.rows, feature, live)


def _numbers(reference_rows: int, feature: NumberProfile, live: LiveNumbers) -> Comparison:
    p_value, method = live.ks_p_value()
    both = bool(live.present and feature.present)
    shares = smoothed(live.bins()), smoothed(feature.counts)
    shift = _in_deviations(live.wasserstein(), feature)
    return Comparison(
        name=feature.name,
        kind=FeatureKind.NUMBER,
        ks=live.ks,
        ks_p_value=p_value,
        ks_method=method,
        wasserstein=shift,
        chi_square=0.0,
        **_divergences(*shares, both),
        **_shares(reference_rows, feature, live),
        **_certainty(reference_rows, feature, live, live.ks, _kl(*shares, both), shift),
        new_categories=(),
        vanished_categories=(),
        histogram=Histogram(
            edges=tuple(map(float, feature.bars)),
            live=_normalized(live.bars()),
            reference=_normalized(feature.heights),
        ),
    )


def _categories(reference_rows: int, feature: CategoryProfile, live: CountedCategories) -> Comparison:
    counts, reference = live.counts(), np.append(feature.counts, 0)
    both = bool(live.present and feature.present)
    distance = _distance(counts, reference) if both else 0.0
    statistic, p_value = chi_square(counts, reference)
    shares = _smoothed_categories(counts, reference)
    tested, known = feature.pooled(counts), feature.pooled(reference)
    surprise = _kl(*_smoothed_categories(tested, known), both)
    return Comparison(
        name=feature.name,
        kind=FeatureKind.CATEGORY,
        ks=distance,
        ks_p_value=p_value,
        ks_method="chi-square",
        wasserstein=0.0,
        chi_square=statistic,
        **_divergences(*shares, both),
        **_shares(reference_rows, feature, live),
        **_certainty(reference_rows, feature, live, _distance(tested, known) if both else 0.0, surprise, 0.0),
        new_categories=live.new[:NAMES_SHOWN],
        vanished_categories=live.vanished[:NAMES_SHOWN],
        histogram=_bars(feature, counts, reference),
    )


def _distance(counts: Ints, reference: Ints) -> float:
    return float(total_variation(counts / max(counts.sum(), 1), reference / max(reference.sum(), 1)))


def _in_deviations(distance: float, feature: NumberProfile) -> float:
    """Return a distance in standard deviations of the reference; of a constant in its size, or as it is."""
    mean, deviation = feature.moments[:2]
    with np.errstate(over="ignore"):
        return float(min(distance / (deviation or abs(mean) or np.float64(1.0)), np.finfo(float).max))


def _smoothed_categories(counts: Ints, reference: Ints) -> tuple[Floats, Floats]:
    """Smooth both; the bin of new categories is there only when some came, so that identical data give zero."""
    if counts[-1] == 0 and reference[-1] == 0 and len(counts) > 1:
        counts, reference = counts[:-1], reference[:-1]
    return smoothed(counts), smoothed(reference)


def _divergences(p: Floats, q: Floats, both: bool) -> dict[str, Any]:
    """Return the divergences of shares, or zeros where a side has no value."""
    if not both:
        return {"kl": 0.0, "kl_reverse": 0.0, "js": 0.0, "psi": 0.0}
    return {"kl": _kl(p, q, both), "kl_reverse": _kl(q, p, both), "js": js_divergence(p, q), "psi": psi(p, q)}


def _kl(p: Floats, q: Floats, both: bool) -> float:
    return float(kl_divergence(p, q)) if both else 0.0


def _shares(reference_rows: int, feature: Feature, live: LiveFeature) -> dict[str, Any]:
    return {
        "missing_share": live.missing / live.rows,
        "reference_missing_share": feature.missing / reference_rows,
        "out_of_range_share": live.out_of_range() / live.rows,
    }


def _certainty(
    reference_rows: int, feature: Feature, live: LiveFeature, ks: float, kl: float, shift: float
) -> dict[str, Any]:
    """Return what stretches of the reference say of the effects: the least p-value, corrected for being the least."""
    values = null_for_rows(feature.null, live.present, feature.present)
    rows = null_for_rows(feature.null, live.rows, reference_rows)
    change = live.missing / live.rows - feature.missing / reference_rows
    least = min(
        values.exceedance(KS, ks**2),
        values.exceedance(KL, kl),
        values.exceedance(WASSERSTEIN, min(shift, 1e100) ** 2),
        rows.exceedance(MISSING, change**2),
    )
    effective, known = (max(feature.null.independence * n, 1.0) for n in (live.rows, reference_rows))
    p_value = sidak_p_value(max(least, min_attainable_p_value(effective, known)), feature.null.tests)
    return {"p_value": p_value, "effective_rows": effective, "values": values, "rows": rows}


def _bars(feature: CategoryProfile, counts: Ints, reference: Ints) -> Histogram:
    """Return the most frequent categories of the reference, and all others together."""
    shown = feature.categories[:CATEGORIES_DRAWN]
    live, known = (np.append(side[: len(shown)], side[len(shown) :].sum()) for side in (counts, reference))
    names = (*shown, OTHER)
    if not live[-1] and not known[-1]:
        names, live, known = names[:-1], live[:-1], known[:-1]
    return Histogram(categories=names, live=_normalized(live), reference=_normalized(known))


def _normalized(counts: Ints) -> tuple[float, ...]:
    return tuple(map(float, counts / max(int(counts.sum()), 1)))
