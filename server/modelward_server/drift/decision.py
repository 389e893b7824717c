"""What counts as drift, how far it goes, and how sure that is.

A feature drifted when an effect size, the Kolmogorov-Smirnov statistic, the Kullback-Leibler divergence, the
Wasserstein distance or the change of the missing share, reaches its threshold, and when the difference is significant
at the accepted rate of false discoveries among the features. The p-value comes from stretches of the reference itself
(`null.py`), so it knows how neighbouring rows depend. All features drifted together when a classifier tells live rows
from reference rows well, and the difference is significant in the same way.

The score measures the effect: 1 - 2 ** -(effect / threshold), so 0.5 at the threshold. The confidence measures the
certainty: one less the probability that stretches of the reference differ so much in at least one feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import scipy

from modelward.drift import DriftThresholds, FeatureDrift, FeatureKind, FeatureThresholds, JointDrift
from modelward_server.drift.compare import Comparison, JointComparison, TableComparison
from modelward_server.drift.summary import caveats, summary
from modelward_server.statistics.null_distribution import sidak_p_value

DEFAULT_KS = 0.2
"""A fifth of the probability lies elsewhere; below, a model rarely notices."""
DEFAULT_KL = 0.2
"""In nats; near the 0.25 of the population stability index that credit risk calls a major shift (Siddiqi, 2006)."""
DEFAULT_MISSING = 0.1
DEFAULT_WASSERSTEIN = 0.5
"""Half a standard deviation: of normal values that are shifted so far, Kolmogorov-Smirnov is 0.2."""
DEFAULT_AUC = 0.75
"""Half-way between telling nothing apart and telling everything."""
DEFAULT_SIGNIFICANCE = 0.05
NULLS = ("values", "rows")


@dataclass(frozen=True)
class Decision:
    """What a comparison of all features comes to."""

    drift_detected: bool
    score: float
    confidence: float
    drivers: tuple[str, ...]
    features: tuple[FeatureDrift, ...]
    joint: JointDrift
    summary: str
    caveats: tuple[str, ...]


def decide(compared: TableComparison, thresholds: DriftThresholds) -> Decision:
    """Decide about every feature and about all together."""
    thresholds = with_defaults(thresholds)
    counted = [not _own(thresholds, feature.name).ignored for feature in compared.features]
    *adjusted, together = _adjusted(compared, counted)
    judged = [_judge(f, thresholds, p, c) for f, p, c in zip(compared.features, adjusted, counted, strict=True)]
    joint = _judge_joint(compared.joint, thresholds, together)
    deciding = [feature for feature, counts in zip(judged, counted, strict=True) if counts]
    judged.sort(key=lambda feature: (not feature.drifted, -feature.score, feature.name))
    drivers = tuple(feature.name for feature in judged if feature.drifted)
    confidence = _confidence(deciding, compared)
    return Decision(
        drift_detected=bool(drivers) or joint.drifted,
        score=max([feature.score for feature in deciding] + [_joint_score(joint)] * joint.drifted, default=0.0),
        confidence=confidence,
        drivers=drivers,
        features=tuple(judged),
        joint=joint,
        summary=summary(judged, joint, confidence),
        caveats=tuple(caveats(deciding, compared.rows, _strangers(compared, thresholds))),
    )


def with_defaults(thresholds: DriftThresholds) -> DriftThresholds:
    """Fill in what was left out."""
    return DriftThresholds(
        ks=DEFAULT_KS if thresholds.ks is None else thresholds.ks,
        kl=DEFAULT_KL if thresholds.kl is None else thresholds.kl,
        significance=DEFAULT_SIGNIFICANCE if thresholds.significance is None else thresholds.significance,
        features=thresholds.features,
        missing=DEFAULT_MISSING if thresholds.missing is None else thresholds.missing,
        auc=DEFAULT_AUC if thresholds.auc is None else thresholds.auc,
        wasserstein=DEFAULT_WASSERSTEIN if thresholds.wasserstein is None else thresholds.wasserstein,
    )


def _judge(compared: Comparison, thresholds: DriftThresholds, adjusted: float, counts: bool) -> FeatureDrift:
    own, significance = _own(thresholds, compared.name), _known(thresholds.significance)
    least = compared.critical(significance)
    ks = max(_known(own.ks, thresholds.ks), least.ks)
    kl = max(_known(own.kl, thresholds.kl), least.kl)
    missing = max(_known(own.missing, thresholds.missing), least.missing)
    wasserstein = max(_known(own.wasserstein, thresholds.wasserstein), least.wasserstein)
    change = abs(compared.missing_share - compared.reference_missing_share)
    reached = max(compared.ks / ks, compared.kl / kl, change / missing, compared.wasserstein / wasserstein)
    measured = {f.name: getattr(compared, f.name) for f in fields(compared) if f.name not in NULLS}
    return FeatureDrift(
        **measured,
        drifted=counts and reached >= 1 and adjusted <= significance,
        score=float(1 - 2**-reached),
        ks_threshold=ks,
        kl_threshold=kl,
        missing_threshold=missing,
        wasserstein_threshold=wasserstein if compared.kind is FeatureKind.NUMBER else 0.0,
        adjusted_p_value=adjusted,
    )


def _judge_joint(compared: JointComparison, thresholds: DriftThresholds, adjusted: float) -> JointDrift:
    threshold = _known(thresholds.auc)
    return JointDrift(
        drifted=compared.auc >= threshold and adjusted <= _known(thresholds.significance),
        auc=compared.auc,
        auc_threshold=threshold,
        mmd=compared.mmd,
        p_value=compared.p_value,
        rows=compared.rows,
    )


def _joint_score(joint: JointDrift) -> float:
    return float(1 - 2 ** -((joint.auc - 0.5) / (joint.auc_threshold - 0.5)))


def _adjusted(compared: TableComparison, counted: Sequence[bool]) -> list[float]:
    """Control the false discovery rate (Benjamini and Hochberg, 1995) among what counts.

    Returns:
        the adjusted p-values of the features and, at the end, that of all features together.
    """
    adjusted = np.array([*(feature.p_value for feature in compared.features), compared.joint.p_value])
    mask = np.array([*counted, _joined(compared)])
    if mask.any():
        adjusted[mask] = scipy.stats.false_discovery_control(adjusted[mask])
    return [float(p) for p in adjusted]


def _joined(compared: TableComparison) -> bool:
    """Say whether what was found of all features together is one more test: its null knows no ignored features."""
    return compared.joint.rows > 0 and compared.joint.of_all


def _confidence(deciding: Sequence[FeatureDrift], compared: TableComparison) -> float:
    together = _joined(compared)
    least = min([feature.p_value for feature in deciding] + [compared.joint.p_value] * together, default=1.0)
    tests = max(min(compared.tests, float(len(deciding))), 1.0) + together
    return 1.0 - sidak_p_value(least, tests)


def _strangers(compared: TableComparison, thresholds: DriftThresholds) -> list[str]:
    """Return names that the thresholds know and the reference does not."""
    return sorted(set(thresholds.features) - {feature.name for feature in compared.features})


def _own(thresholds: DriftThresholds, feature: str) -> FeatureThresholds:
    return thresholds.features.get(feature, FeatureThresholds())


def _known(*values: float | None) -> float:
    return next(value for value in values if value is not None)
