"""What retraining knows: schedules and their triggers, why a model is due, and jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from modelward.comparison import Metric, Verdict
from modelward.errors import FieldViolation, InvalidField
from modelward.schedules import SchedulePolicy, ScheduleProblem


@dataclass(frozen=True)
class Every:
    """Due so long after the last training."""

    span: timedelta


@dataclass(frozen=True)
class Cron:
    """Due at each time that a cron expression names, if no training came after it already."""

    expression: str
    """Minute, hour, day of the month, month, day of the week, as `30 17 * * FRI`."""
    time_zone: str = "UTC"
    """The zone of its clock by its IANA name, as `America/New_York`."""


class SessionChoice(StrEnum):
    """Which of an exchange's sessions."""

    EVERY = "every"
    FIRST_OF_WEEK = "first_of_week"
    """The first of each week, which begins on Monday."""
    FIRST_OF_MONTH = "first_of_month"


@dataclass(frozen=True)
class AtSession:
    """Due by the sessions of an exchange, early closes honoured; give exactly one of the moments, up to a day."""

    calendar: str
    """The exchange by its MIC, as `XNYS`."""
    sessions: SessionChoice = SessionChoice.EVERY
    after_open: timedelta | None = None
    after_close: timedelta | None = None

    def __post_init__(self) -> None:
        if (self.after_open is None) == (self.after_close is None):
            raise InvalidField(FieldViolation("session", "give exactly one of after_open and after_close"))

    @property
    def offset(self) -> timedelta:
        """How long after the opening or the close."""
        return self.after_open if self.after_open is not None else self.after_close or timedelta(0)


@dataclass(frozen=True)
class OnDrift:
    """Due when the latest drift report of the version in production says so."""

    min_score: float | None = None
    """The least score, from 0 to 1; None: the report's own decision counts."""


@dataclass(frozen=True)
class OnPerformance:
    """Due when the latest logged value of a metric of the version in production is bad; give exactly one bound.

    Due too while the alarm of a decline in the metric stands, `accuracy` or `rmse`, that `record_outcomes` raised.
    """

    metric: str
    below: float | None = None
    above: float | None = None
    fallen_by: float | None = None
    """Lower than at registration by this much or more."""
    risen_by: float | None = None
    """Higher than at registration by this much or more."""

    def __post_init__(self) -> None:
        if len(self._bounds()) != 1:
            fix = "give exactly one of below, above, fallen_by and risen_by"
            raise InvalidField(FieldViolation("performance", fix))

    @property
    def bound(self) -> tuple[str, float]:
        """The bound's name and value, as `("below", 0.5)`."""
        return self._bounds()[0]

    def _bounds(self) -> list[tuple[str, float]]:
        names = ("below", "above", "fallen_by", "risen_by")
        return [(name, bound) for name in names if (bound := getattr(self, name)) is not None]


ByClock: TypeAlias = Every | Cron | AtSession
Trigger: TypeAlias = ByClock | OnDrift | OnPerformance


@dataclass(frozen=True)
class Schedule:
    """When a model is to be retrained; any one of the triggers makes it due."""

    schedule_id: str
    model: str
    description: str
    triggers: tuple[Trigger, ...]
    paused: bool
    pause_reason: str
    created_by: str
    created_at: datetime
    updated_at: datetime
    etag: str
    policy: SchedulePolicy = field(default_factory=SchedulePolicy)


@dataclass(frozen=True)
class PeriodicEvidence:
    """Why the clock makes a model due."""

    fired_at: datetime
    """When the trigger fired."""
    last_trained_at: datetime
    """The last training before; the schedule's creation when there was none."""


@dataclass(frozen=True)
class DriftEvidence:
    """Why drift makes a model due."""

    report_id: str
    version: int
    score: float
    min_score: float | None
    """The least score that the trigger asks for; None: the report's own decision counted."""


@dataclass(frozen=True)
class PerformanceEvidence:
    """Why a metric makes a model due."""

    metric: str
    version: int
    value: float
    threshold: float
    """The bound that the value broke; of an alarm, the value before the decline."""
    registered: float | None
    """The value at registration, where the trigger counts from it."""
    measured_at: datetime


@dataclass(frozen=True)
class RequestEvidence:
    """Who asked for retraining."""

    actor: str
    reason: str


Evidence: TypeAlias = PeriodicEvidence | DriftEvidence | PerformanceEvidence | RequestEvidence


@dataclass(frozen=True)
class DueReason:
    """One reason why a model is due."""

    schedule_id: str
    """The schedule that says so; empty when somebody asked by hand."""
    summary: str
    """The reason in words with figures."""
    since: datetime
    evidence: Evidence
    rule: str = ""
    """The trigger in words; empty when somebody asked by hand."""
    trigger: int = 0
    """Which trigger of the schedule, counted from 0."""


class JobState(StrEnum):
    """How a job stands."""

    PENDING = "pending"
    LEASED = "leased"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class DueModel:
    """A model that is due, or one of whose schedules cannot tell: that one has `problems`, and no reason."""

    model: str
    version: int
    """The version in production; 0 when there is none."""
    due_since: datetime
    last_trained_at: datetime | None
    """When it was last trained, as the triggers count it; None when it has no version."""
    reasons: tuple[DueReason, ...]
    """Every reason, the oldest first."""
    job_id: str
    """The job that is open for it; empty when there is none yet."""
    job_state: JobState | None
    """How the open job stands; None when there is none."""
    newest_data_at: datetime | None = None
    """The newest of its version's registration, its references and its observed live rows; None without a version."""
    data_age: timedelta | None = None
    """How old these data were when the server answered."""
    summary: str = ""
    """All of it in words."""
    problems: tuple[ScheduleProblem, ...] = ()
    """The triggers that cannot tell, as one whose exchange calendar has ended."""


@dataclass(frozen=True)
class JobFailure:
    """An attempt that failed."""

    attempt: int
    holder: str
    reason: str
    failed_at: datetime


class FollowUpAction(StrEnum):
    """What follows a job that succeeded; each does what those before it do."""

    NONE = "none"
    STAGE = "stage"
    """The new version is moved to staging, and a person goes on."""
    COMPARE = "compare"
    """It is compared with the version in production."""
    PROMOTE = "promote"
    """It is promoted, if the verdict and the promotion policy's gates allow."""


class FollowUpState(StrEnum):
    """How far that is which follows a job."""

    PENDING = "pending"
    STAGED = "staged"
    COMPARED = "compared"
    PROMOTED = "promoted"
    WAITING = "waiting"
    """A person decides; the reason says why."""
    REFUSED = "refused"
    """The new version was found not good enough."""


@dataclass(frozen=True)
class FollowUp:
    """What was done with a job's new version."""

    state: FollowUpState
    reason: str
    comparison_id: str
    """The comparison with the version in production; empty when there was none."""
    updated_at: datetime


@dataclass(frozen=True)
class RetrainingPolicy:
    """What a model's jobs are made with, and what follows them."""

    model: str
    queue: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What its jobs train with."""
    data_window: timedelta | None = None
    """How far back the data of a job reaches from when it is made; None: to the beginning."""
    follow_up: FollowUpAction = FollowUpAction.NONE
    promote_on: tuple[Verdict, ...] = (Verdict.SUPERIOR,)
    """The verdicts, against the version in production, that promote; superior and non-inferior are possible."""
    evaluation_uri: str = ""
    """The test set, Parquet that the server may read, where `complete_job` brings none."""
    label: str = "label"
    """The test set's column with the truth."""
    primary_metric: Metric | None = None
    """What decides; None: accuracy for classes and MSE for numbers."""
    margin: float = 0.0
    """How much worse than the version in production is still as good, in the metric's own unit."""
    etag: str = ""


@dataclass(frozen=True)
class Job:
    """One retraining of one model."""

    job_id: str
    model: str
    version: int
    """The version in production when the job was made; 0 when there was none."""
    state: JobState
    reasons: tuple[DueReason, ...]
    holder: str
    """Who holds it, or held it last."""
    lease_expires_at: datetime | None
    """Until when the lease holds; None when nobody holds it."""
    attempt: int
    """How often it was leased; the number tells a lease from those before and after it."""
    max_attempts: int
    available_at: datetime
    """Not to be leased before."""
    failures: tuple[JobFailure, ...]
    successor: int
    """The version that came of it; 0 until it is complete, or until a version is registered for it."""
    created_by: str
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    queue: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What it is to be trained with."""
    data_from: datetime | None = None
    """Where the data to train on begins; None: with the first there is."""
    data_until: datetime | None = None
    """Where they end."""
    fence: int = 0
    """The number of the last lease, greater than that of every lease of any job before it; 0 before the first."""
    progress: float = 0.0
    """How far the worker is, from 0 to 1, as it said."""
    progress_message: str = ""
    follow_up: FollowUp | None = None
    """What follows its success; None until then, and when nothing does."""

    def __hash__(self) -> int:
        return hash(self.job_id)


def triggers_of(
    every: timedelta | None = None,
    cron: str | Cron | None = None,
    session: AtSession | None = None,
    drift: bool | float | OnDrift | None = None,
    performance: OnPerformance | Sequence[OnPerformance] = (),
) -> tuple[Trigger, ...]:
    """Gather the triggers that the SDK's keywords describe.

    Args:
        every: so long after the last training.
        cron: at the times of an expression, in UTC when it is only a string.
        session: by the sessions of an exchange.
        drift: True for the report's own decision, a number for the least score.
        performance: bounds on metrics.
    """
    found: list[Trigger] = []
    if every is not None:
        found.append(Every(every))
    if cron is not None:
        found.append(Cron(cron) if isinstance(cron, str) else cron)
    if session is not None:
        found.append(session)
    if isinstance(drift, OnDrift):
        found.append(drift)
    elif drift is not None and drift is not False:
        found.append(OnDrift() if drift is True else OnDrift(float(drift)))
    return (*found, *([performance] if isinstance(performance, OnPerformance) else performance))
