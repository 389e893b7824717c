"""Drift reports to draw: what a check of 2008 may look like, of normal distributions and of shares written down."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from modelward.drift import (
    DriftReport,
    FeatureDrift,
    FeatureKind,
    Histogram,
    JointDrift,
    ReferenceDistance,
)
from modelward.lifecycle import VersionRef

MADE = datetime(2026, 11, 23, 15, 7, 44, tzinfo=UTC)
KS_NEEDS, KL_NEEDS = 0.2, 0.2
QUARTERS = [f"{year}Q{quarter}" for year in (2007, 2008, 2009, 2010) for quarter in (1, 2, 3, 4)]
SCORES = (0.21, 0.26, 0.43, 0.39, 0.55, 0.47, 0.71, 0.94, 0.88, 0.74, 0.52, 0.41, 0.33, 0.57, 0.36, 0.29)


def numbers(name: str, scale: float, shift: float, spread: float, *, missing: float = 0.0) -> FeatureDrift:
    """Compare normal live data, moved by `shift` and `spread` times as wide, with a normal reference."""
    edges = np.linspace(-3, 3, 23)
    reference = np.diff(stats.norm.cdf(edges), prepend=0, append=1)
    live = np.diff(stats.norm.cdf(edges, shift, spread), prepend=0, append=1)
    histogram = Histogram(tuple(edges * scale), (), _shares(live), _shares(reference))
    ks = float(abs(np.cumsum(live) - np.cumsum(reference)).max())
    wasserstein = abs(shift) + abs(spread - 1) * 0.8
    feature = compared(name, FeatureKind.NUMBER, histogram, ks)
    return replace(feature, wasserstein=wasserstein, missing_share=missing, out_of_range_share=float(live[-1]))


def categories(name: str, shares: dict[str, tuple[float, float]]) -> FeatureDrift:
    """Compare the reference's share of each category with the live one."""
    reference, live = (np.array(side) for side in zip(*shares.values(), strict=True))
    histogram = Histogram((), tuple(shares), _shares(live), _shares(reference))
    feature = compared(name, FeatureKind.CATEGORY, histogram, float(abs(live - reference).sum() / 2))
    new = tuple(category for category, (before, now) in shares.items() if now and not before)
    vanished = tuple(category for category, (before, now) in shares.items() if before and not now)
    outside = sum(shares[category][1] for category in new)
    return replace(
        feature,
        ks_method="chi-square",
        chi_square=63 * float((((live - reference) ** 2) / np.maximum(reference, 0.01)).sum()),
        new_categories=new,
        vanished_categories=vanished,
        out_of_range_share=outside,
    )


def compared(name: str, kind: FeatureKind, histogram: Histogram, ks: float) -> FeatureDrift:
    reference, live = (np.array(side) + 0.002 for side in (histogram.reference, histogram.live))
    mean = (reference + live) / 2
    kl, reverse = float(special.rel_entr(live, reference).sum()), float(special.rel_entr(reference, live).sum())
    reached = max(ks / KS_NEEDS, kl / KL_NEEDS)
    p_value = float(np.exp(-4.6 * reached))
    return FeatureDrift(
        name=name,
        kind=kind,
        drifted=reached >= 1,
        score=1 - 2**-reached,
        ks=ks,
        ks_threshold=KS_NEEDS,
        ks_p_value=float(stats.kstwobign.sf(ks * 63**0.5)),
        ks_method="exact",
        kl=kl,
        kl_threshold=KL_NEEDS,
        kl_reverse=reverse,
        js=float(special.rel_entr(live, mean).sum() + special.rel_entr(reference, mean).sum()) / 2,
        psi=kl + reverse,
        wasserstein=0.0,
        p_value=p_value,
        adjusted_p_value=min(1.0, p_value * 2),
        effective_rows=38.4,
        missing_share=0.0,
        reference_missing_share=0.0,
        out_of_range_share=0.0,
        missing_threshold=0.1,
        histogram=histogram,
    )


def _shares(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(map(float, values))


FEATURES = (
    numbers("realized_volatility_21d", 0.012, 1.9, 1.6),
    categories(
        "rating_bucket",
        {"AAA": (0.31, 0.05), "AA": (0.27, 0.12), "A": (0.22, 0.28), "BBB": (0.2, 0.33), "distressed": (0.0, 0.22)},
    ),
    numbers("daily_return", 0.0118, -0.12, 2.9),
    numbers("credit_spread_bp", 42, 1.1, 1.3, missing=0.125),
    numbers("turnover_usd_m", 1800, 0.55, 1.15),
    numbers("momentum_63d", 0.06, -0.45, 1.1),
    numbers("term_slope", 0.9, -0.3, 1.05),
    categories("session", {"open": (0.2, 0.24), "core": (0.6, 0.57), "close": (0.2, 0.19)}),
    numbers("beta_252d", 0.3, 0.12, 1.0),
    numbers("day_of_month", 8.7, 0.02, 1.01),
)


def crisis(version: VersionRef, features: Sequence[FeatureDrift] = FEATURES) -> DriftReport:
    """Return a report that found drift."""
    ordered = tuple(sorted(features, key=lambda feature: (not feature.drifted, -feature.score)))
    drivers = tuple(feature.name for feature in ordered if feature.drifted)
    first = ordered[0]
    return DriftReport(
        report_id=str(uuid4()),
        version=version,
        reference="default",
        label="2008Q4",
        created_at=MADE,
        created_by="ada",
        rows=63,
        reference_rows=1762,
        drift_detected=bool(drivers),
        score=first.score,
        confidence=0.9964,
        drivers=drivers,
        summary=f"Drift in {len(drivers)} of {len(ordered)} features, with a confidence of 99.6%. {first.name}: "
        f"KS {first.ks:.2f} (threshold 0.20), KL {first.kl:.2f} (threshold 0.20).",
        features=ordered,
        caveats=("strong autocorrelation of realized_volatility_21d: the effective sample size is small",),
        references=(
            ReferenceDistance("crisis", False, 0.41, 0.312, 0.118),
            ReferenceDistance("default", True, first.score, 0.9964, 0.341),
            ReferenceDistance("calm", True, 0.98, 0.999, 0.462),
        ),
        joint=JointDrift(True, 0.913, 0.75, 0.0834, 0.001, 63),
    )


def quarters(version: VersionRef) -> list[DriftReport]:
    """Return the reports of the quarters before, a minute apart, and of the crisis itself at the end."""
    last = crisis(version)
    before = [
        replace(
            last,
            report_id=str(uuid4()),
            label=QUARTERS[number],
            created_at=MADE - timedelta(minutes=7 - number),
            score=SCORES[number],
            drift_detected=SCORES[number] > 0.5,
        )
        for number in range(7)
    ]
    return [*before, last]
