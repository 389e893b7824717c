"""What a comparison knows: metrics with their uncertainty, differences, verdicts, latency."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from modelward.lifecycle import VersionRef


class Metric(StrEnum):
    """What a prediction is measured by; `comparison.proto` defines each."""

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
        """Whether it is a loss."""
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
    """How a difference was put to the test; `comparison.proto` names the sources."""

    MCNEMAR_EXACT = "mcnemar_exact"
    MCNEMAR = "mcnemar"
    DELONG = "delong"
    DIEBOLD_MARIANO = "diebold_mariano"
    BOOTSTRAP = "bootstrap"
    SHARPE_DIFFERENCE = "sharpe_difference"

    @property
    def label(self) -> str:
        """Its name for people."""
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
    """How a version stands to what it is compared with."""

    SUPERIOR = "superior"
    """Better, and not by luck."""
    NON_INFERIOR = "non-inferior"
    """Perhaps not better, but worse by less than the margin at most."""
    INFERIOR = "inferior"
    """Worse, and not by luck."""
    INCONCLUSIVE = "inconclusive"
    """The difference may well be luck."""


@dataclass(frozen=True)
class MetricEstimate:
    """A metric with its confidence interval."""

    metric: Metric
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricDifference:
    """A version's metric minus the baseline's, on the same rows; of a loss, below zero is better."""

    metric: Metric
    difference: float
    low: float
    """Lower end of the confidence interval, which is widened for the number of versions compared."""
    high: float
    p_value: float
    """How likely so great a difference is by luck, by the test."""
    adjusted_p_value: float
    """The same corrected for all metrics and versions of the comparison (Holm 1979)."""
    test: SignificanceTest
    statistic: float
    """The test's statistic; 0 for the bootstrap, which has none."""


@dataclass(frozen=True)
class Latency:
    """How fast a version answered in the server's worker process, without the network."""

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
    """The chance that the true ratio is above the one that the best of `trials` lucky tries would show."""
    trials: int
    """How many versions of the model the registry holds."""
    expected_by_luck: float
    """The ratio, for a year, that the best of so many tries without any skill would show."""


@dataclass(frozen=True)
class ModelResult:
    """How one version did."""

    version: VersionRef
    metrics: tuple[MetricEstimate, ...]
    """Empty when it failed."""
    differences: tuple[MetricDifference, ...]
    """To the baseline; empty for the baseline itself and when it failed."""
    verdict: Verdict | None
    """By the primary metric; None for the baseline itself and when it failed."""
    latency: Latency | None
    failure: str
    """Why it has no metrics; empty when it ran."""
    confidence_set_p_value: float | None = None
    """The p-value with which it would leave the model confidence set; None where there is no such set."""
    deflated_sharpe: DeflatedSharpe | None = None
    """None without returns."""

    def __getitem__(self, metric: Metric | str) -> float:
        """Return a metric's value, as `result["accuracy"]`.

        Raises:
            KeyError: it was not measured.
        """
        for found in self.metrics:
            if found.metric == metric:
                return found.value
        raise KeyError(metric)


@dataclass(frozen=True)
class Conclusion:
    """Which of two versions is better, and how sure that is."""

    version: VersionRef
    against: VersionRef
    verdict: Verdict
    difference: MetricDifference
    """The version that is not the baseline minus the baseline, whichever of them is the best."""
    rows_needed: int
    """About how many rows would settle it with 80 % power; 0 when it is settled or no number would do."""
    summary: str


@dataclass(frozen=True)
class Resampling:
    """How the uncertainty was found."""

    draws: int
    block_rows: float
    """The mean number of neighbouring rows drawn together."""
    seed: int
    confidence_level: float


@dataclass(frozen=True)
class Comparison:
    """What a comparison found."""

    comparison_id: str
    kind: ModelKind
    rows: int
    label: str
    primary_metric: Metric
    baseline: VersionRef
    results: tuple[ModelResult, ...]
    """The best by the primary metric first, those that failed last."""
    best: VersionRef
    conclusion: Conclusion
    resampling: Resampling
    notes: tuple[str, ...]
    created_by: str
    created_at: datetime
    confidence_set: tuple[VersionRef, ...] = ()
    """The versions of which none can be ruled out as the best (Hansen, Lunde and Nason 2011)."""
    spa_p_value: float | None = None
    """That no version beats the baseline, all taken together (Hansen 2005)."""

    @property
    def summary(self) -> str:
        """The conclusion in a sentence or two."""
        return self.conclusion.summary

    def result(self, version: VersionRef | str) -> ModelResult:
        """Return how one version did, named as `spx-direction/3`.

        Raises:
            KeyError: it was not compared.
        """
        for found in self.results:
            if str(found.version) == str(version):
                return found
        raise KeyError(str(version))


@dataclass(frozen=True)
class DurationEstimate:
    """A time in seconds with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BatchBenchmark:
    """How fast a version is with batches of one size."""

    batch_rows: int
    calls: int
    """How many were timed."""
    p50: DurationEstimate
    p95: DurationEstimate
    p99: DurationEstimate
    rows_per_second: float


@dataclass(frozen=True)
class ModelBenchmark:
    """How fast one version is and what it needs."""

    version: VersionRef
    load_seconds: float
    size_bytes: int
    """Of its files."""
    peak_memory_bytes: int
    """The most memory that its process held, with the interpreter and the libraries."""
    batches: tuple[BatchBenchmark, ...]
    failure: str
    """Why it has no measurements; empty when it ran."""

    def __getitem__(self, batch_rows: int) -> BatchBenchmark:
        """Return the measurements with batches of so many rows.

        Raises:
            KeyError: there are none.
        """
        for batch in self.batches:
            if batch.batch_rows == batch_rows:
                return batch
        raise KeyError(batch_rows)


@dataclass(frozen=True)
class ComparisonProgress:
    """How far a comparison is."""

    fraction: float
    """From 0 to 1."""
    message: str
    """What was done last, in words."""
