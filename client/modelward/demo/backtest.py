"""A backtest by quarter: detect drift, retrain when due, and let the policy decide about the successor."""

import time
from dataclasses import dataclass
from datetime import timedelta

import pandas as pd

from modelward import Client, FollowUpState, ModelVersion
from modelward._sync.follow import Follower
from modelward.comparison import Metric, ModelResult, Verdict
from modelward.demo.chart import ProductionPeriod, QuarterOfDrift
from modelward.demo.market import FEATURES, YEAR, Sample
from modelward.demo.output import DemoOutput, bar, listed
from modelward.demo.training import Trained, gradient_boosting, measure, random_forest, rise_probability, train
from modelward.errors import DeadlineExceeded
from modelward.retraining import DueModel, Job
from modelward.shared.figures import beside, p_equals, percent, score, statistic

MODEL = "spx-direction"
DATA = "S&P 500, daily"
WORKER = "trainer-1"
LAST_DAY = "2010-12-31"
WINDOW_DAYS = 4 * YEAR
"""Number of training days of a successor, the same as for the first models."""
ALGORITHMS = {"random forest": random_forest, "gradient boosting": gradient_boosting}
DECISION_SECONDS = 30.0
"""Seconds within which the server must decide about a successor and an engine switch to it."""
DECIDED = {FollowUpState.PROMOTED, FollowUpState.REFUSED, FollowUpState.WAITING}


@dataclass(frozen=True)
class Challenger:
    """A successor that waits for a quarter of test data before it is evaluated."""

    version: ModelVersion
    job: Job


class Backtest:
    """The backtest: for each quarter, the production version, the drift detected and the actions taken."""

    def __init__(self, output: DemoOutput, quant: Client, market: Sample, engine: Follower) -> None:
        self.quant = quant
        self.quarters: list[QuarterOfDrift] = []
        self._output, self._market, self._engine = output, market, engine
        self._challenger: Challenger | None = None
        self._in_production: list[int] = []
        self._days = 0
        self._days_right = 0.0

    @property
    def _champion(self) -> ModelVersion:
        return self._engine.current.version

    def process_quarter(self, name: str, days: Sample) -> None:
        """Process one quarter."""
        self._in_production.append(self._champion.version)
        daily_accuracy = self._predict(days)
        self._detect_drift(name, days, daily_accuracy)
        if self._challenger is not None:
            self._evaluate(self._challenger, name, days)
        elif days.last < LAST_DAY:  # A challenger is evaluated on one more quarter.
            for due in list(self.quant.list_due(MODEL)):
                self._retrain(due, days.last)

    def production_periods(self) -> list[ProductionPeriod]:
        """Return the periods of the production versions, in market days."""
        periods: list[ProductionPeriod] = []
        for version, quarter in zip(self._in_production, self.quarters, strict=True):
            label = f"version {version}"
            first = quarter.first if not periods else periods[-1].last
            if periods and periods[-1].label == label:
                first = periods.pop().first
            periods.append(ProductionPeriod(label, first, quarter.last))
        return periods

    def accuracy(self) -> float:
        """Return the share of days whose direction the production version predicted correctly."""
        return self._days_right / self._days

    def _predict(self, days: Sample) -> float:
        """Predict the quarter's days, log the metrics, and return the accuracy."""
        live = measure(days.label, rise_probability(self._engine.current.model, days))
        self.quant.log_metrics(self._champion, {f"live_{key}": value for key, value in live.items()})
        self._days += len(days)
        self._days_right += live["accuracy"] * len(days)
        return live["accuracy"]

    def _detect_drift(self, name: str, days: Sample, daily_accuracy: float) -> None:
        report = self.quant.detect_drift(self._champion, days.features, label=name)
        drifted = [feature.name for feature in report.features if feature.drifted]
        scores = {column: report.feature(column).score for column in FEATURES}
        first, last = days.features.index[[0, -1]]
        quarter = QuarterOfDrift(name, pd.Timestamp(first), pd.Timestamp(last), scores, drifted, report.drift_detected)
        self.quarters.append(quarter)
        drift = f"[bold red]drift[/] in {listed(report.drivers)}" if report.drift_detected else "[green]no drift[/]"
        confidence = percent(report.confidence)
        measured = (
            f"{bar(report.score)} {score(report.score)}  confidence {confidence:>6}  accuracy {percent(daily_accuracy)}"
        )
        self._output.row(f"[bold]{name}[/]  {measured}", drift)

    def _retrain(self, due: DueModel, until: str) -> None:
        job = self.quant.lease_job(MODEL, holder=WORKER, lease=timedelta(minutes=10))
        self._detail(f"Due: {'; '.join(reason.summary for reason in due.reasons)}.")
        algorithm = self._champion.tags["algorithm"]
        trained = train(ALGORITHMS[algorithm](), self._market.before(until, WINDOW_DAYS))
        because = f"Successor of version {self._champion.version}: {due.reasons[0].summary}."
        version = register(self.quant, trained, algorithm, because, job)
        self._challenger = Challenger(version, job)
        self._detail(
            f"{WORKER} leases the job and registers [bold]version {version.version}[/], trained on "
            f"{trained.days.first} to {trained.days.last}; it is evaluated on the next quarter."
        )

    def _evaluate(self, challenger: Challenger, name: str, days: Sample) -> None:
        """Complete the job with the quarter, on which neither version was trained, as test set; the policy decides."""
        champion, version = self._champion, challenger.version
        self.quant.complete_job(challenger.job, version, evaluation=(days.features, days.label))
        self._challenger = None
        job = self._wait_for_decision(challenger.job)
        assert job.follow_up is not None
        comparison = self.quant.get_comparison(job.follow_up.comparison_id)
        evidence = _evidence(comparison.result(version.ref), comparison.result(champion.ref), name)
        self._detail(f"Neither was trained on {name}: {evidence}.")
        if job.follow_up.state is FollowUpState.PROMOTED:
            self._report_swap(champion, version, job.follow_up.reason)
        else:
            self._detail(f"Version {champion.version} stays in production: {job.follow_up.reason}.")

    def _wait_for_decision(self, job: Job) -> Job:
        """Wait until the server has staged the successor, compared it and decided by the policy."""
        deadline = time.monotonic() + DECISION_SECONDS
        while (current := self.quant.get_job(job.job_id)).follow_up is None or current.follow_up.state not in DECIDED:
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"the server did not decide about {job.job_id} within {DECISION_SECONDS:g} s")
            time.sleep(0.05)
        return current

    def _report_swap(self, champion: ModelVersion, version: ModelVersion, because: str) -> None:
        deadline = time.monotonic() + DECISION_SECONDS
        while self._champion.ref != version.ref and time.monotonic() < deadline:
            time.sleep(0.01)
        self._detail(
            f"[bold]Version {self._champion.version} is promoted to production[/] by the policy and version "
            f"{champion.version} is archived: {because}. The engine has already switched to it."
        )

    def _detail(self, text: str) -> None:
        self._output.say(text, indent=12)


def register(quant: Client, trained: Trained, algorithm: str, description: str, job: Job | None = None) -> ModelVersion:
    """Register a trained model with its metrics, tags and reference data, as the result of a job if there is one."""
    days = trained.days
    return quant.register(
        MODEL,
        trained.estimator,
        metrics=trained.metrics,
        tags={"algorithm": algorithm, "data": DATA, "trained_from": days.first, "trained_to": days.last},
        description=description,
        reference=days.features,
        job=job,
    )


def _evidence(result: ModelResult, champion: ModelResult, name: str) -> str:
    """Summarize a challenger's result against the champion in one line."""
    difference = next(item for item in result.differences if item.metric is Metric.LOG_LOSS)
    significance = "" if result.verdict in {Verdict.SUPERIOR, Verdict.INFERIOR} else "not "
    ours, theirs = beside(result["log_loss"], champion["log_loss"])
    return (
        f"log loss {ours} (version {result.version.version}) against {theirs} (version {champion.version.version}), "
        f"{statistic(abs(difference.difference))} {'better' if difference.difference < 0 else 'worse'}, "
        f"{significance}statistically significant ({p_equals(difference.p_value)})"
    )
