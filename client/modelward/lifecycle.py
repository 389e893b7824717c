"""Dataclasses of the registry: models, versions, their files and stages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Stage(StrEnum):
    """The stage of a version; the order of the members is the usual order of transitions."""

    TRAINING = "training"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


class ModelFormat(StrEnum):
    """The format in which a model is stored; it determines who can load and run it."""

    SKOPS = "skops"
    ONNX = "onnx"
    PICKLE = "pickle"
    OTHER = "other"


@dataclass(frozen=True)
class VersionRef:
    """A reference to one version of one model; written `spx-direction/3`."""

    model: str
    version: int

    def __str__(self) -> str:
        return f"{self.model}/{self.version}"


@dataclass(frozen=True)
class ArtifactFile:
    """One file of a version."""

    path: str
    """Path below the artifact's root, with forward slashes."""
    size_bytes: int
    sha256: str
    """64 lowercase hexadecimal digits."""


@dataclass(frozen=True)
class Halt:
    """A halt: the reason why a model must not be used."""

    actor: str
    reason: str
    halted_at: datetime


@dataclass(frozen=True)
class Model:
    """A registered model: a named sequence of versions for one task."""

    name: str
    description: str
    tags: Mapping[str, str]
    created_at: datetime
    updated_at: datetime
    latest_version: int
    """The highest version number; 0 when there is no version yet."""
    production_version: int
    """The version in production; 0 when there is none."""
    halt: Halt | None
    etag: str

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True)
class ArtifactDeletion:
    """The deletion of a version's files."""

    deleted_by: str
    reason: str
    deleted_at: datetime


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model: immutable files and their metadata."""

    model: str
    version: int
    stage: Stage
    description: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    files: tuple[ArtifactFile, ...]
    format: ModelFormat
    framework: str
    """The library that created it, such as `scikit-learn 1.7.2`."""
    digest: str
    """SHA-256 over the sorted manifest."""
    created_by: str
    created_at: datetime
    updated_at: datetime
    stage_since: datetime
    run_id: str
    """The MLflow run of the version; empty until the mirror has created it."""
    mlflow_version: str
    """Its number in MLflow's registry; empty until the mirror has created it."""
    references: tuple[str, ...]
    """Names of its reference data sets for drift detection."""
    etag: str
    artifact_deletion: ArtifactDeletion | None = None
    """None while its files exist."""

    @property
    def ref(self) -> VersionRef:
        return VersionRef(self.model, self.version)

    def __str__(self) -> str:
        return str(self.ref)

    def __hash__(self) -> int:
        return hash(self.ref)


@dataclass(frozen=True)
class MetricRange:
    """A condition on one metric; versions without the metric do not meet it."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class GateResult:
    """The result of one promotion gate."""

    gate: str
    passed: bool
    evidence: str


@dataclass(frozen=True)
class Transition:
    """The record of one stage transition."""

    sequence: int
    """Its position in the server's order of all changes."""
    version: VersionRef
    from_stage: Stage | None
    """The previous stage; None for the registration."""
    to_stage: Stage
    actor: str
    reason: str
    moved_at: datetime
    displaced_by: int
    """The version whose promotion archived this one; 0 when it was moved on its own."""
    gates: tuple[GateResult, ...] = ()


@dataclass(frozen=True)
class TransitionResult:
    """The result of a transition, actual or with `dry_run` hypothetical."""

    version: ModelVersion
    archived: ModelVersion | None
    """The version that left production for it."""
    transition: Transition
    gates: tuple[GateResult, ...] = ()


@dataclass(frozen=True)
class MetricMargin:
    """A non-regression condition: how much worse than in production a metric may be."""

    metric: str
    margin: float
    """The accepted difference, in the metric's own unit; 0 means no worse at all."""
    lower_is_better: bool = False


@dataclass(frozen=True)
class FreezeWindow:
    """A freeze: a period in which nothing is promoted, or no schedule fires."""

    start: datetime
    end: datetime
    """End of the period, exclusive."""
    reason: str = ""


@dataclass(frozen=True)
class PromotionPolicy:
    """The promotion policy: conditions that a version must meet before it goes into production."""

    model: str
    metrics: tuple[MetricRange, ...] = ()
    """Ranges for the version's metrics."""
    no_worse_than_production: tuple[MetricMargin, ...] = ()
    require_comparison: bool = False
    """Whether a comparison must have shown that it is no worse than the version in production."""
    forbid_drift_alarm: bool = False
    """Whether an active drift alarm of the version blocks it."""
    required_tags: tuple[str, ...] = ()
    freezes: tuple[FreezeWindow, ...] = ()
    material: bool = False
    """Whether it must be promoted by someone other than the person who registered it."""
    etag: str = ""


@dataclass(frozen=True)
class RollbackResult:
    """The result of a rollback, actual or with `dry_run` hypothetical."""

    version: ModelVersion
    """The version that is in production again."""
    archived: ModelVersion | None
    """The version that left production."""
    transition: Transition


@dataclass(frozen=True)
class AuditDefect:
    """An invalid record of the audit log, or a row that does not match its records."""

    sequence: int
    """Number of the record: the invalid one, or the last one about the row; 0 when there is none."""
    problem: str
    table: str = ""
    """The row's table; empty for a record of the log itself."""
    key: str = ""
    field: str = ""
    """The row's field; empty when the row is missing, or has no record."""
    recorded: str = ""
    """The value according to the records, as JSON, shortened."""
    found: str = ""
    """The value in the row, as JSON, shortened."""


@dataclass(frozen=True)
class AuditVerification:
    """The result of verifying the audit log."""

    records: int
    head_hash: str
    """Hash of the last record; stored elsewhere, it proves later that no record before it was changed."""
    defects: tuple[AuditDefect, ...]
    head_sequence: int = 0
    """Number of the last record."""
    expected_sequence: int = 0
    """Number of the record with the expected hash; 0 when there is none or no hash was given."""
    rows: int = 0
    """Number of rows of other tables compared with the records; 0 when only a part of the log was verified."""

    @property
    def intact(self) -> bool:
        return not self.defects


@dataclass(frozen=True)
class AuditRecord:
    """One change in the audit log."""

    sequence: int
    happened_at: datetime
    actor: str
    kind: str
    model: str
    version: int
    payload: str
    """The state after the change, as canonical JSON."""
    previous_hash: str
    hash: str


@dataclass(frozen=True)
class DriftAlarm:
    """Live data have drifted from the training data."""

    version: VersionRef
    report_id: str
    score: float


@dataclass(frozen=True)
class PerformanceAlarm:
    """The performance of a version has declined, based on labels that arrived."""

    version: VersionRef
    metric: str
    """The metric that declined: `accuracy` of classes, `rmse` of numbers."""
    value: float
    """Its value in the period."""
    baseline: float
    """Its value over the labelled predictions before the period."""
    start: datetime
    end: datetime
    """End of the period, exclusive."""
    p_value: float
    """The probability of at least so bad a period if nothing had changed (p-value)."""


class EventKind(StrEnum):
    """The kind of an event."""

    STATE = "state"
    """The model's current state."""
    REGISTERED = "registered"
    VERSION_CHANGED = "version_changed"
    TRANSITION = "transition"
    HALTED = "halted"
    RESUMED = "resumed"
    POLICY = "policy"
    DRIFT_ALARM = "drift_alarm"
    PERFORMANCE_ALARM = "performance_alarm"


@dataclass(frozen=True)
class ModelEvent:
    """An event about a model."""

    sequence: int
    """Its position in the server's order of all changes."""
    happened_at: datetime
    model: str
    kind: EventKind
    subject: Model | ModelVersion | Transition | Halt | PromotionPolicy | DriftAlarm | PerformanceAlarm
    """The model, version, transition, halt, policy or alarm concerned."""
    resume_token: str = ""
    """Resumes a watch after this event; empty while the watch still reports the initial state."""


class RolloutState(StrEnum):
    """The state of an engine relative to the expected version."""

    CONVERGED = "converged"
    LAGGING = "lagging"
    GONE = "gone"


@dataclass(frozen=True)
class EngineStatus:
    """The version that one engine runs."""

    engine: str
    version: int
    state: RolloutState
    reported_at: datetime


@dataclass(frozen=True)
class Rollout:
    """The rollout: which engines run the expected version."""

    expected: VersionRef | None
    """The version that all engines should run; None when nothing is in production or the model is halted."""
    engines: tuple[EngineStatus, ...]


@dataclass(frozen=True)
class MlflowDifference:
    """A difference between MLflow and the registry."""

    version: VersionRef
    problem: str
    mended: bool


@dataclass(frozen=True)
class Reconciliation:
    """The result of comparing MLflow with the registry."""

    versions: int
    """Number of versions examined."""
    differences: tuple[MlflowDifference, ...]


@dataclass(frozen=True)
class AdoptedVersion:
    """A version of MLflow's registry, and the result of its adoption."""

    model: str
    mlflow_version: str
    version: int
    """Its version number in this registry; 0 when it was not adopted, or in a dry run."""
    stage: Stage
    problem: str = ""
    """Why it was not adopted."""
    left_out: tuple[str, ...] = ()
    """Attributes that were left out because they are not allowed here, such as `metric loss (nan)`."""


@dataclass(frozen=True)
class Resolved:
    """The resolved version of a model."""

    version: ModelVersion
    sequence: int
    """The position in the server's order of changes at which this answer is valid."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    next_page_token: str = field(default="")
    """Requests the next page; empty on the last one."""
