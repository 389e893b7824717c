"""Dataclasses of comparisons: metrics with their uncertainty, differences, verdicts and latency."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from modelward._given import check_given, given_version
from modelward._record import Record, TableRecord, counted, quoted, sentence
from modelward.backtest import Overfitting
from modelward.drift import TimeWindow
from modelward.leaks import LeakCheck
from modelward.lifecycle import VersionRef
from modelward.replay import ReplayedRows
from modelward.segments import SegmentAdjustment
from modelward.shared.figures import difference, metric, p_equals, percent
from modelward.shared.suggestions import nearest


class Metric(StrEnum):
    """A metric of predictions; `comparison.proto` defines each."""

    ACCURACY = "accuracy"
    """Classification: the share of rows with the correct class."""
    BALANCED_ACCURACY = "balanced_accuracy"
    """Classification: the mean recall over the classes."""
    PRECISION = "precision"
    """Classification: the share of rows predicted as positive that are positive; a mean for more than two classes."""
    RECALL = "recall"
    """Classification: the share of positive rows predicted as positive; a mean for more than two classes."""
    F1 = "f1"
    """Classification: the harmonic mean of precision and recall; a mean for more than two classes."""
    ROC_AUC = "roc_auc"
    """Two classes, with probabilities: the area under the ROC curve."""
    LOG_LOSS = "log_loss"
    """Classification, with probabilities: the mean negative log probability of the true class, in nats."""
    BRIER = "brier"
    """Classification, with probabilities: the mean squared error of the probabilities."""
    MSE = "mse"
    """Regression: the mean squared error."""
    MAE = "mae"
    """Regression: the mean absolute error."""
    R2 = "r2"
    """Regression: the share of the label's variance that is explained."""
    HIT_RATE = "hit_rate"
    """Numeric labels: the share of rows in which prediction and label agree on being above zero."""
    RMSE = "rmse"
    """Regression: the root of the mean squared error."""
    MAPE = "mape"
    """Regression: the mean absolute error relative to the label, as a share."""
    MEDIAN_ABSOLUTE_ERROR = "median_absolute_error"
    """Regression: the median absolute error."""
    MATTHEWS_CORRELATION = "matthews_correlation"
    """Classification: the Matthews correlation coefficient, from -1 to 1."""
    SHARPE = "sharpe"
    """With returns: the annualized Sharpe ratio of the net returns."""
    SORTINO = "sortino"
    """With returns: the annualized Sortino ratio of the net returns."""
    MAX_DRAWDOWN = "max_drawdown"
    """With returns: the largest fall of the cumulative net returns from a peak, as a positive share."""
    NET_RETURN = "net_return"
    """With returns: the annualized mean return of the positions after the cost of their turnover."""
    RANK_IC = "rank_ic"
    """Panels of numbers: the mean over the times of the rank correlation between predictions and labels."""
    ICIR = "icir"
    """Panels of numbers: the mean rank IC divided by its standard deviation over the times."""
    PINBALL = "pinball"
    """Regression, on request: the quantile loss."""
    QLIKE = "qlike"
    """Regression of variances, on request: the mean of `y / p - ln(y / p) - 1` (Patton 2011)."""
    CALIBRATION_ERROR = "calibration_error"
    """Classification, with probabilities, on request: the expected calibration error over ten bins."""
    TURNOVER = "turnover"
    """With returns, on request: the mean change of the positions at each time."""
    BREAK_EVEN_COST = "break_even_cost"
    """With returns, on request: the cost in basis points that would take the whole return."""
    DAY_HIT_RATE = "day_hit_rate"
    """With returns, on request: the share of times with a net return above 0."""

    @property
    def lower_is_better(self) -> bool:
        """Whether lower is better."""
        return self in _LOSSES


_LOSSES = {
    Metric.LOG_LOSS,
    Metric.BRIER,
    Metric.MSE,
    Metric.MAE,
    Metric.RMSE,
    Metric.MAPE,
    Metric.MEDIAN_ABSOLUTE_ERROR,
    Metric.MAX_DRAWDOWN,
    Metric.PINBALL,
    Metric.QLIKE,
    Metric.CALIBRATION_ERROR,
    Metric.TURNOVER,
}


_CUSTOM = re.compile(r"(time_)?(loss|gain):[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")


class CustomMetric(str):
    """A metric of the user's own: the name of a column of the predictions, such as `loss:slippage`.

    The metric is the mean of the column over the rows; with `time_loss:` and `time_gain:` that over the times, of a
    value that all rows of a time share. The text begins with `loss:`, `gain:`, `time_loss:` or `time_gain:`, and
    continues with a name of up to 64 letters, digits, spaces and `._-`; any other form raises `ValueError`.
    """

    __slots__ = ()

    def __new__(cls, name: str) -> "CustomMetric":
        """Check the form of the name.

        Args:
            name: the kind and the name of the column.

        Raises:
            ValueError: the name has another form.
        """
        if not _CUSTOM.fullmatch(name):
            raise ValueError(f"{name!r} is not of the form loss:NAME, gain:NAME, time_loss:NAME or time_gain:NAME")
        return super().__new__(cls, name)

    @property
    def lower_is_better(self) -> bool:
        """Whether lower is better."""
        return self.removeprefix("time_").startswith("loss:")

    @property
    def by_time(self) -> bool:
        """Whether the rows of a time share one value, which counts once."""
        return self.startswith("time_")

    @property
    def value(self) -> str:
        """The name, as that of a `Metric`."""
        return str(self)


AnyMetric: TypeAlias = Metric | CustomMetric
"""A metric, or one of the user's own."""


class SignificanceTest(StrEnum):
    """The significance test of a difference; `comparison.proto` names the sources."""

    MCNEMAR_EXACT = "mcnemar_exact"
    """McNemar's test (1947) with the exact binomial distribution."""
    MCNEMAR = "mcnemar"
    """McNemar's test with the chi-square approximation."""
    DELONG = "delong"
    """For two ROC areas on the same rows (DeLong, DeLong and Clarke-Pearson 1988)."""
    DIEBOLD_MARIANO = "diebold_mariano"
    """For two series of losses (Diebold and Mariano 1995), corrected for small samples."""
    BOOTSTRAP = "bootstrap"
    """The paired stationary bootstrap (Politis and Romano 1994)."""
    SHARPE_DIFFERENCE = "sharpe_difference"
    """For two Sharpe ratios (Ledoit and Wolf 2008)."""

    @property
    def label(self) -> str:
        """Display name of the test."""
        return _TEST_LABELS[self]


_TEST_LABELS = {
    SignificanceTest.MCNEMAR_EXACT: "McNemar, exact",
    SignificanceTest.MCNEMAR: "McNemar",
    SignificanceTest.DELONG: "DeLong",
    SignificanceTest.DIEBOLD_MARIANO: "Diebold-Mariano",
    SignificanceTest.BOOTSTRAP: "block bootstrap",
    SignificanceTest.SHARPE_DIFFERENCE: "Ledoit-Wolf",
}


class ModelKind(StrEnum):
    """What a model predicts: a class, or a number."""

    CLASSIFICATION = "classification"
    """A class."""
    REGRESSION = "regression"
    """A number."""


class Verdict(StrEnum):
    """The verdict on a version against the baseline."""

    SUPERIOR = "superior"
    """Better; the difference is statistically significant."""
    NON_INFERIOR = "non-inferior"
    """Not shown to be better, but worse by at most the margin."""
    INFERIOR = "inferior"
    """Worse; the difference is statistically significant."""
    INCONCLUSIVE = "inconclusive"
    """The difference is not statistically significant."""


@dataclass(frozen=True, repr=False)
class MetricEstimate(Record):
    """A metric with its confidence interval."""

    metric: AnyMetric
    """The metric."""
    value: float
    """Its value on the test set."""
    low: float
    """Lower limit of its confidence interval."""
    high: float
    """Upper limit of its confidence interval."""

    def _describe(self) -> str:
        return f"{self.metric} {metric(self.value)}, {metric(self.low)} to {metric(self.high)}"


@dataclass(frozen=True, repr=False)
class MetricDifference(Record):
    """A version's metric minus the baseline's, on the same rows; for a loss, negative values are better."""

    metric: AnyMetric
    """The metric."""
    difference: float
    """The difference, in the metric's own unit."""
    low: float
    """Lower limit of the confidence interval, which is widened for the number of versions compared."""
    high: float
    """Upper limit of the confidence interval."""
    p_value: float
    """The p-value of the difference by the test."""
    adjusted_p_value: float
    """The p-value adjusted for all metrics and versions of the comparison (Holm 1979)."""
    test: SignificanceTest
    """The test by which the p-value was computed."""
    statistic: float
    """The test's statistic; 0 for the bootstrap, which has none."""

    def _describe(self) -> str:
        interval = f"{difference(self.low)} to {difference(self.high)}"
        return f"{self.metric} {difference(self.difference)}, {interval}, {p_equals(self.p_value)} by {self.test.label}"


@dataclass(frozen=True, repr=False)
class Latency(Record):
    """Latency of a version's predictions in the server's sandbox process, without the network."""

    row_p50: timedelta
    """Median time of a call with one row."""
    row_p99: timedelta
    """99th percentile of the time of a call with one row."""
    batch_p50: timedelta
    """Median time of a call with `batch_rows` rows."""
    batch_p99: timedelta
    """99th percentile of these; the maximum of fewer than 100 calls."""
    batch_rows: int
    """Number of rows in a batch."""
    row_calls: int
    """Number of timed calls with one row."""
    batch_calls: int
    """Number of timed calls with a batch."""


@dataclass(frozen=True, repr=False)
class DeflatedSharpe(Record):
    """The deflated Sharpe ratio of Bailey and Lopez de Prado (2014)."""

    probability: float
    """Probability that the true ratio exceeds the expected maximum of `trials` strategies without skill."""
    trials: int
    """Number of trials: those given with the comparison, or with which the model's versions were registered."""
    expected_by_luck: float
    """Expected maximum of the annualized ratio over so many trials without any skill."""
    probabilistic: float = 0.0
    """Probability that the true ratio is above 0 (Bailey and Lopez de Prado 2012)."""
    minimum_rows: float | None = None
    """Number of rows that would show that at 95 %; None if the observed ratio is not above 0."""


@dataclass(frozen=True, repr=False)
class CostPoint(Record):
    """The Sharpe ratio at one cost."""

    cost_bps: float
    """The cost of changing the position by 1, in basis points."""
    sharpe: float
    """The annualized Sharpe ratio of the net returns."""


@dataclass(frozen=True, repr=False)
class CostCurve(TableRecord):
    """The course of a version's Sharpe ratio over the cost of changing the position by 1."""

    break_even_bps: float | None
    """The cost that would take the whole return, in basis points; None if the positions do not change."""
    points: tuple[CostPoint, ...]
    """By ascending cost, from 0 to twice the highest break-even cost of the compared versions."""

    def _describe(self) -> str:
        ends = " to ".join(
            f"{metric(one.sharpe)} at {metric(one.cost_bps)} bp" for one in self.points[:: len(self.points) - 1 or 1]
        )
        even = "" if self.break_even_bps is None else f"break-even cost {metric(self.break_even_bps)} bp"
        return sentence(even, f"Sharpe ratio {ends}" if ends else "")

    def _rows(self) -> Sequence[CostPoint]:
        return self.points


@dataclass(frozen=True, repr=False)
class UndefinedMetric(Record):
    """A metric that has no value for a version, while it has one for others."""

    metric: AnyMetric
    """The metric."""
    reason: str
    """Why, such as "needs net returns that vary"."""

    def _describe(self) -> str:
        return f"{self.metric} {self.reason}"


@dataclass(frozen=True, repr=False)
class ModelResult(Record):
    """The result of one version."""

    version: VersionRef
    """The version."""
    metrics: tuple[MetricEstimate, ...]
    """Empty when it failed."""
    differences: tuple[MetricDifference, ...]
    """Differences from the baseline; empty for the baseline itself and when it failed."""
    verdict: Verdict | None
    """Verdict by the primary metric, inconclusive when it lacks that; None for the baseline and when it failed."""
    latency: Latency | None
    """Its latency; None when it was not run, as with predictions made elsewhere."""
    failure: str
    """Why it has no metrics; empty when it ran."""
    confidence_set_p_value: float | None = None
    """The p-value at which it would leave the model confidence set; None where there is no such set."""
    deflated_sharpe: DeflatedSharpe | None = None
    """None without returns."""
    cost_curve: CostCurve | None = None
    """Its Sharpe ratio over the cost; None without returns."""
    coverage: float | None = None
    """Share of the rows with a label that it answered, from 0 to 1; None when it did not run."""
    undefined: tuple[UndefinedMetric, ...] = ()
    """The metrics that it lacks and other versions have."""
    leaks: tuple[LeakCheck, ...] = ()
    """What checks for leaks found; empty when it failed."""

    def __getitem__(self, metric: AnyMetric | str) -> float:
        """Return a metric's value, for example `result["accuracy"]`.

        Args:
            metric: the metric, or its name.

        Returns:
            Its value on the test set.

        Raises:
            KeyError: it was not measured.
        """
        for result in self.metrics:
            if result.metric == metric:
                return result.value
        raise KeyError(metric)

    def _describe(self) -> str:
        values = (f"{one.metric} {metric(one.value)}" for one in self.metrics[:2])
        verdict = "failed" if self.failure else self.verdict or "baseline"
        return sentence(f"{quoted(self.version)}: {verdict}", *values)


@dataclass(frozen=True, repr=False)
class Conclusion(Record):
    """The comparison of the two leading versions, with its uncertainty."""

    version: VersionRef
    """The best version."""
    against: VersionRef
    """The version that it is compared with: the baseline, or the second best when the baseline is the best."""
    verdict: Verdict
    """The verdict on `version` against the other."""
    difference: MetricDifference
    """The other version minus the baseline, whichever of the two is the best."""
    rows_needed: int
    """Approximate number of rows for 80 % power; 0 when the question is settled or no number would suffice."""
    summary: str
    """The conclusion in one or two sentences."""

    def _describe(self) -> str:
        return f"{quoted(self.version)} against {quoted(self.against)}: {self.verdict}, {self.difference._describe()}"


@dataclass(frozen=True, repr=False)
class Resampling(Record):
    """How the uncertainty was estimated."""

    draws: int
    """Number of bootstrap draws."""
    block_rows: float
    """Mean block length of the resampling, in rows."""
    seed: int
    """The seed; the same seed and data give the same result."""
    confidence_level: float
    """Confidence level of the intervals, from 0.5 to 0.999."""


@dataclass(frozen=True, repr=False)
class SegmentResult(Record):
    """The result of one version on a segment of the rows."""

    version: VersionRef
    """The version."""
    estimate: MetricEstimate
    """The primary metric."""
    difference: MetricDifference | None = None
    """The difference from the baseline, with its p-value adjusted over all segments and versions; None for the
    baseline itself.
    """
    verdict: Verdict | None = None
    """The verdict by that p-value; None for the baseline itself."""

    def _describe(self) -> str:
        return f"{quoted(self.version)}: {self.verdict or 'baseline'}, {metric(self.estimate.value)}"


@dataclass(frozen=True, repr=False)
class SegmentComparison(Record):
    """The comparison on one segment of the rows, by the primary metric."""

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
    results: tuple[SegmentResult, ...] = ()
    """The versions, the best first; empty when it was not tested."""

    def result(self, version: VersionRef | str) -> SegmentResult:
        """Return the result of one version.

        Args:
            version: the version, as `"spx-direction/3"` or a reference.

        Returns:
            The version's result on this segment.

        Raises:
            KeyError: it was not compared on this segment.
            InvalidField: it is no version.
        """
        ref = given_version(version)
        for result in self.results:
            if result.version == ref:
                return result
        raise KeyError(str(ref))

    def _describe(self) -> str:
        named = f"{quoted(self.column)} {quoted(self.name)}" if self.column else quoted(self.name)
        verdicts = (f"{quoted(one.version)} {one.verdict}" for one in self.results if one.verdict)
        return f"{named}: {self.note or sentence(*verdicts, counted(self.rows, 'row'))}"


@dataclass(frozen=True, repr=False)
class Comparison(TableRecord):
    """The result of a comparison."""

    comparison_id: str
    """Its id, generated by the server."""
    kind: ModelKind
    """What the models predict."""
    rows: int
    """Number of rows that were compared: those that have a label and that every version answered."""
    label: str
    """Name of the label column."""
    primary_metric: AnyMetric
    """The deciding metric."""
    baseline: VersionRef
    """The version that the others are compared with."""
    results: tuple[ModelResult, ...]
    """The best by the primary metric first, failed versions last."""
    best: VersionRef
    """The best by the primary metric, statistically significant or not."""
    conclusion: Conclusion
    """The comparison of the two leading versions."""
    resampling: Resampling
    """How the uncertainty was estimated."""
    notes: tuple[str, ...]
    """Limitations of the result, in words."""
    created_by: str
    """Who requested it."""
    created_at: datetime
    """When it was completed, in UTC."""
    confidence_set: tuple[VersionRef, ...] = ()
    """The model confidence set: versions that cannot be excluded as the best (Hansen, Lunde and Nason 2011)."""
    spa_p_value: float | None = None
    """The p-value of the hypothesis that no version beats the baseline, over all versions jointly (Hansen 2005)."""
    window: TimeWindow | None = None
    """The times and groups of the rows; None when they were taken to be in order of time."""
    overfitting: Overfitting | None = None
    """What the trials that were given say of the selection; None without any."""
    segments: tuple[SegmentComparison, ...] = ()
    """Each segment: those where a version is worse than the baseline first; those that were not tested last."""
    segment_adjustment: SegmentAdjustment | None = None
    """How the p-values of the segments were adjusted; None when none was tested."""
    replay: ReplayedRows | None = None
    """The rows of live monitoring that are the test set; None when it was given."""

    def segment(self, name: str) -> SegmentComparison:
        """Return the comparison on one segment.

        Args:
            name: the value of the column of segments, as text, or the name of a regime.

        Returns:
            The comparison on this segment.

        Raises:
            KeyError: there is no such segment; it names those that there are.
            InvalidField: the name is no text.
        """
        check_given("name", name, str)
        by_name = {segment.name: segment for segment in self.segments}
        if name not in by_name:
            raise KeyError(f"there is no segment {name!r}{nearest(name, by_name)}; there are {', '.join(by_name):.300}")
        return by_name[name]

    @property
    def summary(self) -> str:
        """The conclusion in one or two sentences."""
        return self.conclusion.summary

    @property
    def metrics(self) -> tuple[AnyMetric, ...]:
        """The metrics that at least one version has, the primary metric first."""
        measured = dict.fromkeys(one.metric for result in self.results for one in result.metrics)
        return tuple(sorted(measured, key=lambda metric: metric != self.primary_metric))

    def result(self, version: VersionRef | str) -> ModelResult:
        """Return the result of one version.

        Args:
            version: the version, as `"spx-direction/3"` or a reference.

        Returns:
            The version's result.

        Raises:
            KeyError: it was not compared.
            InvalidField: it is no version.
        """
        ref = given_version(version)
        for result in self.results:
            if result.version == ref:
                return result
        raise KeyError(str(ref))

    _html_columns = ("version", "verdict", "metric", "value", "low", "high", "difference", "p_value")

    def _describe(self) -> str:
        against = f"{quoted(self.conclusion.version)} against {quoted(self.conclusion.against)}"
        versions = counted(len(self.results), "version")
        verdict = f"{self.conclusion.verdict} by {self.primary_metric}"
        return sentence(
            f"{against}: {verdict}", versions, counted(self.rows, "row"), f"id {quoted(self.comparison_id)}"
        )

    def _rows(self) -> Sequence[Mapping[str, object]]:
        """Return one row for each version and metric; a failed version has one row with its failure."""
        return [row for result in self.results for row in _metric_rows(result)]


@dataclass(frozen=True, repr=False)
class DurationEstimate(Record):
    """A duration in seconds with its confidence interval."""

    value: float
    """The estimate, in seconds."""
    low: float
    """Lower limit of its confidence interval."""
    high: float
    """Upper limit of its confidence interval."""

    def _describe(self) -> str:
        return f"{self.value:.3g} s, {self.low:.3g} to {self.high:.3g}"


@dataclass(frozen=True, repr=False)
class BatchBenchmark(Record):
    """The latency of a version for batches of one size."""

    batch_rows: int
    """Number of rows per call."""
    calls: int
    """Number of timed calls."""
    p50: DurationEstimate
    """Median time of a call."""
    p95: DurationEstimate
    """95th percentile of the time of a call."""
    p99: DurationEstimate
    """99th percentile of the time of a call."""
    rows_per_second: float
    """Throughput: rows predicted per second."""

    def _describe(self) -> str:
        return f"batches of {counted(self.batch_rows, 'row')}: p50 {self.p50.value:.3g} s, p99 {self.p99.value:.3g} s"


@dataclass(frozen=True, repr=False)
class ModelBenchmark(TableRecord):
    """Latency and resource use of one version."""

    version: VersionRef
    """The version."""
    load_seconds: float
    """Time to load it, in seconds."""
    size_bytes: int
    """Total size of its files."""
    peak_memory_bytes: int
    """Peak memory of its process, including the interpreter and the libraries."""
    batches: tuple[BatchBenchmark, ...]
    """The measurements, one for each batch size."""
    failure: str
    """Why it has no measurements; empty when it ran."""

    def __getitem__(self, batch_rows: int) -> BatchBenchmark:
        """Return the measurements for one batch size, for example `benchmark[1000]`.

        Args:
            batch_rows: number of rows per call.

        Returns:
            The measurements of calls with so many rows.

        Raises:
            KeyError: there are none.
        """
        for batch in self.batches:
            if batch.batch_rows == batch_rows:
                return batch
        raise KeyError(batch_rows)

    def _describe(self) -> str:
        measured = "failed" if self.failure else counted(len(self.batches), "batch size")
        return f"{quoted(self.version)}: {measured}, loaded in {self.load_seconds:.3g} s"

    def _rows(self) -> Sequence[BatchBenchmark]:
        return self.batches


@dataclass(frozen=True, repr=False)
class ComparisonProgress(Record):
    """The progress of a comparison."""

    fraction: float
    """From 0 to 1."""
    message: str
    """The last completed step, in words."""

    def _describe(self) -> str:
        return f"{percent(self.fraction)}, {quoted(self.message)}"


def _metric_rows(result: ModelResult) -> list[dict[str, object]]:
    """Return a result's metrics, each with its difference from the baseline; NaN where there is none."""
    common: dict[str, object] = {"version": result.version, "verdict": result.verdict}
    if result.failure:
        return [{**common, "failure": result.failure}]
    differences = {one.metric: one for one in result.differences}
    return [
        {**common, **vars(estimate), **_difference_row(differences.get(estimate.metric))} for estimate in result.metrics
    ]


def _difference_row(one: MetricDifference | None) -> dict[str, object]:
    if one is None:
        return {}
    return {
        "difference": one.difference,
        "difference_low": one.low,
        "difference_high": one.high,
        "p_value": one.p_value,
        "adjusted_p_value": one.adjusted_p_value,
        "test": one.test,
    }
