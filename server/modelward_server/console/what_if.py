"""Whether a drift report would have found drift at other limits."""

from collections.abc import Set
from dataclasses import dataclass

import scipy

from modelward.drift import DriftReport, FeatureDrift, JointDrift

ROUNDING = 1e-12
"""Differences of a confidence that are no more than rounding errors."""


@dataclass(frozen=True)
class Limits:
    """From where on a difference counts as drift."""

    score: float
    """The score from which a feature's effect counts; 0.5 is its threshold."""
    confidence: float
    """One minus the accepted false discovery rate."""
    ignored: Set[str]
    """Features that do not count."""


def would_alarm(report: DriftReport, limits: Limits) -> bool:
    """Return whether a report would have found drift, by the same rules as when it was made but at other limits.

    Args:
        report: the report. Its p-values do not depend on the limits; its scores are relative to thresholds of its time.
        limits: the score, the confidence and the ignored features to decide by.
    """
    deciding = [feature for feature in report.features if feature.name not in limits.ignored]
    return any(_counts(one.score, one.adjusted_p_value, limits) for one in deciding) or _joint(
        report.joint, deciding, limits
    )


def _counts(score: float, p_value: float, limits: Limits) -> bool:
    return score >= limits.score and p_value + limits.confidence <= 1 + ROUNDING


def _joint(joint: JointDrift, deciding: list[FeatureDrift], limits: Limits) -> bool:
    """Return whether all features together would have drifted.

    Nothing was examined where `rows` is 0. Without an area their difference was not significant when the report was
    made; whether they would have drifted at less confidence is unknown, and taken as no.
    """
    if not joint.rows or not joint.auc:
        return False
    score = 1 - 2 ** -((joint.auc - 0.5) / (joint.auc_threshold - 0.5))
    adjusted = scipy.stats.false_discovery_control([*(one.p_value for one in deciding), joint.p_value])
    return _counts(score, float(adjusted[-1]), limits)
