"""Summary and caveats of a drift report as sentences."""

from collections.abc import Iterator, Sequence

from modelward.drift import FeatureDrift, JointDrift
from modelward.shared.figures import beside, in_words, percent

FEW_ROWS = 10
NAMED = 3
"""Maximum number of features that a sentence names."""


def summary(features: Sequence[FeatureDrift], joint: JointDrift, confidence: float) -> str:
    """Return the summary of a drift report.

    Args:
        features: drifted features first, each group sorted by effect, largest first.
    """
    drifted = [feature for feature in features if feature.drifted]
    if not drifted and not joint.drifted:
        nearest = features[0]
        return f"No drift. The feature closest to its thresholds is {nearest.name}: {_in_words(nearest)}."
    sure = f"with a confidence of {in_words(percent(confidence))}"
    if not drifted:
        return f"Joint drift of the features, {sure}, but of no single feature: {_joint_in_words(joint)}."
    descriptions = "; ".join(f"{feature.name}: {_in_words(feature)}" for feature in drifted[:NAMED])
    more = f" and {len(drifted) - NAMED} more" if len(drifted) > NAMED else ""
    together = f" Joint test: {_joint_in_words(joint)}." if joint.drifted else ""
    return f"Drift in {len(drifted)} of {len(features)} features, {sure}. {descriptions}{more}.{together}"


def _in_words(feature: FeatureDrift) -> str:
    parts = [
        f"KS {_with_threshold(feature.ks, feature.ks_threshold)}",
        f"KL {_with_threshold(feature.kl, feature.kl_threshold)}",
    ]
    if feature.wasserstein >= feature.wasserstein_threshold > 0:
        distance = _with_threshold(feature.wasserstein, feature.wasserstein_threshold, " standard deviations")
        parts.append(f"Wasserstein distance {distance}")
    if feature.missing_share != feature.reference_missing_share:
        now, before = beside(feature.missing_share, feature.reference_missing_share, percent)
        parts.append(f"missing in {in_words(now)} of the rows, in the reference in {in_words(before)}")
    if feature.new_categories:
        parts.append(f"new categories: {', '.join(feature.new_categories[:NAMED])}")
    return ", ".join(parts)


def _joint_in_words(joint: JointDrift) -> str:
    auc = _with_threshold(joint.auc, joint.auc_threshold)
    return f"a classifier separates live rows from the reference with an AUC of {auc}"


def _with_threshold(value: float, threshold: float, unit: str = "") -> str:
    value_text, threshold_text = beside(value, threshold)
    return f"{value_text}{unit} (threshold {threshold_text})"


def caveats(features: Sequence[FeatureDrift], rows: int, unknown_features: Sequence[str]) -> Iterator[str]:
    """Yield the caveats of a drift report.

    Args:
        unknown_features: features with thresholds that the reference does not contain.
    """
    if rows < FEW_ROWS:
        yield f"only {rows} row{'s' * (rows > 1)}: only a large difference can be statistically significant"
    dependent = [f.name for f in features if f.effective_rows < rows / 10 and rows >= FEW_ROWS]
    if dependent:
        names = ", ".join(dependent[:NAMED])
        yield f"strong autocorrelation of {names}: the effective sample size is small"
    empty = [feature.name for feature in features if feature.missing_share == 1]
    if empty:
        yield f"all values of {', '.join(empty[:NAMED])} are missing; only the missing share can be compared"
    if unknown_features:
        names = ", ".join(unknown_features[:NAMED])
        yield f"the policy has thresholds for {names}, which the reference does not contain"
