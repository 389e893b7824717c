"""Dataclasses of comparisons: metrics with their uncertainty, differences, verdicts and latency."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from modelward.lifecycle import VersionRef


class Metric(StrEnum):
    """A metric of predictions; `comparison.proto` defines each."""

    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    PRECISION = "precision"
    RECALL = "recall"
    F1 = "f1"
    ROC_AUC = "roc_auc"
    LOG_LOSS = "log_loss"
    BRIER = "brier"
    MSE = "mse"
    MAE = "mae"
    R2 = "r2"
    HIT_RATE = "hit_rate"
    RMSE = "rmse"
    MAPE = "mape"
    MEDIAN_ABSOLUTE_ERROR = "median_absolute_error"
    MATTHEWS_CORRELATION = "matthews_correlation"
    SHARPE = "sharpe"
    SORTINO = "sortino"
    MAX_DRAWDOWN = "max_drawdown"
    NET_RETURN = "net_return"

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
}


class SignificanceTest(StrEnum):
    """The significance test of a difference; `comparison.proto` names the sources."""

    MCNEMAR_EXACT = "mcnemar_exact"
    MCNEMAR = "mcnemar"
    DELONG = "delong"
    DIEBOLD_MARIANO = "diebold_mariano"
    BOOTSTRAP = "bootstrap"
    SHARPE_DIFFERENCE = "sharpe_difference"

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
    REGRESSION = "regression"


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


@dataclass(frozen=True)
class MetricEstimate:
    """A metric with its confidence interval."""

    metric: Metric
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricDifference:
    """A version's metric minus the baseline's, on the same rows; for a loss, negative values are better."""

    metric: Metric
    difference: float
    low: float
    """Lower limit of the confidence interval, which is widened for the number of versions compared."""
    high: float
    p_value: float
    """The p-value of the difference by the test."""
    adjusted_p_value: float
    """The p-value adjusted for all metrics and versions of the comparison (Holm 1979)."""
    test: SignificanceTest
    statistic: float
    """The test's statistic; 0 for the bootstrap, which has none."""


@dataclass(frozen=True)
class Latency:
    """Latency of a version's predictions in the server's sandbox process, without the network."""

    row_p50: timedelta
    row_p99: timedelta
    batch_p50: timedelta
    batch_p99: timedelta
    batch_rows: int
    row_calls: int
    batch_calls: int


@dataclass(frozen=True)
class DeflatedSharpe:
    """The deflated Sharpe ratio of Bailey and Lopez de Prado (2014)."""

    probability: float
    """Probability that the true ratio exceeds the expected maximum of `trials` strategies without skill."""
    trials: int
    """Number of versions of the model in the registry."""
    expected_by_luck: float
    """Expected maximum of the annualized ratio over so many trials without any skill."""


@dataclass(frozen=True)
class ModelResult:
    """The result of one version."""

    version: VersionRef
    metrics: tuple[MetricEstimate, ...]
    """Empty when it failed."""
    differences: tuple[MetricDifference, ...]
    """Differences from the baseline; empty for the baseline itself and when it failed."""
    verdict: Verdict | None
    """Verdict by the primary metric; None for the baseline itself and when it failed."""
    latency: Latency | None
    failure: str
    """Why it has no metrics; empty when it ran."""
    confidence_set_p_value: float | None = None
    """The p-value at which it would leave the model confidence set; None where there is no such set."""
    deflated_sharpe: DeflatedSharpe | None = None
    """None without returns."""

    def __getitem__(self, metric: Metric | str) -> float:
        """Return a metric's value, for example `result["accuracy"]`.

        Raises:
            KeyError: it was not measured.
        """
        for result in self.metrics:
            if result.metric == metric:
                return result.value
        raise KeyError(metric)


@dataclass(frozen=True)
class Conclusion:
    """The comparison of the two leading versions, with its uncertainty."""

    version: VersionRef
    against: VersionRef
    verdict: Verdict
    difference: MetricDifference
    """The other version minus the baseline, whichever of the two is the best."""
    rows_needed: int
    """Approximate number of rows for 80 % power; 0 when the question is settled or no number would suffice."""
    summary: str


@dataclass(frozen=True)
class Resampling:
    """How the uncertainty was estimated."""

    draws: int
    block_rows: float
    """Mean block length of the resampling, in rows."""
    seed: int
    confidence_level: float


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison."""

    comparison_id: str
    kind: ModelKind
    rows: int
    label: str
    primary_metric: Metric
    baseline: VersionRef
    results: tuple[ModelResult, ...]
    """The best by the primary metric first, failed versions last."""
    best: VersionRef
    conclusion: Conclusion
    resampling: Resampling
    notes: tuple[str, ...]
    created_by: str
    created_at: datetime
    confidence_set: tuple[VersionRef, ...] = ()
    """The model confidence set: versions that cannot be excluded as the best (Hansen, Lunde and Nason 2011)."""
    spa_p_value: float | None = None
    """The p-value of the hypothesis that no version beats the baseline, over all versions jointly (Hansen 2005)."""

    @property
    def summary(self) -> str:
        """The conclusion in one or two sentences."""
        return self.conclusion.summary

    def result(self, version: VersionRef | str) -> ModelResult:
        """Return the result of one version, given as `spx-direction/3`.

        Raises:
            KeyError: it was not compared.
        """
        for result in self.results:
            if str(result.version) == str(version):
                return result
        raise KeyError(str(version))


@dataclass(frozen=True)
class DurationEstimate:
    """A duration in seconds with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BatchBenchmark:
    """The latency of a version for batches of one size."""

    batch_rows: int
    calls: int
    """Number of timed calls."""
    p50: DurationEstimate
    p95: DurationEstimate
    p99: DurationEstimate
    rows_per_second: float


@dataclass(frozen=True)
class ModelBenchmark:
    """Latency and resource use of one version."""

    version: VersionRef
    load_seconds: float
    size_bytes: int
    """Total size of its files."""
    peak_memory_bytes: int
    """Peak memory of its process, including the interpreter and the libraries."""
    batches: tuple[BatchBenchmark, ...]
    failure: str
    """Why it has no measurements; empty when it ran."""

    def __getitem__(self, batch_rows: int) -> BatchBenchmark:
        """Return the measurements for one batch size.

        Raises:
            KeyError: there are none.
        """
        for batch in self.batches:
            if batch.batch_rows == batch_rows:
                return batch
        raise KeyError(batch_rows)


@dataclass(frozen=True)
class ComparisonProgress:
    """The progress of a comparison."""

    fraction: float
    """From 0 to 1."""
    message: str
    """The last completed step, in words."""
