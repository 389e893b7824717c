"""Drift: what is known of reference data, and how live data compare with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from modelward.lifecycle import VersionRef

DEFAULT_REFERENCE = "default"
"""The name of the reference that is meant when none is named."""


class FeatureKind(StrEnum):
    """What kind of values a feature has."""

    NUMBER = "number"
    CATEGORY = "category"


@dataclass(frozen=True)
class FeatureProfile:
    """What is known of one feature of a reference."""

    name: str
    kind: FeatureKind
    missing_share: float
    """The share of rows in which it is missing, from 0 to 1."""
    mean: float
    """Of the finite values, as all that follows; 0 for categories."""
    standard_deviation: float
    minimum: float
    maximum: float
    bin_edges: tuple[float, ...]
    """The edges between the bins of the reference's quantiles; none for categories."""
    categories: Mapping[str, float]
    """Each category's share, the most frequent first, 100 at the most; none for numbers."""
    effective_rows: float
    """How many independent rows the reference is worth."""


@dataclass(frozen=True)
class Reference:
    """What is known of a version's reference data."""

    version: VersionRef
    name: str
    rows: int
    features: tuple[FeatureProfile, ...]
    created_at: datetime
    created_by: str
    digest: str
    """SHA-256 of the stored profile."""
    ignored_columns: tuple[str, ...] = ()
    """Columns that are no features, which live data may have or not: those that were named so, and times."""


@dataclass(frozen=True)
class FeatureThresholds:
    """The thresholds of one feature; what is None is that of the policy."""

    ks: float | None = None
    kl: float | None = None
    ignored: bool = False
    """Whether the feature is left out of the decision; its statistics are reported all the same."""
    missing: float | None = None
    wasserstein: float | None = None


@dataclass(frozen=True)
class DriftThresholds:
    """What counts as drift; what is None has its default."""

    ks: float | None = None
    """For the Kolmogorov-Smirnov statistic, in (0, 1]."""
    kl: float | None = None
    """For the Kullback-Leibler divergence, in nats."""
    significance: float | None = None
    """The rate of false discoveries that is accepted among the features, in (0, 1)."""
    features: Mapping[str, FeatureThresholds] = field(default_factory=dict)
    missing: float | None = None
    """For the change of the share of rows in which a feature is missing, in (0, 1]."""
    auc: float | None = None
    """For how well a classifier tells live rows from reference rows, in (0.5, 1]."""
    wasserstein: float | None = None
    """For the Wasserstein distance, in standard deviations of the reference."""


@dataclass(frozen=True)
class DriftPolicy:
    """What counts as drift of a model."""

    model: str
    thresholds: DriftThresholds
    etag: str = ""


@dataclass(frozen=True)
class Histogram:
    """How values are distributed; the shares of each side add up to 1, unless all values are missing."""

    edges: tuple[float, ...] = ()
    """Between bins, one fewer than bins: the first and the last bin are open. None for categories."""
    categories: tuple[str, ...] = ()
    """The most frequent of the reference first; the last may be "(other)". None for numbers."""
    live: tuple[float, ...] = ()
    reference: tuple[float, ...] = ()


@dataclass(frozen=True)
class FeatureDrift:
    """How one feature compares with the reference."""

    name: str
    kind: FeatureKind
    drifted: bool
    score: float
    """How far it is from the reference, from 0 to 1; 0.5 at its threshold."""
    ks: float
    """The Kolmogorov-Smirnov statistic; for categories the total variation distance. From 0 to 1."""
    ks_threshold: float
    """What it must reach to count: the policy's, or more where stretches of the reference wander further."""
    ks_p_value: float
    """The p-value if all rows were independent."""
    ks_method: str
    """How that was computed: `exact`, `asymptotic` or `limit` by the number of rows; `chi-square` for categories."""
    kl: float
    """The Kullback-Leibler divergence D(live || reference), in nats."""
    kl_threshold: float
    kl_reverse: float
    """D(reference || live), in nats."""
    js: float
    """The Jensen-Shannon divergence, in nats."""
    psi: float
    """The population stability index."""
    wasserstein: float
    """The Wasserstein distance, in standard deviations of the reference; 0 for categories."""
    p_value: float
    """How often stretches of the reference differ from it at least so much, by the block bootstrap."""
    adjusted_p_value: float
    """`p_value` after control of the false discovery rate over all features."""
    effective_rows: float
    """How many independent rows the live data are worth."""
    missing_share: float
    reference_missing_share: float
    out_of_range_share: float
    """The share of live values outside the reference's range, or in no category of it."""
    new_categories: tuple[str, ...] = ()
    vanished_categories: tuple[str, ...] = ()
    chi_square: float = 0.0
    """Pearson's statistic of the categories; 0 for numbers."""
    missing_threshold: float = 1.0
    """What the change of the missing share must reach to count."""
    histogram: Histogram = Histogram()
    wasserstein_threshold: float = 0.0
    """What the Wasserstein distance must reach to count; 0 for categories."""


@dataclass(frozen=True)
class ReferenceDistance:
    """How near one of a version's references is."""

    name: str
    drift_detected: bool
    score: float
    confidence: float
    distance: float
    """The mean over the features of the Kolmogorov-Smirnov statistic, from 0 to 1."""


@dataclass(frozen=True)
class JointDrift:
    """How the features compare together."""

    drifted: bool = False
    auc: float = 0.5
    """How well a classifier tells live rows from reference rows, from 0.5 (not) to 1 (always)."""
    auc_threshold: float = 1.0
    mmd: float = 0.0
    """The squared maximum mean discrepancy."""
    p_value: float = 1.0
    """How often stretches of the reference show at least so much, by the block bootstrap."""
    rows: int = 0
    """How many live rows were looked at."""


@dataclass(frozen=True)
class DriftReport:
    """How a table compares with a reference."""

    report_id: str
    version: VersionRef
    reference: str
    label: str
    created_at: datetime
    created_by: str
    rows: int
    reference_rows: int
    drift_detected: bool
    score: float
    """How far the data are from the reference, from 0 to 1; 0.5 where the strongest feature is at its threshold."""
    confidence: float
    """One less the probability that stretches of the reference would differ so much by themselves."""
    drivers: tuple[str, ...]
    """The features that drifted, the strongest first."""
    summary: str
    features: tuple[FeatureDrift, ...]
    """Each feature, the strongest first."""
    caveats: tuple[str, ...]
    """What limits the finding, in words."""
    references: tuple[ReferenceDistance, ...] = ()
    """How near the version's references are, the nearest first; just the one that was named when one was."""
    joint: JointDrift = JointDrift()
    """How the features compare together."""

    @property
    def nearest_reference(self) -> str:
        """Return the name of the nearest reference, as "calm" or "crisis"."""
        return self.references[0].name if self.references else self.reference

    def feature(self, name: str) -> FeatureDrift:
        """Return one feature's comparison.

        Raises:
            KeyError: the report has no such feature.
        """
        found = {feature.name: feature for feature in self.features}
        return found[name]


@dataclass(frozen=True)
class Observed:
    """What became of live data."""

    acknowledged: int
    """The number of the last batch that is kept and survives a restart."""
    reports: tuple[DriftReport, ...] = ()
    """Of the windows that closed."""
    alarm: bool = False
    """Whether one of them raised an alarm."""
    sequential_evidence: float = 0.0
    """What a detector of every row says between the windows, from 0 to 1: one less the probability that rows which are
    exchangeable with the reference would ever look so."""


@dataclass(frozen=True)
class Outcome:
    """A prediction, the label that came for it, or both."""

    prediction_id: str
    prediction: float | None = None
    probability: float | None = None
    """How probable the predicted class was said to be, from 0 to 1."""
    predicted_at: datetime | None = None
    """None: when the server got it."""
    label: float | None = None
    labelled_at: datetime | None = None
    """None: when the server got it."""


@dataclass(frozen=True)
class RecordedOutcomes:
    """What was kept."""

    predictions: int
    """How many were new."""
    labels: int
    """How many were joined to a prediction."""
    waiting: int
    """How many of the labels that were sent wait for their prediction."""


@dataclass(frozen=True)
class Performance:
    """How a version performed in one period."""

    start: datetime
    end: datetime
    """The instant after its last."""
    predictions: int
    matured: int
    """Predictions that are as old as the horizon."""
    labelled: int
    """Matured predictions whose label has come."""
    metrics: Mapping[str, float]
    """On those: accuracy, log_loss, brier, roc_auc of classes; mae, rmse, r2 of numbers. None without a label."""
    estimated: bool
    """Whether the metrics are an estimate without labels, from calibrated probabilities."""
    calibration_error: float | None
    """The expected calibration error, from 0 to 1; None without probabilities and labels."""
    declined: bool
    """Whether the version was found to have declined in it."""

    @property
    def coverage(self) -> float:
        """Return the share of the matured predictions whose label has come; 0 while none is matured."""
        return self.labelled / self.matured if self.matured else 0.0
