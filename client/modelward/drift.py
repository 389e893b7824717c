"""Dataclasses of drift detection: profiles of reference data, and comparisons of live data with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from modelward._given import check_given
from modelward._record import Record, TableRecord, brief, counted, quoted, sentence
from modelward.lifecycle import VersionRef
from modelward.segments import Regime, SegmentAdjustment
from modelward.shared.figures import metric, p_equals, percent, score, statistic
from modelward.shared.suggestions import nearest

DEFAULT_REFERENCE = "default"
"""The name of the default reference."""


@dataclass(frozen=True, repr=False)
class TimeWindow(Record):
    """The times and groups of rows that are sorted by them."""

    time_column: str
    """The column with the time of each row."""
    group_column: str
    """The column with the group of each row, such as its symbol; empty when each time has one row."""
    first: str
    """The first time: a date or time of ISO 8601 in UTC, or an integer."""
    last: str
    """The last time."""
    times: int
    """Number of distinct times."""
    groups: int = 0
    """Number of groups; 0 without a group column."""

    def _describe(self) -> str:
        groups = counted(self.groups, "group") if self.group_column else ""
        return sentence(f"{self.first} to {self.last}", counted(self.times, "time"), groups)


class FeatureKind(StrEnum):
    """The kind of a feature's values."""

    NUMBER = "number"
    """Numbers."""
    CATEGORY = "category"
    """Text or booleans."""


@dataclass(frozen=True, repr=False)
class FeatureProfile(Record):
    """The profile of one feature of a reference."""

    name: str
    """The feature's name."""
    kind: FeatureKind
    """The kind of its values."""
    missing_share: float
    """The share of rows in which it is missing, from 0 to 1."""
    mean: float
    """Mean of the finite values, on which the next three fields are based, too; 0 for categories."""
    standard_deviation: float
    """Their standard deviation; 0 for categories."""
    minimum: float
    """Their minimum; 0 for categories."""
    maximum: float
    """Their maximum; 0 for categories."""
    bin_edges: tuple[float, ...]
    """The edges between the bins of the reference's quantiles; none for categories."""
    categories: Mapping[str, float]
    """Each category's share, the most frequent first, at most 100; none for numbers."""
    effective_rows: float
    """Effective sample size of the reference, in rows."""

    def _describe(self) -> str:
        numbers = f"mean {metric(self.mean)}, standard deviation {metric(self.standard_deviation)}"
        values = f"{len(self.categories)} categories" if self.kind is FeatureKind.CATEGORY else numbers
        return f"{quoted(self.name)}: {values}, {percent(self.missing_share)} missing"


@dataclass(frozen=True, repr=False)
class ReferenceSegment(Record):
    """A segment of a reference's rows, which has a profile of its own."""

    column: str
    """The column whose value it is."""
    name: str
    """The value."""
    rows: int
    """Number of its rows."""
    digest: str
    """SHA-256 of the stored profile."""


@dataclass(frozen=True, repr=False)
class Reference(TableRecord):
    """The profile of a version's reference data."""

    version: VersionRef
    """The version that it belongs to."""
    name: str
    """Its name: `default`, or that of a regime, such as `crisis`."""
    rows: int
    """Number of rows."""
    features: tuple[FeatureProfile, ...]
    """Its features, in the order of the data's columns."""
    created_at: datetime
    """When it was set, in UTC."""
    created_by: str
    """Who set it."""
    digest: str
    """SHA-256 of the stored profile."""
    ignored_columns: tuple[str, ...] = ()
    """Columns that are not features and that live data may contain: those declared so, and times."""
    window: TimeWindow | None = None
    """The times and groups of its rows; None when they were taken to be in order of time."""
    regime: Regime | None = None
    """The regime of which its rows are; None for no particular one. Live rows of other sessions are left out."""
    segments: tuple[ReferenceSegment, ...] = ()
    """The segments whose rows have a profile of their own."""

    def _describe(self) -> str:
        size = sentence(counted(len(self.features), "feature"), counted(self.rows, "row"))
        return f"{quoted(self.name)} of {quoted(self.version)}: {size}"

    def _rows(self) -> Sequence[FeatureProfile]:
        return self.features


@dataclass(frozen=True, repr=False)
class FeatureThresholds(Record):
    """The thresholds of one feature; None means the policy's threshold."""

    ks: float | None = None
    """For the Kolmogorov-Smirnov statistic, in (0, 1]."""
    kl: float | None = None
    """For the Kullback-Leibler divergence, in nats."""
    ignored: bool = False
    """Whether the feature is excluded from the decision; its statistics are still reported."""
    missing: float | None = None
    """For the change in the share of rows in which it is missing, in (0, 1]."""
    wasserstein: float | None = None
    """For the Wasserstein distance, in standard deviations of the reference."""


@dataclass(frozen=True, repr=False)
class DriftThresholds(Record):
    """Drift thresholds; None means the default."""

    ks: float | None = None
    """For the Kolmogorov-Smirnov statistic, in (0, 1]."""
    kl: float | None = None
    """For the Kullback-Leibler divergence, in nats."""
    significance: float | None = None
    """The accepted false discovery rate among the features, in (0, 1)."""
    features: Mapping[str, FeatureThresholds] = field(default_factory=dict)
    """Thresholds of single features by name, in place of those of the policy."""
    missing: float | None = None
    """For the change in the share of rows in which a feature is missing, in (0, 1]."""
    auc: float | None = None
    """For the AUC of a classifier that separates live rows from reference rows, in (0.5, 1]."""
    wasserstein: float | None = None
    """For the Wasserstein distance, in standard deviations of the reference."""


@dataclass(frozen=True, repr=False)
class DriftPolicy(Record):
    """A model's drift policy."""

    model: str
    """The model's name."""
    thresholds: DriftThresholds
    """The thresholds of all its comparisons."""
    etag: str = ""
    """Changes with every change of the policy; pass it with a change to detect concurrent ones."""


@dataclass(frozen=True, repr=False)
class Histogram(Record):
    """The distribution of values on both sides; the shares of each side add up to 1, unless all values are missing."""

    edges: tuple[float, ...] = ()
    """Between bins, one fewer than bins: the first and the last bin are open. None for categories."""
    categories: tuple[str, ...] = ()
    """The most frequent of the reference first; the last may be "(other)". None for numbers."""
    live: tuple[float, ...] = ()
    """Share of the non-missing live values in each bin or category, from 0 to 1."""
    reference: tuple[float, ...] = ()
    """The same shares in the reference."""

    def _describe(self) -> str:
        return f"{len(self.live)} {'categories' if self.categories else 'bins'}"


@dataclass(frozen=True, repr=False)
class FeatureDrift(Record):
    """The comparison of one feature with the reference."""

    name: str
    """The feature's name."""
    kind: FeatureKind
    """The kind of its values."""
    drifted: bool
    """Whether it drifted: an effect size is at its threshold, and the difference is significant."""
    score: float
    """Distance from the reference, from 0 to 1; 0.5 at its threshold."""
    ks: float
    """The Kolmogorov-Smirnov statistic; for categories the total variation distance. From 0 to 1."""
    ks_threshold: float
    """The value at which the statistic counts: the policy's, or more where segments of the reference vary more."""
    ks_p_value: float
    """The p-value if all rows were independent."""
    ks_method: str
    """How that was computed: `exact`, `asymptotic` or `limit` by the number of rows; `chi-square` for categories."""
    kl: float
    """The Kullback-Leibler divergence D(live || reference), in nats."""
    kl_threshold: float
    """The value at which the divergence counts, determined as `ks_threshold`."""
    kl_reverse: float
    """D(reference || live), in nats."""
    js: float
    """The Jensen-Shannon divergence, in nats."""
    psi: float
    """The population stability index."""
    wasserstein: float
    """The Wasserstein distance, in standard deviations of the reference; 0 for categories."""
    p_value: float
    """Share of reference segments that differ from the reference at least as much, by the block bootstrap."""
    adjusted_p_value: float
    """`p_value` adjusted for the false discovery rate over all features."""
    effective_rows: float
    """Effective sample size of the live data, in rows."""
    missing_share: float
    """Share of the live rows in which it is missing, from 0 to 1."""
    reference_missing_share: float
    """The same share in the reference."""
    out_of_range_share: float
    """The share of live values outside the reference's range, or in none of its categories."""
    new_categories: tuple[str, ...] = ()
    """Categories of the live data that the reference lacks, at most 100."""
    vanished_categories: tuple[str, ...] = ()
    """Categories of the reference that the live data lack, at most 100."""
    chi_square: float = 0.0
    """Pearson's chi-square statistic of the categories; 0 for numbers."""
    missing_threshold: float = 1.0
    """The value at which the change in the missing share counts."""
    histogram: Histogram = Histogram()
    """The distributions of both sides."""
    wasserstein_threshold: float = 0.0
    """The value at which the Wasserstein distance counts; 0 for categories."""

    def _describe(self) -> str:
        verdict = "drifted" if self.drifted else "no drift"
        effect = f"score {score(self.score)}, ks {statistic(self.ks)}, psi {statistic(self.psi)}"
        return f"{quoted(self.name)}: {verdict}, {effect}"


@dataclass(frozen=True, repr=False)
class ReferenceDistance(Record):
    """The distance from one of a version's references."""

    name: str
    """The reference's name."""
    drift_detected: bool
    """Whether the data drifted from it."""
    score: float
    """As the report's `score`, relative to this reference."""
    confidence: float
    """As the report's `confidence`, relative to this reference."""
    distance: float
    """Mean of the Kolmogorov-Smirnov statistic over the features, from 0 to 1."""

    def _describe(self) -> str:
        verdict = "drift" if self.drift_detected else "no drift"
        return f"{quoted(self.name)}: {verdict}, score {score(self.score)}, distance {statistic(self.distance)}"


@dataclass(frozen=True, repr=False)
class JointDrift(Record):
    """The multivariate comparison of all features together."""

    drifted: bool = False
    """Whether the features drifted jointly, even if none drifted alone."""
    auc: float = 0.0
    """AUC of a classifier that separates live rows from reference rows, from 0.5 (no separation) to 1 (perfect); 0 if
    none was trained, because the p-value is above the significance level."""
    auc_threshold: float = 1.0
    """The value at which the AUC counts."""
    mmd: float = 0.0
    """The squared maximum mean discrepancy."""
    p_value: float = 1.0
    """Share of reference segments with at least this statistic, by the block bootstrap."""
    rows: int = 0
    """Number of live rows examined."""

    def _describe(self) -> str:
        verdict = "drifted" if self.drifted else "no drift"
        auc = statistic(self.auc) if self.auc else "not measured"
        return f"{verdict}, auc {auc}, {p_equals(self.p_value)}, {counted(self.rows, 'row')}"


@dataclass(frozen=True, repr=False)
class SegmentDrift(Record):
    """The comparison of one segment of the rows with the reference."""

    column: str
    """The column whose value it is; empty for a regime."""
    name: str
    """The value, or the name of the regime."""
    rows: int
    """Number of its rows."""
    window: TimeWindow | None = None
    """The times and groups of its rows; None without times, and without rows."""
    note: str = ""
    """Why it was not tested, such as "has no rows"; empty when it was."""
    drift_detected: bool = False
    """Whether it drifted: as for all rows, and significantly over all segments."""
    score: float = 0.0
    """Distance from the reference, as the report's `score`."""
    p_value: float | None = None
    """One minus the confidence that the rows of the segment changed; None when it was not tested."""
    adjusted_p_value: float | None = None
    """`p_value` adjusted for the false discovery rate over all segments."""
    drivers: tuple[str, ...] = ()
    """The features that drifted, the strongest first."""
    summary: str = ""
    """The result in words."""
    reference_rows: int = 0
    """Number of rows of the reference that it was compared with."""
    own_reference: bool = False
    """Whether these were the rows of the same segment; otherwise they were all rows of the reference."""

    def _describe(self) -> str:
        named = f"{quoted(self.column)} {quoted(self.name)}" if self.column else quoted(self.name)
        if self.adjusted_p_value is None:
            return f"{named}: {self.note}"
        verdict = "drift" if self.drift_detected else "no drift"
        figures = sentence(f"score {score(self.score)}", p_equals(self.adjusted_p_value), counted(self.rows, "row"))
        return f"{named}: {verdict}, {figures}"


@dataclass(frozen=True, repr=False)
class DriftReport(TableRecord):
    """The comparison of a table with a reference."""

    report_id: str
    """Its id, generated by the server."""
    version: VersionRef
    """The version whose reference was used."""
    reference: str
    """The reference's name."""
    label: str
    """What the data are, as given in the request; may be empty."""
    created_at: datetime
    """When the comparison was made, in UTC."""
    created_by: str
    """Who requested it."""
    rows: int
    """Number of live rows."""
    reference_rows: int
    """Number of rows of the reference."""
    drift_detected: bool
    """Whether a feature drifted, or all features jointly."""
    score: float
    """Distance of the data from the reference, from 0 to 1; 0.5 where the strongest feature is at its threshold."""
    confidence: float
    """One minus the probability that segments of the reference differ as much under no drift."""
    drivers: tuple[str, ...]
    """The features that drifted, the strongest first."""
    summary: str
    """The result in words."""
    features: tuple[FeatureDrift, ...]
    """All features, the strongest first."""
    caveats: tuple[str, ...]
    """Limitations of the result, in words."""
    references: tuple[ReferenceDistance, ...] = ()
    """Distances from the version's references, the nearest first; only the named one when one was named."""
    joint: JointDrift = JointDrift()
    """The multivariate comparison of all features."""
    window: TimeWindow | None = None
    """The times and groups of the live rows; None when they were taken to be in order of time."""
    late_rows: int = 0
    """Number of late rows, older than a window that had closed, that were left out while this window was open."""
    segments: tuple[SegmentDrift, ...] = ()
    """Each segment: those that drifted first, the strongest first; those that were not tested last."""
    segment_adjustment: SegmentAdjustment | None = None
    """How the p-values of the segments were adjusted; None when none was tested."""

    @property
    def nearest_reference(self) -> str:
        """Return the name of the nearest reference, such as "calm" or "crisis"."""
        return self.references[0].name if self.references else self.reference

    def feature(self, name: str) -> FeatureDrift:
        """Return one feature's comparison.

        Args:
            name: the feature's name.

        Returns:
            The comparison of this feature.

        Raises:
            KeyError: the report has no such feature; it names those that there are.
            InvalidField: the name is no text.
        """
        check_given("name", name, str)
        by_name = {feature.name: feature for feature in self.features}
        if name not in by_name:
            raise KeyError(f"there is no feature {name!r}{nearest(name, by_name)}; there are {', '.join(by_name):.300}")
        return by_name[name]

    def segment(self, name: str) -> SegmentDrift:
        """Return one segment's comparison.

        Args:
            name: the value of the column of segments, as text, or the name of a regime.

        Returns:
            The comparison of this segment.

        Raises:
            KeyError: the report has no such segment; it names those that there are.
            InvalidField: the name is no text.
        """
        check_given("name", name, str)
        by_name = {segment.name: segment for segment in self.segments}
        if name not in by_name:
            raise KeyError(f"there is no segment {name!r}{nearest(name, by_name)}; there are {', '.join(by_name):.300}")
        return by_name[name]

    _html_columns = ("name", "drifted", "score", "ks", "kl", "psi", "wasserstein", "adjusted_p_value")

    def _describe(self) -> str:
        drifted = sum(feature.drifted for feature in self.features)
        verdict = "drift" if self.drift_detected else "no drift"
        share = f"{drifted:,} of {counted(len(self.features), 'feature')}"
        return sentence(
            f"{quoted(self.version)}: {verdict}", share, counted(self.rows, "row"), f"id {quoted(self.report_id)}"
        )

    def _rows(self) -> Sequence[FeatureDrift]:
        return self.features


@dataclass(frozen=True, repr=False)
class Observed(Record):
    """The result of observing live data."""

    acknowledged: int
    """The number of the last batch that is stored durably."""
    reports: tuple[DriftReport, ...] = ()
    """Reports of the windows that closed."""
    alarm: bool = False
    """Whether one of them raised an alarm."""
    sequential_evidence: float = 0.0
    """The change detector's score between windows, from 0 to 1: one minus the probability that rows exchangeable with
    the reference would ever produce it.
    """
    late_rows: int = 0
    """Number of late rows of this sender so far: rows older than a window that had closed, which are left out."""

    def _describe(self) -> str:
        drifted = sum(report.drift_detected for report in self.reports)
        windows = (
            f"drift in {drifted} of {counted(len(self.reports), 'window')}" if self.reports else "no window closed"
        )
        return sentence(f"acknowledged={self.acknowledged}", windows, "alarm" if self.alarm else "")


@dataclass(frozen=True, repr=False)
class Outcome(Record):
    """A prediction, its label that arrives later, or both."""

    prediction_id: str
    """The prediction's id, unique in the version; it joins prediction and label."""
    prediction: float | None = None
    """The predicted number or class; None when only the label is sent."""
    probability: float | None = None
    """The predicted probability of the predicted class, from 0 to 1."""
    predicted_at: datetime | None = None
    """None means the time of receipt by the server."""
    label: float | None = None
    """The actual number or class; None when it is not yet known."""
    labelled_at: datetime | None = None
    """None means the time of receipt by the server."""
    group: str = ""
    """The group of the prediction, such as its symbol; a pair of `predicted_at` and group must not repeat."""


@dataclass(frozen=True, repr=False)
class RecordedOutcomes(Record):
    """The number of outcomes recorded, by how they were joined."""

    predictions: int
    """Number of new ones."""
    labels: int
    """Number of labels joined to a prediction."""
    waiting: int
    """Number of the sent labels that wait for their prediction."""
    left_out: int = 0
    """Number of rows with neither a prediction nor a label, which are not recorded."""


@dataclass(frozen=True, repr=False)
class Performance(Record):
    """The performance of a version in one period."""

    start: datetime
    """Start of the period, inclusive, in UTC."""
    end: datetime
    """End of the period, exclusive."""
    predictions: int
    """Number of predictions in the period."""
    matured: int
    """Number of predictions that are older than the horizon."""
    labelled: int
    """Number of these whose label has arrived."""
    metrics: Mapping[str, float]
    """Based on these labels: accuracy, log_loss, brier, roc_auc of classes; mae, rmse, r2 of numbers. None without a
    label.
    """
    estimated: bool
    """Whether the metrics are estimated without labels, from calibrated probabilities."""
    calibration_error: float | None
    """The expected calibration error, from 0 to 1; None without probabilities and labels."""
    declined: bool
    """Whether a decline of the version was detected in this period."""

    @property
    def coverage(self) -> float:
        """Return the share of the matured predictions whose label has arrived; 0 if none has matured."""
        return self.labelled / self.matured if self.matured else 0.0

    def _describe(self) -> str:
        values = (f"{name} {metric(value)}" for name, value in list(self.metrics.items())[:2])
        estimated, declined = "estimated" if self.estimated else "", "declined" if self.declined else ""
        rows = f"{counted(self.predictions, 'prediction')}, {percent(self.coverage)} labelled"
        return sentence(f"{brief(self.start)}: {rows}", *values, estimated, declined)
