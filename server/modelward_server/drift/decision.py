"""What counts as drift, how far it goes, and how sure that is.

A feature drifted when an effect size, the Kolmogorov-Smirnov statistic or the Kullback-Leibler divergence, reaches its
threshold, and when the difference is significant at the accepted rate of false discoveries among the features. The
p-value comes from stretches of the reference itself (`null.py`), so it knows how neighbouring rows depend.

The score measures the effect: 1 - 2 ** -(effect / threshold), so 0.5 at the threshold. The confidence measures the
certainty: one less the probability that stretches of the reference differ so much in at least one feature, which by
Bonferroni's inequality is at most the number of features times the least p-value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy import stats

from modelward.drift import DriftThresholds, FeatureDrift, FeatureThresholds
from modelward_server.drift.compare import Comparison
from modelward_server.drift.null import REPLICATES, critical_value

DEFAULT_KS = 0.2
"""A fifth of the probability lies elsewhere; below, a model rarely notices."""
DEFAULT_KL = 0.2
"""In nats; near the 0.25 of the population stability index that credit risk calls a major shift (Siddiqi, 2006)."""
DEFAULT_SIGNIFICANCE = 0.05
FEW_ROWS = 10


@dataclass(frozen=True)
class Decision:
    """What a comparison of all features comes to."""

    drift_detected: bool
    score: float
    confidence: float
    drivers: tuple[str, ...]
    features: tuple[FeatureDrift, ...]
    summary: str
    caveats: tuple[str, ...]


def decide(comparisons: Sequence[Comparison], thresholds: DriftThresholds, rows: int) -> Decision:
    """Decide about every feature and about all together."""
    counted = [not _own(thresholds, comparison.name).ignored for comparison in comparisons]
    adjusted = _adjusted([c.p_value for c in comparisons], counted)
    judged = [_judge(c, thresholds, p, counts) for c, p, counts in zip(comparisons, adjusted, counted, strict=True)]
    deciding = [feature for feature, counts in zip(judged, counted, strict=True) if counts]
    judged.sort(key=lambda feature: (not feature.drifted, -feature.score, feature.name))
    drivers = tuple(feature.name for feature in judged if feature.drifted)
    least = min((feature.p_value for feature in deciding), default=1.0)
    confidence = max(0.0, 1.0 - max(len(deciding), 1) * least)
    return Decision(
        drift_detected=bool(drivers),
        score=max((feature.score for feature in deciding), default=0.0),
        confidence=confidence,
        drivers=drivers,
        features=tuple(judged),
        summary=_summary(judged, drivers, confidence),
        caveats=tuple(_caveats(deciding, rows, _significance(thresholds))),
    )


def _judge(comparison: Comparison, thresholds: DriftThresholds, adjusted: float, counts: bool) -> FeatureDrift:
    significance = _significance(thresholds)
    own = _own(thresholds, comparison.name)
    ks = max(_first(own.ks, thresholds.ks, DEFAULT_KS), critical_value(comparison.null.ks, significance))
    kl = max(_first(own.kl, thresholds.kl, DEFAULT_KL), critical_value(comparison.null.kl, significance))
    reached = max(comparison.ks / ks, comparison.kl / kl)
    measured = {f.name: getattr(comparison, f.name) for f in fields(comparison) if f.name != "null"}
    return FeatureDrift(
        **measured,
        drifted=counts and reached >= 1 and adjusted <= significance,
        score=float(1 - 2**-reached),
        ks_threshold=ks,
        kl_threshold=kl,
        adjusted_p_value=adjusted,
    )


def _adjusted(p_values: Sequence[float], counted: Sequence[bool]) -> list[float]:
    """Control the false discovery rate (Benjamini and Hochberg, 1995) among the features that count."""
    adjusted = np.array(p_values)
    mask = np.array(counted, dtype=bool)
    if mask.any():
        adjusted[mask] = stats.false_discovery_control(adjusted[mask])
    return [float(p) for p in adjusted]


def _own(thresholds: DriftThresholds, feature: str) -> FeatureThresholds:
    return thresholds.features.get(feature, FeatureThresholds())


def _significance(thresholds: DriftThresholds) -> float:
    return _first(thresholds.significance, DEFAULT_SIGNIFICANCE)


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _summary(features: Sequence[FeatureDrift], drivers: Sequence[str], confidence: float) -> str:
    if not drivers:
        nearest = features[0]
        return f"No drift. The nearest to it is {nearest.name}: {_in_words(nearest)}."
    said = "; ".join(f"{feature.name}: {_in_words(feature)}" for feature in features[:3] if feature.drifted)
    more = f" and {len(drivers) - 3} more" if len(drivers) > 3 else ""
    share = f"{len(drivers)} of {len(features)} features"
    return f"Drift in {share}, with a confidence of {confidence:.1%}. {said}{more}."


def _in_words(feature: FeatureDrift) -> str:
    parts = [
        f"KS {feature.ks:.2f} (threshold {feature.ks_threshold:.2f})",
        f"KL {feature.kl:.2f} (threshold {feature.kl_threshold:.2f})",
    ]
    if feature.missing_share > feature.reference_missing_share:
        parts.append(f"missing in {feature.missing_share:.0%} of the rows")
    if feature.new_categories:
        parts.append(f"new: {', '.join(feature.new_categories[:3])}")
    return ", ".join(parts)


def _caveats(features: Sequence[FeatureDrift], rows: int, significance: float) -> list[str]:
    caveats = []
    if rows < FEW_ROWS:
        caveats.append(f"only {rows} rows: just a large difference can be told from chance")
    if len(features) * 2 / (REPLICATES + 1) > significance:
        caveats.append(f"{len(features)} features: a drift of one alone cannot be significant at {significance:g}")
    dependent = [feature.name for feature in features if feature.effective_rows < rows / 10 and rows >= FEW_ROWS]
    if dependent:
        names = ", ".join(dependent[:3])
        caveats.append(f"neighbouring rows of {names} depend strongly; the rows are worth few independent ones")
    return caveats
