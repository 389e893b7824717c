"""Dataclasses of the registry: models, versions, their files and stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from modelward._given import check_given
from modelward._record import Record, TableRecord, brief, counted, quoted, sentence
from modelward.backtest import Overfitting, ValidationFold
from modelward.drills import Drill
from modelward.findings import Finding, FindingSeverity
from modelward.inventory import Inventory, Lineage
from modelward.leaks import LeakKind
from modelward.shared.figures import duration, metric, p_equals, statistic
from modelward.signature import Signature

T = TypeVar("T")


class Stage(StrEnum):
    """The stage of a version; the order of the members is the usual order of transitions."""

    TRAINING = "training"
    """Registered, not yet reviewed; every version begins here."""
    STAGING = "staging"
    """A candidate for production."""
    PRODUCTION = "production"
    """In use; at most one version of a model at a time."""
    ARCHIVED = "archived"
    """No longer in use; a rollback may restore it."""


class ModelFormat(StrEnum):
    """The format in which a model is stored; it determines who can load and run it."""

    SKOPS = "skops"
    """A scikit-learn estimator as a skops file, which runs no code when it is read."""
    ONNX = "onnx"
    """An ONNX graph."""
    PICKLE = "pickle"
    """A pickle; reading it runs its author's code, so it is loaded only where that is allowed."""
    OTHER = "other"
    """Any other files; they are stored and served; a loader of your own can load them."""

    @staticmethod
    def named(name: str) -> "ModelFormat | str":
        """Return the member with that value, or the name itself: that of a format of another package.

        Args:
            name: the format's name.

        Raises:
            InvalidField: it is no text.
        """
        check_given("name", name, str)
        return next((known for known in ModelFormat if known == name), name)


@dataclass(frozen=True, repr=False)
class VersionRef(Record):
    """A reference to one version of one model; written `spx-direction/3`."""

    model: str
    """The model's name."""
    version: int
    """The version's number, from 1."""

    def __str__(self) -> str:
        return f"{self.model}/{self.version}"

    def _describe(self) -> str:
        return f"{quoted(self.model)}, {self.version}"


@dataclass(frozen=True, repr=False)
class ArtifactFile(Record):
    """One file of a version."""

    path: str
    """Path below the artifact's root, with forward slashes."""
    size_bytes: int
    """Its size in bytes."""
    sha256: str
    """64 lowercase hexadecimal digits."""


@dataclass(frozen=True, repr=False)
class Halt(Record):
    """A halt: the reason why a model must not be used."""

    actor: str
    """Who halted the model."""
    reason: str
    """The reason given."""
    halted_at: datetime
    """When it was halted, in UTC."""


@dataclass(frozen=True, repr=False)
class Model(Record):
    """A registered model: a named sequence of versions for one task."""

    name: str
    """Its name, unique on the server."""
    description: str
    """Its purpose, as free text; may be empty."""
    tags: Mapping[str, str]
    """Free labels, such as `{"desk": "index"}`."""
    created_at: datetime
    """When it was created, in UTC."""
    updated_at: datetime
    """When it, or the stage of one of its versions, last changed, in UTC."""
    latest_version: int
    """The highest version number; 0 when there is no version yet."""
    production_version: int
    """The version in production; 0 when there is none."""
    halt: Halt | None
    """The halt; None while the model may be used."""
    etag: str
    """Changes with every change of the model; pass it with a change to detect concurrent ones."""
    inventory: Inventory = field(default_factory=Inventory)
    """What the inventory states of it: owners, purpose, tier, scope and more."""

    def __hash__(self) -> int:
        return hash(self.name)

    def _describe(self) -> str:
        in_production = f"{self.production_version} in production" if self.production_version else ""
        versions = counted(self.latest_version, "version")
        return sentence(quoted(self.name), versions, in_production, "halted" if self.halt else "")


@dataclass(frozen=True, repr=False)
class ArtifactDeletion(Record):
    """The deletion of a version's files."""

    deleted_by: str
    """Who deleted the files."""
    reason: str
    """The reason given."""
    deleted_at: datetime
    """When they were deleted, in UTC."""


class TrialResult(StrEnum):
    """Whether a version can be used."""

    PENDING = "pending"
    """The trial has not ended."""
    USABLE = "usable"
    """Its model was loaded, and predicted."""
    UNUSABLE = "unusable"
    """It did not load, or did not predict."""
    NOT_TRIED = "not tried"
    """The server could not try it; the reason says what is missing."""


@dataclass(frozen=True, repr=False)
class Trial(Record):
    """The trial of a version: its files are checked, loaded and run in the server's sandbox."""

    result: TrialResult
    """The result."""
    reason: str = ""
    """Why it is unusable or was not tried; empty otherwise."""
    tried_with: str = ""
    """The rows that it predicted, such as `100 rows of its reference`; empty if it was not tried."""
    tried_at: datetime | None = None
    """When the trial ended, in UTC; None while it has not."""

    def _describe(self) -> str:
        return sentence(self.result, self.tried_with, quoted(self.reason) if self.reason else "")


@dataclass(frozen=True, repr=False)
class TrainingWindow(Record):
    """The times of the data that a version was trained on."""

    first: str
    """The first time: a date or time of ISO 8601 in UTC, or an integer."""
    last: str
    """The last time; a date is the whole day."""
    horizon: timedelta = timedelta(0)
    """How long after a row its label is known."""

    def _describe(self) -> str:
        return f"{self.first} to {self.last}" + (f", labels {duration(self.horizon)} later" if self.horizon else "")


@dataclass(frozen=True, repr=False)
class ModelSignature(Record):
    """A verified signature over a version's files, by the OpenSSF model signing specification."""

    fingerprint: str
    """SHA-256 of the key that signed, as SubjectPublicKeyInfo in DER, as hex."""
    trusted_fingerprint: str
    """The same of the trusted key: the key itself, or that of the root certificate above its certificate."""
    signer: str
    """The name of the file of that key or root certificate."""
    verified_at: datetime
    """When it was verified, in UTC."""
    bundle_sha256: str
    """SHA-256 of the bundle, as hex."""
    unsigned_files: tuple[str, ...] = ()
    """Files of the version that the signature does not cover, sorted, such as `model.sig` itself."""

    def _describe(self) -> str:
        return f"by {self.signer}, key {self.fingerprint[:16]}"


@dataclass(frozen=True, repr=False)
class Origin(Record):
    """The version of another registry that a version was imported from, as the signed evidence pack has it."""

    source_model: str
    """The name of its model there."""
    source_version: int
    """Its number there."""
    registrants: tuple[str, ...]
    """Who registered it there, and the registrants of its own origin if it had been imported there; sorted."""
    registered_at: datetime
    """When it was registered there, in UTC."""
    registration_hash: str
    """The hash of the record of its registration in the audit log there, as hex: no other version has the same."""
    registration_sequence: int
    """The number of that record."""
    key_id: str
    """The id of the trusted key that signed the pack."""
    pack_sha256: str
    """SHA-256 of the pack, as hex."""
    pack_bytes: int
    """The size of the pack in bytes."""
    exported_at: datetime
    """When the pack was made, in UTC."""
    log_records: int
    """The number of records of the audit log there, to whose head the proofs of the pack lead."""
    log_root: str
    """The root of the Merkle tree over these records, as hex."""

    @property
    def ref(self) -> VersionRef:
        """The reference to the version there."""
        return VersionRef(self.source_model, self.source_version)

    def _describe(self) -> str:
        return f"{self.ref} of the registry with the key {self.key_id[:16]}, by {', '.join(self.registrants)}"


@dataclass(frozen=True, repr=False)
class ModelVersion(Record):
    """One version of a model: immutable files and their metadata."""

    model: str
    """The model's name."""
    version: int
    """Its number, counted from 1 within the model and never used again."""
    stage: Stage
    """Its stage."""
    description: str
    """What distinguishes it, as free text; may be empty."""
    tags: Mapping[str, str]
    """Free labels."""
    params: Mapping[str, str]
    """Training parameters, as text."""
    metrics: Mapping[str, float]
    """The value of each metric that was measured last; all finite."""
    files: tuple[ArtifactFile, ...]
    """Its files, sorted by path."""
    format: ModelFormat | str
    """The format of its model; text for a format of another package."""
    framework: str
    """The library that created it, such as `scikit-learn 1.7.2`."""
    digest: str
    """SHA-256 over the sorted manifest."""
    created_by: str
    """Who registered it."""
    created_at: datetime
    """When it was registered, in UTC."""
    updated_at: datetime
    """When it last changed, in UTC."""
    stage_since: datetime
    """When it entered its stage, in UTC."""
    run_id: str
    """The MLflow run of the version; empty until the mirror has created it."""
    mlflow_version: str
    """Its number in MLflow's registry; empty until the mirror has created it."""
    references: tuple[str, ...]
    """Names of its reference data sets for drift detection."""
    etag: str
    """Changes with every change of the version; pass it with a change to detect concurrent ones."""
    artifact_deletion: ArtifactDeletion | None = None
    """None while its files exist."""
    model_file: str = ""
    """The path of the file that holds its model; empty if the server does not know its format."""
    signature: Signature | None = None
    """The columns that its model takes, what it predicts, and its classes; None while nothing is known."""
    trial: Trial | None = None
    """Whether its model loads and predicts; None for a version of a server that does not try."""
    overfitting: Overfitting | None = None
    """What the number of configurations that were tried says of its backtest; None if it was not told."""
    folds: tuple[ValidationFold, ...] = ()
    """The folds of its cross-validation."""
    training_window: TrainingWindow | None = None
    """The times of its training data; None if they were not told."""
    lineage: Lineage = field(default_factory=Lineage)
    """Where it comes from, and what is known of it."""
    job_id: str = ""
    """The retraining job that registered it; empty if none did."""
    model_signature: ModelSignature | None = None
    """The signature over its files that was verified when it was registered; None if there was none."""
    origin: Origin | None = None
    """Where it was imported from with an evidence pack; None for a version that was registered here."""

    @property
    def registrants(self) -> tuple[str, ...]:
        """Who registered it, here and where it was imported from: none of them is independent of it."""
        return tuple(dict.fromkeys([self.created_by, *(self.origin.registrants if self.origin else ())]))

    @property
    def ref(self) -> VersionRef:
        """The reference to the version, written `spx-direction/3`."""
        return VersionRef(self.model, self.version)

    def __str__(self) -> str:
        return str(self.ref)

    def __hash__(self) -> int:
        return hash(self.ref)

    def _describe(self) -> str:
        return sentence(f"{quoted(self.ref)}: {self.stage}", self.format, counted(len(self.files), "file"))


@dataclass(frozen=True, repr=False)
class MetricRange(Record):
    """A condition on one metric; versions without the metric do not meet it."""

    key: str
    """The metric's name."""
    at_least: float | None = None
    """Lower bound, inclusive; None means no bound."""
    at_most: float | None = None
    """Upper bound, inclusive; None means no bound."""


@dataclass(frozen=True, repr=False)
class GateResult(Record):
    """The result of one promotion gate."""

    gate: str
    """The gate's name, such as `metrics.accuracy`."""
    passed: bool
    """Whether the version passed it."""
    evidence: str
    """The evidence in words with figures."""

    def _describe(self) -> str:
        return f"{quoted(self.gate)}: {'passed' if self.passed else 'failed'}, {quoted(self.evidence)}"


@dataclass(frozen=True, repr=False)
class Transition(Record):
    """The record of one stage transition."""

    sequence: int
    """Its position in the server's order of all changes."""
    version: VersionRef
    """The version that was moved."""
    from_stage: Stage | None
    """The previous stage; None for the registration."""
    to_stage: Stage
    """The new stage."""
    actor: str
    """Who moved it."""
    reason: str
    """The reason given; may be empty."""
    moved_at: datetime
    """When it was moved, in UTC."""
    displaced_by: int
    """The version whose promotion archived this one; 0 when it was moved on its own."""
    gates: tuple[GateResult, ...] = ()
    """The promotion gates that it passed, with their evidence."""

    def _describe(self) -> str:
        return f"{quoted(self.version)}: {self.from_stage or 'registered'} to {self.to_stage}, by {quoted(self.actor)}"


@dataclass(frozen=True, repr=False)
class TransitionResult(Record):
    """The result of a transition, actual or with `dry_run` hypothetical."""

    version: ModelVersion
    """The version, in its new stage."""
    archived: ModelVersion | None
    """The version that left production for it."""
    transition: Transition
    """The record of the transition."""
    gates: tuple[GateResult, ...] = ()
    """The promotion gates that were evaluated, all of them passed."""

    def _describe(self) -> str:
        failed = [gate.gate for gate in self.gates if not gate.passed]
        archived = f"archived {quoted(self.archived)}" if self.archived else ""
        return sentence(f"{quoted(self.version)}: {self.transition.to_stage}", archived, *map(_failed_gate, failed))


def _failed_gate(gate: str) -> str:
    return f"gate {quoted(gate)} failed"


@dataclass(frozen=True, repr=False)
class MetricMargin(Record):
    """A non-regression condition: how much worse than in production a metric may be."""

    key: str
    """The metric's name."""
    margin: float
    """The accepted difference, in the metric's own unit; 0 means no worse at all."""
    lower_is_better: bool = False
    """Whether a lower value is better, as for a loss."""


@dataclass(frozen=True, repr=False)
class FreezeWindow(Record):
    """A freeze: a period in which nothing is promoted, or no schedule fires."""

    start: datetime
    """Start of the period, inclusive, with its time zone."""
    end: datetime
    """End of the period, exclusive."""
    reason: str = ""
    """The reason, such as `FOMC week`; may be empty."""


@dataclass(frozen=True, repr=False)
class RequiredApproval(Record):
    """The functions that must approve a transition of a model's versions, each by another person."""

    functions: tuple[str, ...]
    """The functions, such as trading, risk, compliance and validation."""
    tier: int = 0
    """The tier of the models for which it applies; 0 for models without a rule for their tier."""
    to: Stage = Stage.PRODUCTION
    """The stage that is entered: staging or production."""


@dataclass(frozen=True, repr=False)
class PromotionPolicy(Record):
    """The promotion policy: conditions that a version must meet before it goes into production."""

    model: str
    """The model's name."""
    metrics: tuple[MetricRange, ...] = ()
    """Ranges for the version's metrics."""
    no_worse_than_production: tuple[MetricMargin, ...] = ()
    """Metrics that may be worse than in production by their margins at most."""
    require_comparison: bool = False
    """Whether a comparison must have shown that it is no worse than the version in production."""
    forbid_drift_alarm: bool = False
    """Whether an active drift alarm of the version blocks it."""
    required_tags: tuple[str, ...] = ()
    """Tags that the version must have, with any value."""
    freezes: tuple[FreezeWindow, ...] = ()
    """Periods in which nothing is promoted."""
    material: bool = False
    """Whether it must be promoted by someone other than the person who registered it."""
    disabled_gates: tuple[str, ...] = ()
    """Gates that apply unless they are named here: `usable`, which a version passes that loads and predicts; and
    `reason`, by which promotions to production, rollbacks and conclusions of A/B tests need a reason."""
    max_pbo: float | None = None
    """The highest probability of overfitting, by the returns of its trials; None means no condition."""
    min_deflated_sharpe: float | None = None
    """The lowest deflated Sharpe ratio, a probability, by the same returns or by its newest comparison with returns."""
    min_track_record: float | None = None
    """The confidence, such as 0.95, with which its returns must be enough to show a Sharpe ratio above 0."""
    forbidden_leaks: tuple[LeakKind, ...] = ()
    """The kinds of leaks that its newest comparison must have checked, and not found."""
    min_coverage: float | None = None
    """The lowest share of the rows that it answered in its newest comparison, from 0 to 1; None means no condition."""
    required_approvals: tuple[RequiredApproval, ...] = ()
    """The functions that must approve a transition, by the model's tier."""
    blocking_severity: FindingSeverity | None = None
    """No open finding about the model or the version may have this severity or a higher one; None: no condition."""
    review_interval: timedelta | None = None
    """The longest time between two reviews; None means 365 days."""
    max_production_changes: int | None = None
    """Number of versions that may enter production between two reviews; None: each makes a review due."""
    require_signature: bool = False
    """Whether it must have a signature over its files by a signer whom the operator trusts now."""
    etag: str = ""
    """Changes with every change of the policy; pass it with a change to detect concurrent ones."""


@dataclass(frozen=True, repr=False)
class RollbackResult(Record):
    """The result of a rollback, actual or with `dry_run` hypothetical."""

    version: ModelVersion
    """The version that is in production again."""
    archived: ModelVersion | None
    """The version that left production."""
    transition: Transition
    """The record of the transition into production."""

    def _describe(self) -> str:
        return f"{quoted(self.version)} in production again" + (
            f", {quoted(self.archived)} archived" if self.archived else ""
        )


@dataclass(frozen=True, repr=False)
class HaltResult(Record):
    """The result of halting many models, actual or with `dry_run` hypothetical."""

    halted: Sequence[Model]
    """The models that were halted, by name."""
    already_halted: Sequence[Model]
    """The models that match and were halted before, by name; their halts are unchanged, with their own reasons."""

    def _describe(self) -> str:
        before = f"{len(self.already_halted):,} halted before" if self.already_halted else ""
        return sentence(f"{counted(len(self.halted), 'model')} halted", before)


@dataclass(frozen=True, repr=False)
class AuditDefect(Record):
    """An invalid record of the audit log, or a row that does not match its records."""

    sequence: int
    """Number of the record: the invalid one, or the last one about the row; 0 when there is none."""
    problem: str
    """What is wrong, in words."""
    table: str = ""
    """The row's table; empty for a record of the log itself."""
    key: str = ""
    """The row's key, such as `spx-trend/3`; empty for a record of the log itself."""
    field: str = ""
    """The row's field; empty when the row is missing, or has no record."""
    recorded: str = ""
    """The value according to the records, as JSON, shortened."""
    found: str = ""
    """The value in the row, as JSON, shortened."""


@dataclass(frozen=True, repr=False)
class AuditVerification(TableRecord):
    """The result of verifying the audit log."""

    records: int
    """Number of records that were verified."""
    head_hash: str
    """Hash of the last record; stored elsewhere, it proves later that no record before it was changed."""
    defects: tuple[AuditDefect, ...]
    """What is wrong, in the order of the log; empty when it is intact."""
    head_sequence: int = 0
    """Number of the last record."""
    expected_sequence: int = 0
    """Number of the record with the expected hash; 0 when there is none or no hash was given."""
    rows: int = 0
    """Number of rows of other tables compared with the records; 0 when only a part of the log was verified."""

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.defects

    def _describe(self) -> str:
        verdict = "intact" if self.intact else f"not intact, {counted(len(self.defects), 'defect')}"
        return sentence(verdict, counted(self.records, "record"), f"head {self.head_sequence}")

    def _rows(self) -> Sequence[AuditDefect]:
        return self.defects


@dataclass(frozen=True, repr=False)
class AuditRecord(Record):
    """One change in the audit log."""

    sequence: int
    """Its number, counted from 1 without gaps."""
    happened_at: datetime
    """When the change was made, in UTC."""
    actor: str
    """Who made it."""
    kind: str
    """The kind of change, such as `transition`."""
    model: str
    """The model's name; empty for a change that concerns none."""
    version: int
    """The version's number; 0 for a change of the model as a whole."""
    payload: str
    """The state after the change, as canonical JSON; of an inventory and a lineage, with the state before."""
    previous_hash: str
    """Hash of the record before; 64 zeros for the first."""
    hash: str
    """SHA-256 of this record, as 64 hexadecimal digits; it includes `previous_hash`."""

    def _describe(self) -> str:
        about = f"{self.model}/{self.version}" if self.version else self.model
        change = f"{quoted(self.kind)} of {quoted(about)} by {quoted(self.actor)}"
        return f"{self.sequence}: {change}, {brief(self.happened_at)}"


@dataclass(frozen=True, repr=False)
class DriftAlarm(Record):
    """Live data have drifted from the training data."""

    version: VersionRef
    """The version whose live data drifted."""
    report_id: str
    """The drift report that raised it; `get_drift_report` returns it."""
    score: float
    """The report's score, from 0 to 1."""

    def _describe(self) -> str:
        return f"{quoted(self.version)}: score {statistic(self.score)}, report {quoted(self.report_id)}"


@dataclass(frozen=True, repr=False)
class PerformanceAlarm(Record):
    """The performance of a version has declined, based on labels that arrived."""

    version: VersionRef
    """The version whose performance declined."""
    metric: str
    """The metric that declined: `accuracy` of classes, `rmse` of numbers."""
    value: float
    """Its value in the period."""
    baseline: float
    """Its value over the labelled predictions before the period."""
    start: datetime
    """Start of the period, inclusive."""
    end: datetime
    """End of the period, exclusive."""
    p_value: float
    """The probability of at least so bad a period if nothing had changed (p-value)."""

    def _describe(self) -> str:
        fell = f"{quoted(self.metric)} {metric(self.value)}, before {metric(self.baseline)}"
        return sentence(f"{quoted(self.version)}: {fell}", p_equals(self.p_value), f"from {brief(self.start)}")


class EventKind(StrEnum):
    """The kind of an event."""

    STATE = "state"
    """The model as it is now: at the start of a watch, and after its description or tags changed."""
    REGISTERED = "registered"
    """A version was registered; the subject is the version."""
    VERSION_CHANGED = "version_changed"
    """A version's description, tags or metrics changed; the subject is the version."""
    TRANSITION = "transition"
    """A version was moved to another stage; the subject is the transition."""
    HALTED = "halted"
    """The model was halted; the subject is the halt."""
    RESUMED = "resumed"
    """A halt ended; the subject is the model."""
    POLICY = "policy"
    """The promotion policy was replaced; the subject is the policy."""
    DRIFT_ALARM = "drift_alarm"
    """Live data drifted; the subject is the alarm."""
    PERFORMANCE_ALARM = "performance_alarm"
    """The performance declined; the subject is the alarm."""
    ENGINE = "engine"
    """An engine reported another version or failure than before, for the first time, or again after it was gone; the
    subject is its status. Only sent to watches that name it, as it happens, and not again when a watch resumes."""
    JOB = "job"
    """The state of a retraining job changed; the subject is the change. Only sent to watches that name it."""
    APPROVAL = "approval"
    """A request of approval was made, decided, withdrawn or used; the subject is the request. Only sent to who asks for
    it."""
    FINDING = "finding"
    """A finding was opened, changed or closed; the subject is the finding. Only sent to watches that name it."""
    DRILL = "drill"
    """A drill started or ended; the subject is the drill."""


@dataclass(frozen=True, repr=False)
class JobChange(Record):
    """A change of the state of a retraining job."""

    job_id: str
    """The job's id."""
    state: str
    """Its state; a `JobState`."""
    queue: str = ""
    """Its queue."""
    holder: str = ""
    """The current or last holder."""
    attempt: int = 0
    """How often it was leased."""
    successor: int = 0
    """The number of the version that it made; 0 if there is none yet."""

    def _describe(self) -> str:
        return f"{quoted(self.job_id)}: {self.state}"


class RolloutState(StrEnum):
    """The state of an engine relative to the expected version."""

    CONVERGED = "converged"
    """It runs the expected version."""
    LAGGING = "lagging"
    """It runs another version."""
    GONE = "gone"
    """It has not reported for longer than it announced."""
    FAILED = "failed"
    """It could not load the expected version."""


@dataclass(frozen=True, repr=False)
class LoadFailure(Record):
    """A version that an engine could not load."""

    version: int
    """The number of that version."""
    reason: str
    """Why it could not be loaded."""

    def _describe(self) -> str:
        return f"version {self.version}: {quoted(self.reason)}"


@dataclass(frozen=True, repr=False)
class EngineStatus(Record):
    """The version that one engine runs."""

    engine: str
    """The engine's name."""
    version: int
    """The number of the version that it reported last."""
    state: RolloutState
    """Its state relative to the expected version."""
    reported_at: datetime
    """Time of its last report, in UTC."""
    failure: LoadFailure | None = None
    """The version that it could not load; None if there is none."""

    def _describe(self) -> str:
        return f"{quoted(self.engine)}: {self.state}, version {self.version}"


@dataclass(frozen=True, repr=False)
class ModelEvent(Record):
    """An event about a model."""

    sequence: int
    """Its position in the server's order of all changes."""
    happened_at: datetime
    """When it happened, in UTC."""
    model: str
    """The model's name."""
    kind: EventKind
    """What happened."""
    subject: (
        Model
        | ModelVersion
        | Transition
        | Halt
        | PromotionPolicy
        | DriftAlarm
        | PerformanceAlarm
        | EngineStatus
        | JobChange
        | Finding
        | Drill
    )
    """The model, version, transition, halt, policy, alarm, engine, job, finding or drill concerned."""
    resume_token: str = ""
    """Resumes a watch after this event; empty while the watch still reports the initial state, and for engines."""

    def _describe(self) -> str:
        return f"{self.sequence}: {self.kind} of {quoted(self.model)}, {brief(self.happened_at)}"


@dataclass(frozen=True, repr=False)
class EnginePeriod(Record):
    """A period in which an engine ran a version, as far as it reported."""

    engine: str
    """The engine's name."""
    version: VersionRef
    """The version."""
    started_at: datetime
    """Time of the first report of this version, in UTC."""
    ended_at: datetime | None
    """Time of the first report of another version or, if the engine was gone before that, of its last report; None
    while it runs the version."""

    def _describe(self) -> str:
        until = brief(self.ended_at) if self.ended_at else "now"
        return f"{quoted(self.engine)}: {self.version} from {brief(self.started_at)} until {until}"


@dataclass(frozen=True, repr=False)
class Rollout(TableRecord):
    """The rollout: which engines run the expected version."""

    expected: VersionRef | None
    """The version that all engines should run; None when nothing is in production or the model is halted."""
    engines: tuple[EngineStatus, ...]
    """Every engine that reported this model."""

    def _describe(self) -> str:
        states = [engine.state for engine in self.engines]
        counts = (f"{states.count(state)} {state}" for state in RolloutState if state in states)
        expected = quoted(self.expected) if self.expected else "no version"
        return sentence(f"{expected} expected: {counted(len(states), 'engine')}", *counts)

    def _rows(self) -> Sequence[EngineStatus]:
        return self.engines


@dataclass(frozen=True, repr=False)
class ModelRollout(Record):
    """The rollout of one of several models."""

    model: str
    """The model's name."""
    halted: bool
    """Whether the model is halted."""
    rollout: Rollout
    """The expected version, and the engines."""

    def _describe(self) -> str:
        halted = ", halted" if self.halted else ""
        return f"{quoted(self.model)}{halted}: {self.rollout._describe()}"


@dataclass(frozen=True, repr=False)
class ProductionVersion(Record):
    """What was in production of a model."""

    model: str
    """The model's name."""
    promotion: Transition | None
    """The transition by which the version came into production; None if nothing was in production."""
    inventory: Inventory = field(default_factory=Inventory)
    """What the inventory states of the model now, also where the time is in the past."""

    def _describe(self) -> str:
        if self.promotion is None:
            return f"{quoted(self.model)}: nothing in production"
        return f"{quoted(self.promotion.version)} since {brief(self.promotion.moved_at)}"


@dataclass(frozen=True, repr=False)
class MlflowDifference(Record):
    """A difference between MLflow and the registry."""

    version: VersionRef
    """The version concerned."""
    problem: str
    """What differed, in words."""
    mended: bool
    """Whether it was repaired; False with `dry_run`."""


@dataclass(frozen=True, repr=False)
class Reconciliation(TableRecord):
    """The result of comparing MLflow with the registry."""

    versions: int
    """Number of versions examined."""
    differences: tuple[MlflowDifference, ...]
    """What differed; empty when MLflow and the registry agree."""

    def _describe(self) -> str:
        mended = sum(difference.mended for difference in self.differences)
        return sentence(
            counted(self.versions, "version"), counted(len(self.differences), "difference"), f"{mended} repaired"
        )

    def _rows(self) -> Sequence[MlflowDifference]:
        return self.differences


@dataclass(frozen=True, repr=False)
class AdoptedVersion(Record):
    """A version of MLflow's registry, and the result of its adoption."""

    model: str
    """The model's name, in MLflow and here."""
    mlflow_version: str
    """Its number in MLflow."""
    version: int
    """Its version number in this registry; 0 when it was not adopted, or in a dry run."""
    stage: Stage
    """Its stage here."""
    problem: str = ""
    """Why it was not adopted."""
    left_out: tuple[str, ...] = ()
    """Attributes that were left out because they are not allowed here, such as `metric loss (nan)`."""
    not_tried: str = ""
    """Why the server does not load its model, as the version's `trial` says too; empty if it does."""


@dataclass(frozen=True, repr=False)
class Resolved(Record):
    """The resolved version of a model."""

    version: ModelVersion
    """The version."""
    sequence: int
    """The position in the server's order of changes at which this answer is valid."""

    def _describe(self) -> str:
        return f"{quoted(self.version)}: {self.version.stage}, at sequence {self.sequence}"


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    """The items, in the order of the list."""
    next_page_token: str = field(default="")
    """Requests the next page; empty on the last one."""
