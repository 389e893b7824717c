"""Dataclasses of retraining: schedules and their triggers, due reasons, and jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from modelward._record import Record, brief, counted, quoted, sentence
from modelward.comparison import Metric, Verdict
from modelward.errors import FieldViolation, InvalidField
from modelward.schedules import SchedulePolicy, ScheduleProblem


@dataclass(frozen=True, repr=False)
class Every(Record):
    """Due this long after the last training."""

    span: timedelta
    """The time after the last training; at least a minute."""


@dataclass(frozen=True, repr=False)
class Cron(Record):
    """Due at each time of a cron expression, unless a training took place since then."""

    expression: str
    """Minute, hour, day of month, month, day of week, for example `30 17 * * FRI`."""
    time_zone: str = "UTC"
    """IANA name of its time zone, for example `America/New_York`."""


class SessionChoice(StrEnum):
    """Which of an exchange's sessions count."""

    EVERY = "every"
    """Every session."""
    FIRST_OF_WEEK = "first_of_week"
    """The first of each week, which begins on Monday."""
    FIRST_OF_MONTH = "first_of_month"
    """The first of each month."""
    LAST_OF_WEEK = "last_of_week"
    """The last of each week."""
    LAST_OF_MONTH = "last_of_month"
    """The last of each month."""


@dataclass(frozen=True, repr=False)
class AtSession(Record):
    """Due at sessions of an exchange, early closes included; give exactly one of the offsets, at most a day."""

    calendar: str
    """MIC of the exchange, for example `XNYS`."""
    sessions: SessionChoice = SessionChoice.EVERY
    """Which sessions count."""
    after_open: timedelta | None = None
    """Offset after the open; None when the close counts."""
    after_close: timedelta | None = None
    """Offset after the close, earlier on days of an early close; None when the open counts."""
    closure_days: int = 0
    """Only sessions beside closures of at least this many calendar days, weekends included; 0: all of `sessions`."""
    closure_session: int = 1
    """Which of them: 1 is the first after a closure, 3 the third, -1 the last before it."""

    def __post_init__(self) -> None:
        if (self.after_open is None) == (self.after_close is None):
            raise InvalidField(FieldViolation("session", "give exactly one of after_open and after_close"))
        if not self.closure_session:
            fix = "is 0; 1 is the first session after a closure, -1 the last before it"
            raise InvalidField(FieldViolation("closure_session", fix))

    @property
    def offset(self) -> timedelta:
        """The offset after the open or the close."""
        return self.after_open if self.after_open is not None else self.after_close or timedelta(0)


@dataclass(frozen=True, repr=False)
class OnDrift(Record):
    """Due when the latest drift report of the version in production reports drift."""

    min_score: float | None = None
    """The minimum score, from 0 to 1; None means the report's own decision."""


@dataclass(frozen=True, repr=False)
class OnPerformance(Record):
    """Due when the latest logged value of a metric of the version in production breaks a bound; give exactly one.

    Also due while a performance alarm for the metric, `accuracy` or `rmse`, raised by `record_outcomes`, is active.
    """

    metric: str
    """The metric's name."""
    below: float | None = None
    """The value is below this bound."""
    above: float | None = None
    """The value is above this bound."""
    fallen_by: float | None = None
    """Lower than at registration by this amount or more."""
    risen_by: float | None = None
    """Higher than at registration by this amount or more."""

    def __post_init__(self) -> None:
        if len(self._bounds()) != 1:
            fix = "give exactly one of below, above, fallen_by and risen_by"
            raise InvalidField(FieldViolation("performance", fix))

    @property
    def bound(self) -> tuple[str, float]:
        """The bound's name and value, such as `("below", 0.5)`."""
        return self._bounds()[0]

    def _bounds(self) -> list[tuple[str, float]]:
        names = ("below", "above", "fallen_by", "risen_by")
        return [(name, bound) for name in names if (bound := getattr(self, name)) is not None]


ByClock: TypeAlias = Every | Cron | AtSession
Trigger: TypeAlias = ByClock | OnDrift | OnPerformance


@dataclass(frozen=True, repr=False)
class Schedule(Record):
    """A model's retraining schedule; any one of the triggers makes the model due."""

    schedule_id: str
    """Its id."""
    model: str
    """The model's name."""
    description: str
    """Its purpose, as free text; may be empty."""
    triggers: tuple[Trigger, ...]
    """Its triggers, at least one."""
    paused: bool
    """Whether it is paused, and so does not make its model due."""
    pause_reason: str
    """Why it was paused; empty when it is not, or no reason was given."""
    created_by: str
    """Who created it."""
    created_at: datetime
    """When it was created, in UTC."""
    updated_at: datetime
    """When it last changed, in UTC."""
    etag: str
    """Changes with every change of the schedule; pass it with a change to detect concurrent ones."""
    policy: SchedulePolicy = field(default_factory=SchedulePolicy)
    """Its firing policy."""

    def _describe(self) -> str:
        triggers = ", ".join(type(trigger).__name__ for trigger in self.triggers)
        paused = "paused" if self.paused else ""
        return sentence(f"{quoted(self.schedule_id)} of {quoted(self.model)}: {triggers}", paused)


@dataclass(frozen=True, repr=False)
class PeriodicEvidence(Record):
    """Evidence of a periodic, cron or session trigger."""

    fired_at: datetime
    """The time when the trigger fired."""
    last_trained_at: datetime
    """The previous training; the schedule's creation when there was none."""


@dataclass(frozen=True, repr=False)
class DriftEvidence(Record):
    """Evidence of a drift trigger."""

    report_id: str
    """The drift report; `get_drift_report` returns it."""
    version: int
    """The number of the version whose reference was used."""
    score: float
    """The report's score, from 0 to 1."""
    min_score: float | None
    """The trigger's minimum score; None when the report's own decision counted."""


@dataclass(frozen=True, repr=False)
class PerformanceEvidence(Record):
    """Evidence of a performance trigger."""

    metric: str
    """The metric's name."""
    version: int
    """The number of the version concerned."""
    value: float
    """The latest value."""
    threshold: float
    """The bound that the value broke; for an alarm, the value before the decline."""
    registered: float | None
    """The value at registration, where the trigger is relative to it."""
    measured_at: datetime
    """When the latest value was measured, in UTC."""


@dataclass(frozen=True, repr=False)
class RequestEvidence(Record):
    """Evidence of a manual request."""

    actor: str
    """Who requested the retraining."""
    reason: str
    """The reason given; may be empty."""


Evidence: TypeAlias = PeriodicEvidence | DriftEvidence | PerformanceEvidence | RequestEvidence


@dataclass(frozen=True, repr=False)
class DueReason(Record):
    """One reason why a model is due."""

    schedule_id: str
    """The schedule concerned; empty for a manual request."""
    summary: str
    """The reason in words with numbers."""
    since: datetime
    """Since when it holds, in UTC."""
    evidence: Evidence
    """What the trigger was decided by."""
    rule: str = ""
    """The trigger in words; empty for a manual request."""
    trigger: int = 0
    """Index of the trigger in the schedule, from 0."""

    def _describe(self) -> str:
        return f"{quoted(self.summary)}, since {brief(self.since)}"


class JobState(StrEnum):
    """The state of a job."""

    PENDING = "pending"
    """Not leased; a worker may lease it from `available_at` on."""
    LEASED = "leased"
    """A worker holds it."""
    SUCCEEDED = "succeeded"
    """It ended with a new version."""
    FAILED = "failed"
    """It failed permanently; `retry_job` opens it again."""


@dataclass(frozen=True, repr=False)
class DueModel(Record):
    """A model that is due, or one with a schedule that cannot be evaluated: that one has `problems`, and no reason."""

    model: str
    """The model's name."""
    version: int
    """The version in production; 0 when there is none."""
    due_since: datetime
    """Since when it is due, in UTC."""
    last_trained_at: datetime | None
    """The last training, as the triggers count it; None when the model has no version."""
    reasons: tuple[DueReason, ...]
    """Every reason, the oldest first."""
    job_id: str
    """Its open job; empty when there is none yet."""
    job_state: JobState | None
    """The state of the open job; None when there is none."""
    newest_data_at: datetime | None = None
    """The latest of its version's registration, its references and its observed live rows; None without a version."""
    data_age: timedelta | None = None
    """Age of these data at the time of the server's answer."""
    summary: str = ""
    """A summary in words."""
    problems: tuple[ScheduleProblem, ...] = ()
    """The triggers that cannot be evaluated, for example because their exchange calendar has ended."""

    def _describe(self) -> str:
        due = f"due since {brief(self.due_since)}" if self.reasons else "not due"
        problems = counted(len(self.problems), "problem") if self.problems else ""
        job = f"job {self.job_state}" if self.job_state else ""
        return sentence(f"{quoted(self.model)}: {due}", counted(len(self.reasons), "reason"), problems, job)


@dataclass(frozen=True, repr=False)
class JobFailure(Record):
    """A failed attempt."""

    attempt: int
    """The number of the attempt, from 1."""
    holder: str
    """The worker that held the job."""
    reason: str
    """What the worker reported, or that its lease expired."""
    failed_at: datetime
    """When it failed, in UTC."""

    def _describe(self) -> str:
        return f"attempt {self.attempt} by {quoted(self.holder)}: {quoted(self.reason)}, {brief(self.failed_at)}"


class FollowUpAction(StrEnum):
    """The follow-up of a successful job; each action includes those before it."""

    NONE = "none"
    """The new version stays where it is."""
    STAGE = "stage"
    """The new version is moved to staging; a person decides about the rest."""
    COMPARE = "compare"
    """It is compared with the version in production."""
    PROMOTE = "promote"
    """It is promoted, if the verdict and the promotion policy's gates allow."""


class FollowUpState(StrEnum):
    """The state of a job's follow-up."""

    PENDING = "pending"
    """The new version is about to be moved to staging."""
    STAGED = "staged"
    """It is in staging, and is about to be compared."""
    COMPARED = "compared"
    """It was compared; verdict and gates are about to decide."""
    PROMOTED = "promoted"
    """It was promoted to production."""
    WAITING = "waiting"
    """A person must decide; the reason is given."""
    REFUSED = "refused"
    """The new version was judged not good enough."""


@dataclass(frozen=True, repr=False)
class FollowUp(Record):
    """The follow-up of a job: what was done with its new version."""

    state: FollowUpState
    """How far it is."""
    reason: str
    """Why it is in this state, in words."""
    comparison_id: str
    """The comparison with the version in production; empty when there was none."""
    updated_at: datetime
    """When it last changed, in UTC."""


@dataclass(frozen=True, repr=False)
class EvaluationWindow(Record):
    """A moving evaluation window: the last sessions of an exchange that have closed when a job is created."""

    calendar: str
    """The exchange's calendar, by its MIC, such as `XNYS`."""
    sessions: int
    """The number of sessions."""
    embargo: int = 0
    """The number of sessions between the training data and the window; at least as many as a label reaches."""


@dataclass(frozen=True, repr=False)
class RetrainingPolicy(Record):
    """A model's retraining policy: the inputs of its jobs and their follow-up."""

    model: str
    """The model's name."""
    queue: str = "default"
    """The queue of its jobs."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of its jobs, by which workers select them."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The parameters of its trainings."""
    data_window: timedelta | None = None
    """Length of a job's training data, back from their end; None means from the beginning."""
    follow_up: FollowUpAction = FollowUpAction.NONE
    """What happens with the new version of a successful job."""
    promote_on: tuple[Verdict, ...] = (Verdict.SUPERIOR,)
    """The verdicts against the version in production that lead to promotion; superior and non-inferior are possible."""
    evaluation_uri: str = ""
    """The test set, Parquet that the server may read, used where `complete_job` passes none."""
    label: str = "label"
    """The test set's label column."""
    primary_metric: Metric | None = None
    """The deciding metric; None means accuracy for classes and MSE for numbers."""
    margin: float = 0.0
    """How much worse than the version in production is still acceptable, in the metric's own unit."""
    etag: str = ""
    """Changes with every change of the policy; pass it with a change to detect concurrent ones."""
    returns: str = ""
    """The test set's column with the return of a position of 1 over each row, as a fraction, for trading metrics."""
    cost_bps: float = 0.0
    """The cost of changing a position by 1, in basis points."""
    time: str = ""
    """The test set's column with the time of each row; empty: that of the references, if the test set has it."""
    group: str = ""
    """The test set's column with the group of each row, such as its symbol; empty: that of the references."""
    horizon: int = 1
    """The number of times over which a label reaches: labels of neighbouring times then overlap."""
    evaluation_window: EvaluationWindow | None = None
    """The part of the test set at `evaluation_uri` that counts; training data end before it. None means all of it."""


@dataclass(frozen=True, repr=False)
class Job(Record):
    """One retraining of one model."""

    job_id: str
    """Its id, generated by the server."""
    model: str
    """The model's name."""
    version: int
    """The version in production when the job was created; 0 when there was none."""
    state: JobState
    """Its state."""
    reasons: tuple[DueReason, ...]
    """Why the model is retrained, the oldest reason first."""
    holder: str
    """The worker that holds it, or held it last."""
    lease_expires_at: datetime | None
    """Expiry of the lease; None when nobody holds the job."""
    attempt: int
    """Number of leases so far; it distinguishes a lease from those before and after it."""
    max_attempts: int
    """The number of attempts after which it has failed permanently."""
    available_at: datetime
    """The job cannot be leased before this time."""
    failures: tuple[JobFailure, ...]
    """The failed attempts, the oldest first."""
    successor: int
    """The version that the job produced; 0 until the job is complete or a version is registered for it."""
    created_by: str
    """Who requested it."""
    created_at: datetime
    """When it was created, in UTC."""
    updated_at: datetime
    """When it last changed, in UTC."""
    ended_at: datetime | None
    """When it ended, in UTC; None while it is open."""
    queue: str = "default"
    """Its queue."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels, by which workers select jobs."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The training parameters."""
    data_from: datetime | None = None
    """Start of the training data; None means from the first row."""
    data_until: datetime | None = None
    """End of the training data."""
    fence: int = 0
    """The number of the last lease, greater than that of every earlier lease of any job; 0 before the first."""
    progress: float = 0.0
    """Progress from 0 to 1, as the worker reported it."""
    progress_message: str = ""
    """The current step, as the worker reported it; may be empty."""
    follow_up: FollowUp | None = None
    """The follow-up of its success; None until then, and without a follow-up."""

    def __hash__(self) -> int:
        return hash(self.job_id)

    def _describe(self) -> str:
        holder = f"held by {quoted(self.holder)}" if self.state is JobState.LEASED else ""
        successor = f"version {self.successor}" if self.successor else ""
        attempts = f"attempt {self.attempt} of {self.max_attempts}"
        return sentence(f"{quoted(self.job_id)} of {quoted(self.model)}: {self.state}", holder, successor, attempts)


def triggers_of(
    every: timedelta | None = None,
    cron: str | Cron | None = None,
    session: AtSession | None = None,
    drift: bool | float | OnDrift | None = None,
    performance: OnPerformance | Sequence[OnPerformance] = (),
) -> tuple[Trigger, ...]:
    """Build triggers from the SDK's keyword arguments.

    Args:
        every: the time after the last training.
        cron: a cron expression, in UTC when it is a plain string.
        session: sessions of an exchange.
        drift: True for the report's own decision, a number for the minimum score.
        performance: bounds on metrics.

    Returns:
        The triggers, in the order of the arguments.

    Examples:
        >>> [type(trigger).__name__ for trigger in triggers_of(cron="30 17 * * FRI", drift=0.6)]
        ['Cron', 'OnDrift']
    """
    triggers: list[Trigger] = []
    if every is not None:
        triggers.append(Every(every))
    if cron is not None:
        triggers.append(Cron(cron) if isinstance(cron, str) else cron)
    if session is not None:
        triggers.append(session)
    if isinstance(drift, OnDrift):
        triggers.append(drift)
    elif drift is not None and drift is not False:
        triggers.append(OnDrift() if drift is True else OnDrift(float(drift)))
    return (*triggers, *([performance] if isinstance(performance, OnPerformance) else performance))
