"""The walk through the quarters: watch for drift, retrain when it is due, and let the policy judge the successor."""

import time
from dataclasses import dataclass
from datetime import timedelta

import pandas as pd

from modelward import Client, FollowUpState, ModelVersion
from modelward._sync.follow import Follower
from modelward.comparison import Metric, ModelResult, Verdict
from modelward.demo.chart import QuarterOfDrift, Reign
from modelward.demo.market import FEATURES, YEAR, Sample
from modelward.demo.output import Narrator, bar, listed
from modelward.demo.training import Trained, chance_of_rise, gradient_boosting, measure, random_forest, train
from modelward.errors import DeadlineExceeded
from modelward.retraining import DueModel, Job
from modelward.shared.figures import beside, p_equals, percent, score, statistic

MODEL = "spx-direction"
DATA = "S&P 500, daily"
WORKER = "trainer-1"
LAST_DAY = "2010-12-31"
WINDOW_DAYS = 4 * YEAR
"""How many days a successor learns from: as many as the first models."""
ALGORITHMS = {"random forest": random_forest, "gradient boosting": gradient_boosting}
SOON = 30.0
"""Seconds within which the server has decided about a successor, and an engine has swapped it."""
DECIDED = {FollowUpState.PROMOTED, FollowUpState.REFUSED, FollowUpState.WAITING}


@dataclass(frozen=True)
class Challenger:
    """A successor that guesses along for a quarter before it is judged."""

    version: ModelVersion
    job: Job


class Walk:
    """One quarter after another: what was in production, what was seen, what was done."""

    def __init__(self, narrator: Narrator, quant: Client, market: Sample, engine: Follower) -> None:
        self.quant = quant
        self.quarters: list[QuarterOfDrift] = []
        self._narrator, self._market, self._engine = narrator, market, engine
        self._challenger: Challenger | None = None
        self._in_production: list[int] = []
        self._days = 0
        self._days_right = 0.0

    @property
    def _champion(self) -> ModelVersion:
        return self._engine.current.version

    def through(self, name: str, days: Sample) -> None:
        """Go through one quarter."""
        self._in_production.append(self._champion.version)
        right = self._trade(days)
        self._watch(name, days, right)
        if self._challenger is not None:
            self._judge(self._challenger, name, days)
        elif days.last < LAST_DAY:  # A challenger needs a quarter to be judged on.
            for due in list(self.quant.list_due(MODEL)):
                self._retrain(due, days.last)

    def reigns(self) -> list[Reign]:
        """Return who was in production from when to when, in days of the market."""
        found: list[Reign] = []
        for version, quarter in zip(self._in_production, self.quarters, strict=True):
            label = f"version {version}"
            first = quarter.first if not found else found[-1].last
            if found and found[-1].label == label:
                first = found.pop().first
            found.append(Reign(label, first, quarter.last))
        return found

    def right_share(self) -> float:
        """Return the share of all days whose direction the version then in production foretold."""
        return self._days_right / self._days

    def _trade(self, days: Sample) -> float:
        """Foretell the quarter's days, tell the registry how that went, and return the share that was right."""
        live = measure(days.label, chance_of_rise(self._engine.current.model, days))
        self.quant.log_metrics(self._champion, {f"live_{key}": value for key, value in live.items()})
        self._days += len(days)
        self._days_right += live["accuracy"] * len(days)
        return live["accuracy"]

    def _watch(self, name: str, days: Sample, right: float) -> None:
        report = self.quant.detect_drift(self._champion, days.features, label=name)
        drifted = [feature.name for feature in report.features if feature.drifted]
        scores = {column: report.feature(column).score for column in FEATURES}
        first, last = days.features.index[[0, -1]]
        quarter = QuarterOfDrift(name, pd.Timestamp(first), pd.Timestamp(last), scores, drifted, report.drift_detected)
        self.quarters.append(quarter)
        found = f"[bold red]drift[/] in {listed(report.drivers)}" if report.drift_detected else "[green]no drift[/]"
        sure = percent(report.confidence)
        measured = f"{bar(report.score)} {score(report.score)}  sure {sure:>6}  right {percent(right)}"
        self._narrator.row(f"[bold]{name}[/]  {measured}", found)

    def _retrain(self, due: DueModel, until: str) -> None:
        job = self.quant.lease_job(MODEL, holder=WORKER, lease=timedelta(minutes=10))
        self._aside(f"Due: {'; '.join(reason.summary for reason in due.reasons)}.")
        algorithm = self._champion.tags["algorithm"]
        trained = train(ALGORITHMS[algorithm](), self._market.before(until, WINDOW_DAYS))
        because = f"Successor of version {self._champion.version}: {due.reasons[0].summary}."
        version = register(self.quant, trained, algorithm, because, job)
        self._challenger = Challenger(version, job)
        self._aside(
            f"{WORKER} leases the job and registers [bold]version {version.version}[/], trained on "
            f"{trained.days.first} to {trained.days.last}; the next quarter will judge it."
        )

    def _judge(self, challenger: Challenger, name: str, days: Sample) -> None:
        """Complete the job with the quarter, on which neither was trained, as test set; the policy does the rest."""
        champion, version = self._champion, challenger.version
        self.quant.complete_job(challenger.job, version, evaluation=(days.features, days.label))
        self._challenger = None
        job = self._decided(challenger.job)
        assert job.follow_up is not None
        found = self.quant.get_comparison(job.follow_up.comparison_id)
        evidence = _evidence(found.result(version.ref), found.result(champion.ref), name)
        self._aside(f"Neither was trained on {name}: {evidence}.")
        if job.follow_up.state is FollowUpState.PROMOTED:
            self._tell_swap(champion, version, job.follow_up.reason)
        else:
            self._aside(f"So version {champion.version} stays: {job.follow_up.reason}.")

    def _decided(self, job: Job) -> Job:
        """Wait until the server has staged, compared and decided, as the policy says."""
        deadline = time.monotonic() + SOON
        while (seen := self.quant.get_job(job.job_id)).follow_up is None or seen.follow_up.state not in DECIDED:
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"the server did not decide about {job.job_id} within {SOON:g} s")
            time.sleep(0.05)
        return seen

    def _tell_swap(self, champion: ModelVersion, version: ModelVersion, because: str) -> None:
        deadline = time.monotonic() + SOON
        while self._champion.ref != version.ref and time.monotonic() < deadline:
            time.sleep(0.01)
        self._aside(
            f"[bold]Version {self._champion.version} goes into production[/] by the policy and version "
            f"{champion.version} to the archive: {because}. The engine has swapped it already."
        )

    def _aside(self, text: str) -> None:
        self._narrator.say(text, indent=12)


def register(quant: Client, trained: Trained, algorithm: str, description: str, job: Job | None = None) -> ModelVersion:
    """Register a trained model with all that is known of it, as the result of a job if it is one's."""
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
    """Say in a line how a challenger did against the champion."""
    found = next(one for one in result.differences if one.metric is Metric.LOG_LOSS)
    luck = "not by luck" if result.verdict in {Verdict.SUPERIOR, Verdict.INFERIOR} else "which may well be luck"
    ours, theirs = beside(result["log_loss"], champion["log_loss"])
    return (
        f"log loss {ours} (version {result.version.version}) against {theirs} (version {champion.version.version}), "
        f"{statistic(abs(found.difference))} {'better' if found.difference < 0 else 'worse'}, {luck} "
        f"({p_equals(found.p_value)})"
    )
