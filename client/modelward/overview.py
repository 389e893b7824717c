"""Dataclasses of the overview: what needs attention, counts over all models, and the models in production."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from modelward._record import Record, TableRecord, brief, counted, quoted, sentence
from modelward.lifecycle import DriftAlarm, Halt, PerformanceAlarm, Trial


class Severity(StrEnum):
    """How urgent something is; the members are in ascending order."""

    OK = "ok"
    """Nothing needs attention."""
    NOTICE = "notice"
    """It can wait."""
    WARNING = "warning"
    """It should be looked at soon."""
    CRITICAL = "critical"
    """It should be looked at now."""


class AttentionKind(StrEnum):
    """The kind of something that needs attention; the worst is first."""

    HALTED = "halted"
    """A model is halted."""
    UNUSABLE = "unusable"
    """The trial of the version in production found that it does not load or predict."""
    ENGINES_FAILED = "engines-failed"
    """Engines could not load the version in production."""
    DRIFT_ALARM = "drift-alarm"
    """The version in production has a drift alarm."""
    PERFORMANCE_ALARM = "performance-alarm"
    """The performance of the version in production declined in the period that was tested last."""
    ENGINES_LAGGING = "engines-lagging"
    """Engines run another version than the one in production."""
    JOB_DEAD = "job-dead"
    """The newest retraining job of a model has failed permanently."""
    JOB_STUCK = "job-stuck"
    """The lease of a retraining job ran out, and no worker has leased it since."""
    SCHEDULE_PROBLEM = "schedule-problem"
    """A schedule cannot be evaluated."""
    ENGINES_GONE = "engines-gone"
    """Engines have not reported for too long."""
    MLFLOW_BEHIND = "mlflow-behind"
    """MLflow does not show changes that are older than a minute."""


@dataclass(frozen=True, repr=False)
class Attention(Record):
    """Something that needs attention."""

    kind: AttentionKind
    """What it is."""
    severity: Severity
    """How urgent it is."""
    model: str
    """The model; empty if it concerns the whole registry."""
    version: int
    """The version; 0 if it concerns none."""
    subject: str
    """What it concerns besides the version: an engine, or the id of a job, a drift report or a schedule; or empty."""
    text: str
    """A description in words."""
    since: datetime | None
    """Since when, in UTC; None if that is not known."""
    next_step: str
    """What to do, in words."""

    def _describe(self) -> str:
        return sentence(self.severity, quoted(self.text))


@dataclass(frozen=True, repr=False)
class OverviewTotals(Record):
    """Counts over all models of an overview, not only over those of its page."""

    registered: int
    """All models."""
    in_production: int
    """Models with a version in production."""
    halted: int
    """Halted models."""
    drift_alarms: int
    """Models whose version in production has a drift alarm."""
    performance_alarms: int
    """Models whose version in production has a performance alarm."""
    engines_not_converged: int
    """Engines that lag, failed to load the expected version, or are gone."""
    due: int
    """Models that are due for retraining."""
    jobs_pending: int
    """Retraining jobs that wait for a worker."""
    jobs_leased: int
    """Retraining jobs that a worker holds."""
    jobs_dead: int
    """Models whose newest retraining job has failed permanently."""


@dataclass(frozen=True, repr=False)
class DriftPoint(Record):
    """The result of one drift report."""

    report_id: str
    """The report; `get_drift_report` returns it."""
    score: float
    """Its score, from 0 to 1."""
    drift_detected: bool
    """Whether it detected drift."""
    created_at: datetime
    """When it was created, in UTC."""


@dataclass(frozen=True, repr=False)
class EngineCounts(Record):
    """Numbers of a model's engines by their state relative to the expected version."""

    total: int = 0
    """All engines that have reported."""
    converged: int = 0
    """Engines that run the expected version."""
    lagging: int = 0
    """Engines that run another version; those of a halted model too."""
    failed: int = 0
    """Engines that could not load the expected version."""
    gone: int = 0
    """Engines that have not reported for too long."""

    def _describe(self) -> str:
        return f"{self.converged} of {self.total} converged"


@dataclass(frozen=True, repr=False)
class ModelOverview(Record):
    """The state of a model that has a version in production."""

    model: str
    """The model's name."""
    version: int
    """The version in production."""
    since: datetime
    """When it was moved to production, in UTC."""
    promoted_by: str
    """The actor that moved it to production."""
    halt: Halt | None
    """The halt; None while the model may be used."""
    trial: Trial | None
    """Whether the version loads and predicts; None if that is not known."""
    drift: tuple[DriftPoint, ...]
    """The version's last drift reports, the oldest first; 20 at most."""
    drift_alarm: DriftAlarm | None
    """The active drift alarm; None if there is none."""
    performance_alarm: PerformanceAlarm | None
    """The alarm of the period that was tested last; None if the performance did not decline in it."""
    engines: EngineCounts
    """The engines that have reported."""
    due_reasons: tuple[str, ...]
    """Why the model is due for retraining, in a few words each; empty if it is not."""
    severity: Severity
    """The greatest severity of what needs attention about this model."""

    def _describe(self) -> str:
        return sentence(quoted(f"{self.model}/{self.version}"), self.severity, f"since {brief(self.since)}")


@dataclass(frozen=True, repr=False)
class Overview(TableRecord):
    """What needs attention first, counts over all models, and a page of the models in production."""

    attention: tuple[Attention, ...]
    """What needs attention, the worst first; 50 at most."""
    attention_total: int
    """How much needs attention, including what is not listed."""
    totals: OverviewTotals
    """Counts over all models."""
    models: tuple[ModelOverview, ...]
    """The models that have a version in production, the worst first, then sorted by name."""
    next_page_token: str
    """Token for the next page of models; empty on the last page."""

    def _describe(self) -> str:
        return sentence(
            counted(self.totals.in_production, "model") + " in production",
            f"attention needed: {self.attention_total:,}" if self.attention_total else "nothing needs attention",
        )

    def _rows(self) -> Sequence[ModelOverview]:
        return self.models
