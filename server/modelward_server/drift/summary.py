"""A finding in plain words: which features drive it, and what limits it."""

from collections.abc import Iterator, Sequence

from modelward.drift import FeatureDrift, JointDrift
from modelward.shared.figures import beside, in_words, percent

FEW_ROWS = 10
NAMED = 3
"""Features that the summary speaks of."""


def summary(features: Sequence[FeatureDrift], joint: JointDrift, confidence: float) -> str:
    """Say what was found.

    Args:
        features: those that drifted first, the strongest first.
    """
    drifted = [feature for feature in features if feature.drifted]
    if not drifted and not joint.drifted:
        nearest = features[0]
        return f"No drift. The nearest to it is {nearest.name}: {_in_words(nearest)}."
    sure = f"with a confidence of {in_words(percent(confidence))}"
    if not drifted:
        return f"Drift of the features together, {sure}, though of none by itself: {_joint_in_words(joint)}."
    said = "; ".join(f"{feature.name}: {_in_words(feature)}" for feature in drifted[:NAMED])
    more = f" and {len(drifted) - NAMED} more" if len(drifted) > NAMED else ""
    together = f" Together: {_joint_in_words(joint)}." if joint.drifted else ""
    return f"Drift in {len(drifted)} of {len(features)} features, {sure}. {said}{more}.{together}"


def _in_words(feature: FeatureDrift) -> str:
    parts = [
        f"KS {_with_threshold(feature.ks, feature.ks_threshold)}",
        f"KL {_with_threshold(feature.kl, feature.kl_threshold)}",
    ]
    if feature.wasserstein >= feature.wasserstein_threshold > 0:
        parts.append(f"moved by {_with_threshold(feature.wasserstein, feature.wasserstein_threshold, ' deviations')}")
    if feature.missing_share != feature.reference_missing_share:
        now, before = beside(feature.missing_share, feature.reference_missing_share, percent)
        parts.append(f"missing in {in_words(now)} of the rows, before in {in_words(before)}")
    if feature.new_categories:
        parts.append(f"new: {', '.join(feature.new_categories[:NAMED])}")
    return ", ".join(parts)


def _joint_in_words(joint: JointDrift) -> str:
    auc = _with_threshold(joint.auc, joint.auc_threshold)
    return f"live rows are told from the reference with an AUC of {auc}"


def _with_threshold(value: float, threshold: float, unit: str = "") -> str:
    value_text, threshold_text = beside(value, threshold)
    return f"{value_text}{unit} (threshold {threshold_text})"


def caveats(features: Sequence[FeatureDrift], rows: int, strangers: Sequence[str]) -> Iterator[str]:
    """Say what limits the finding.

    Args:
        strangers: features that the thresholds name and the reference lacks.
    """
    if rows < FEW_ROWS:
        yield f"only {rows} row{'s' * (rows > 1)}: just a large difference can be told from chance"
    dependent = [f.name for f in features if f.effective_rows < rows / 10 and rows >= FEW_ROWS]
    if dependent:
        names = ", ".join(dependent[:NAMED])
        yield f"neighbouring rows of {names} depend strongly; the rows are worth few independent ones"
    empty = [feature.name for feature in features if feature.missing_share == 1]
    if empty:
        yield f"no value of {', '.join(empty[:NAMED])} is there; just that it is missing can be told"
    if strangers:
        yield f"the policy has thresholds of {', '.join(strangers[:NAMED])}, which the reference lacks"
