"""Decide which features drifted, with a score and a confidence.

A feature drifted if an effect size (the Kolmogorov-Smirnov statistic, the Kullback-Leibler divergence, the Wasserstein
distance or the change of the missing share) reaches its threshold, and the difference is significant at the accepted
false discovery rate among the features. The p-value is computed against segments of the reference itself
(`statistics/null_distribution.py`), so it accounts for the dependence of neighbouring rows. All features drifted
together if the difference is significant in the same way, and a classifier, which is trained only then, separates live
rows from reference rows well.

The score measures the effect: 1 - 2 ** -(effect / threshold), which is 0.5 at the threshold. The confidence measures
the
certainty: one minus the probability that segments of the reference differ as much in at least one feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import scipy

from modelward.drift import DriftThresholds, FeatureDrift, FeatureKind, FeatureThresholds, JointDrift
from modelward_server.drift.compare import FeatureComparison, JointComparison, TableComparison
from modelward_server.drift.summary import caveats, summary
from modelward_server.statistics.null_distribution import sidak_p_value

DEFAULT_KS = 0.2
"""The distribution functions differ by 0.2; smaller differences rarely affect a model."""
DEFAULT_KL = 0.2
"""In nats; near the 0.25 of the population stability index that credit risk calls a major shift (Siddiqi, 2006)."""
DEFAULT_MISSING = 0.1
DEFAULT_WASSERSTEIN = 0.5
"""Half a standard deviation: for normal values shifted by that, the Kolmogorov-Smirnov statistic is 0.2."""
DEFAULT_AUC = 0.75
"""Half-way between no separation (0.5) and perfect separation (1)."""
DEFAULT_SIGNIFICANCE = 0.05
NOT_MEASURED = 0.0
"""The area under the ROC curve where no classifier was trained."""
NULL_FIELDS = ("values", "rows")


@dataclass(frozen=True)
class Decision:
    """The decision about drift, from the comparison of all features."""

    drift_detected: bool
    score: float
    confidence: float
    drivers: tuple[str, ...]
    features: tuple[FeatureDrift, ...]
    joint: JointDrift
    summary: str
    caveats: tuple[str, ...]


def decide(compared: TableComparison, thresholds: DriftThresholds) -> Decision:
    """Decide for every feature, and for all features together, whether it drifted.

    Args:
        compared: the statistics of the table.
        thresholds: the thresholds of the model; the defaults apply where none is set.
    """
    thresholds = with_defaults(thresholds)
    counts_towards_drift = [not _own_thresholds(thresholds, feature.name).ignored for feature in compared.features]
    *adjusted, together = _adjusted_p_values(compared, counts_towards_drift)
    judged = [
        _judge_feature(f, thresholds, p, c)
        for f, p, c in zip(compared.features, adjusted, counts_towards_drift, strict=True)
    ]
    joint = _judge_joint(compared.joint, thresholds, together)
    deciding = [feature for feature, counts in zip(judged, counts_towards_drift, strict=True) if counts]
    judged.sort(key=lambda feature: (not feature.drifted, -feature.score, feature.name))
    drivers = tuple(feature.name for feature in judged if feature.drifted)
    confidence = _confidence(deciding, compared)
    return Decision(
        drift_detected=bool(drivers) or joint.drifted,
        score=max([one.score for one in deciding] + ([_joint_score(joint)] if joint.drifted else []), default=0.0),
        confidence=confidence,
        drivers=drivers,
        features=tuple(judged),
        joint=joint,
        summary=summary(judged, joint, confidence),
        caveats=tuple(caveats(deciding, compared.rows, _unknown_features(compared, thresholds))),
    )


def with_defaults(thresholds: DriftThresholds) -> DriftThresholds:
    """Return thresholds with the defaults where none is set."""
    return DriftThresholds(
        ks=DEFAULT_KS if thresholds.ks is None else thresholds.ks,
        kl=DEFAULT_KL if thresholds.kl is None else thresholds.kl,
        significance=DEFAULT_SIGNIFICANCE if thresholds.significance is None else thresholds.significance,
        features=thresholds.features,
        missing=DEFAULT_MISSING if thresholds.missing is None else thresholds.missing,
        auc=DEFAULT_AUC if thresholds.auc is None else thresholds.auc,
        wasserstein=DEFAULT_WASSERSTEIN if thresholds.wasserstein is None else thresholds.wasserstein,
    )


def _judge_feature(
    compared: FeatureComparison, thresholds: DriftThresholds, adjusted: float, counts: bool
) -> FeatureDrift:
    own, significance = _own_thresholds(thresholds, compared.name), _first_set(thresholds.significance)
    critical = compared.critical(significance)
    ks = max(_first_set(own.ks, thresholds.ks), critical.ks)
    kl = max(_first_set(own.kl, thresholds.kl), critical.kl)
    missing = max(_first_set(own.missing, thresholds.missing), critical.missing)
    wasserstein = max(_first_set(own.wasserstein, thresholds.wasserstein), critical.wasserstein)
    change = abs(compared.missing_share - compared.reference_missing_share)
    effect = max(compared.ks / ks, compared.kl / kl, change / missing, compared.wasserstein / wasserstein)
    measured = {f.name: getattr(compared, f.name) for f in fields(compared) if f.name not in NULL_FIELDS}
    return FeatureDrift(
        **measured,
        drifted=counts and effect >= 1 and adjusted <= significance,
        score=float(1 - 2**-effect),
        ks_threshold=ks,
        kl_threshold=kl,
        missing_threshold=missing,
        wasserstein_threshold=wasserstein if compared.kind is FeatureKind.NUMBER else 0.0,
        adjusted_p_value=adjusted,
    )


def _judge_joint(compared: JointComparison, thresholds: DriftThresholds, adjusted: float) -> JointDrift:
    """Judge all features together; the classifier is trained only where its area can count.

    The adjusted p-value is no smaller than the p-value, whichever features are ignored.
    """
    threshold, significance = _first_set(thresholds.auc), _first_set(thresholds.significance)
    auc = compared.auc if compared.rows and compared.p_value <= significance else NOT_MEASURED
    return JointDrift(
        drifted=auc >= threshold and adjusted <= significance,
        auc=auc,
        auc_threshold=threshold,
        mmd=compared.mmd,
        p_value=compared.p_value,
        rows=compared.rows,
    )


def _joint_score(joint: JointDrift) -> float:
    return float(1 - 2 ** -((joint.auc - 0.5) / (joint.auc_threshold - 0.5)))


def _adjusted_p_values(compared: TableComparison, counts_towards_drift: Sequence[bool]) -> list[float]:
    """Control the false discovery rate (Benjamini and Hochberg, 1995) among the tests that count.

    Returns:
        The adjusted p-values of the features, followed by that of all features together.
    """
    adjusted = np.array([*(feature.p_value for feature in compared.features), compared.joint.p_value])
    mask = np.array([*counts_towards_drift, _joined(compared)])
    if mask.any():
        adjusted[mask] = scipy.stats.false_discovery_control(adjusted[mask])
    return [float(p) for p in adjusted]


def _joined(compared: TableComparison) -> bool:
    """Return whether the joint comparison is an additional test: its null distribution includes ignored features."""
    return compared.joint.rows > 0 and compared.joint.of_all


def _confidence(deciding: Sequence[FeatureDrift], compared: TableComparison) -> float:
    together = _joined(compared)
    least = min([feature.p_value for feature in deciding] + [compared.joint.p_value] * together, default=1.0)
    tests = max(min(compared.tests, float(len(deciding))), 1.0) + together
    return 1.0 - sidak_p_value(least, tests)


def _unknown_features(compared: TableComparison, thresholds: DriftThresholds) -> list[str]:
    """Return the features for which there are thresholds but which the reference lacks."""
    return sorted(set(thresholds.features) - {feature.name for feature in compared.features})


def _own_thresholds(thresholds: DriftThresholds, feature: str) -> FeatureThresholds:
    return thresholds.features.get(feature, FeatureThresholds())


def _first_set(*values: float | None) -> float:
    return next(value for value in values if value is not None)
