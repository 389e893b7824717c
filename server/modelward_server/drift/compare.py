"""The statistics of one feature: live data against the profile of the reference."""

from dataclasses import dataclass

import numpy as np

from modelward.drift import FeatureKind
from modelward_server.drift.live import Live, LiveCategories, LiveNumbers
from modelward_server.drift.null import NullAt, exceedance, null_at
from modelward_server.drift.profile import CategoryProfile, NumberProfile, Profile
from modelward_server.drift.statistics import (
    Floats,
    chi_square_p_value,
    js_divergence,
    kl_divergence,
    ks_p_value,
    ks_statistic,
    psi,
    smoothed,
    total_variation,
)

NAMES_SHOWN = 100


@dataclass(frozen=True)
class Comparison:
    """What was measured of one feature, before it is decided what counts. The fields are those of `FeatureDrift`."""

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
    p_value: float
    effective_rows: float
    missing_share: float
    reference_missing_share: float
    out_of_range_share: float
    new_categories: tuple[str, ...]
    vanished_categories: tuple[str, ...]
    null: NullAt


def compare(profile: Profile, live: Live, feature: NumberProfile | CategoryProfile) -> Comparison:
    """Compare one feature."""
    if isinstance(feature, NumberProfile) and isinstance(live, LiveNumbers):
        return _numbers(profile.rows, feature, live)
    assert isinstance(feature, CategoryProfile)
    assert isinstance(live, LiveCategories)
    return _categories(profile.rows, feature, live)


def _numbers(reference_rows: int, feature: NumberProfile, live: LiveNumbers) -> Comparison:
    missing, reference_missing = live.missing / live.rows, feature.missing / reference_rows
    if len(feature.values):
        shares = feature.cumulative / reference_rows
        ks = ks_statistic(live.at_or_below(), live.below(), shares, missing, reference_missing)
    else:
        ks = abs(missing - reference_missing)
    p, q = smoothed(live.bins), smoothed(feature.counts)
    null = null_at(feature.null, live.rows, reference_rows)
    return Comparison(
        name=feature.name,
        kind=FeatureKind.NUMBER,
        ks=ks,
        ks_p_value=ks_p_value(ks, live.rows, reference_rows),
        ks_method="asymptotic",
        **_divergences(p, q, null, ks),
        wasserstein=live.wasserstein(),
        effective_rows=max(feature.null.independence * live.rows, 1.0),
        missing_share=missing,
        reference_missing_share=reference_missing,
        out_of_range_share=live.out_of_range / live.rows,
        new_categories=(),
        vanished_categories=(),
        null=null,
    )


def _categories(reference_rows: int, feature: CategoryProfile, live: LiveCategories) -> Comparison:
    counts, reference = live.counts(), np.append(feature.counts, 0)
    distance = float(total_variation(counts / live.rows, reference / reference_rows))
    null = null_at(feature.null, live.rows, reference_rows)
    return Comparison(
        name=feature.name,
        kind=FeatureKind.CATEGORY,
        ks=distance,
        ks_p_value=chi_square_p_value(counts, reference),
        ks_method="chi-square",
        **_divergences(*_smoothed_categories(counts, reference), null, distance),
        wasserstein=0.0,
        effective_rows=max(feature.null.independence * live.rows, 1.0),
        missing_share=live.missing / live.rows,
        reference_missing_share=float(feature.counts[-1] / reference_rows),
        out_of_range_share=sum(live.new.values()) / live.rows,
        new_categories=tuple(sorted(live.new))[:NAMES_SHOWN],
        vanished_categories=live.vanished[:NAMES_SHOWN],
        null=null,
    )


def _smoothed_categories(counts, reference) -> tuple[Floats, Floats]:  # type: ignore[no-untyped-def]
    """Smooth both; the bin of new categories is there only when some came, so that identical data give zero."""
    if counts[-1] == 0:
        counts, reference = counts[:-1], reference[:-1]
    return smoothed(counts), smoothed(reference)


def _divergences(p: Floats, q: Floats, null: NullAt, ks: float) -> dict[str, float]:
    kl = float(kl_divergence(p, q))
    least = min(exceedance(null.ks, ks), exceedance(null.kl, kl))
    return {
        "kl": kl,
        "kl_reverse": float(kl_divergence(q, p)),
        "js": js_divergence(p, q),
        "psi": psi(p, q),
        "p_value": min(1.0, 2 * least),
    }
