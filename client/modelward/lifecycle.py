"""What the registry knows: models, versions, their files and stages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Stage(StrEnum):
    """Where a version stands in its life; the order of the members is the way that it goes."""

    TRAINING = "training"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


class ModelFormat(StrEnum):
    """How a model is stored, which decides who can load and run it."""

    SKOPS = "skops"
    ONNX = "onnx"
    PICKLE = "pickle"
    OTHER = "other"


@dataclass(frozen=True)
class VersionRef:
    """Names one version of one model; written `spx-direction/3`."""

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
    """Why nobody may use a model."""

    actor: str
    reason: str
    halted_at: datetime


@dataclass(frozen=True)
class Model:
    """A named line of versions that do one job."""

    name: str
    description: str
    tags: Mapping[str, str]
    created_at: datetime
    updated_at: datetime
    latest_version: int
    """The highest version number; 0 when there is none yet."""
    production_version: int
    """The version in production; 0 when there is none."""
    halt: Halt | None
    etag: str

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True)
class ArtifactDeletion:
    """How a version came to have no files."""

    deleted_by: str
    reason: str
    deleted_at: datetime


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model: files that never change, and facts about them."""

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
    """What made it, as `scikit-learn 1.7.2`."""
    digest: str
    """SHA-256 over the sorted manifest."""
    created_by: str
    created_at: datetime
    updated_at: datetime
    stage_since: datetime
    run_id: str
    """The MLflow run that shows it; empty until MLflow has caught up."""
    mlflow_version: str
    """Its number in MLflow's registry; empty until MLflow has caught up."""
    references: tuple[str, ...]
    """Names of the reference data sets that drift is measured against."""
    etag: str
    artifact_deletion: ArtifactDeletion | None = None
    """None while its files are there."""

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

    key: str
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class GateResult:
    """How one promotion gate came out."""

    gate: str
    passed: bool
    evidence: str


@dataclass(frozen=True)
class Transition:
    """The record of one stage change."""

    sequence: int
    """Its place in the server's order of all changes."""
    version: VersionRef
    from_stage: Stage | None
    """The stage that it left; None for its registration."""
    to_stage: Stage
    actor: str
    reason: str
    moved_at: datetime
    displaced_by: int
    """The version whose promotion archived this one; 0 when it moved of itself."""
    gates: tuple[GateResult, ...] = ()


@dataclass(frozen=True)
class TransitionResult:
    """What a move did, or with `dry_run` would do."""

    version: ModelVersion
    archived: ModelVersion | None
    """The version that left production for it."""
    transition: Transition
    gates: tuple[GateResult, ...] = ()


@dataclass(frozen=True)
class MetricMargin:
    """How much worse a metric may be than in production."""

    key: str
    margin: float
    """The difference that is still accepted, in the metric's own unit; 0 means no worse at all."""
    lower_is_better: bool = False


@dataclass(frozen=True)
class FreezeWindow:
    """A span of time in which nothing is promoted, or no schedule fires."""

    start: datetime
    end: datetime
    """The instant after the last."""
    reason: str = ""


@dataclass(frozen=True)
class PromotionPolicy:
    """The conditions that a version must meet before it goes into production."""

    model: str
    metrics: tuple[MetricRange, ...] = ()
    """Ranges in which the version's metrics must lie."""
    no_worse_than_production: tuple[MetricMargin, ...] = ()
    require_comparison: bool = False
    """Whether a comparison must have found it no worse than the version in production."""
    forbid_drift_alarm: bool = False
    """Whether a standing drift alarm of the version forbids it."""
    required_tags: tuple[str, ...] = ()
    freezes: tuple[FreezeWindow, ...] = ()
    material: bool = False
    """Whether somebody other than who registered the version must promote it."""
    etag: str = ""


@dataclass(frozen=True)
class RollbackResult:
    """What a rollback did, or with `dry_run` would do."""

    version: ModelVersion
    """The version that is in production again."""
    archived: ModelVersion | None
    """The version that left production."""
    transition: Transition


@dataclass(frozen=True)
class AuditDefect:
    """A record of the audit log that does not hold, or a row that does not stand as the records say."""

    sequence: int
    """Number of the record: the one that does not hold, or the last one about the row; 0 when there is none."""
    problem: str
    table: str = ""
    """The table of the row; empty for a record of the log itself."""
    key: str = ""
    field: str = ""
    """Which of the row's fields; empty when the row is gone, or no record tells of it."""
    recorded: str = ""
    """What the records say, as JSON, shortened."""
    found: str = ""
    """What the row says, as JSON, shortened."""


@dataclass(frozen=True)
class AuditVerification:
    """What a check of the audit log found."""

    records: int
    head_hash: str
    """Hash of the last record; kept elsewhere, it proves later that nothing before it changed."""
    defects: tuple[AuditDefect, ...]
    head_sequence: int = 0
    """Number of the last record."""
    expected_sequence: int = 0
    """Number of the record that has the expected hash; 0 when none has it or none was given."""
    rows: int = 0
    """How many rows of other tables were held against the records; 0 when only a part of the log was checked."""

    @property
    def intact(self) -> bool:
        return not self.defects


@dataclass(frozen=True)
class AuditRecord:
    """One change, as the audit log keeps it."""

    sequence: int
    happened_at: datetime
    actor: str
    kind: str
    model: str
    version: int
    payload: str
    """What holds after the change, as canonical JSON."""
    previous_hash: str
    hash: str


@dataclass(frozen=True)
class DriftAlarm:
    """Live data has left the training data."""

    version: VersionRef
    report_id: str
    score: float


@dataclass(frozen=True)
class PerformanceAlarm:
    """A version performs worse than it did, by labels that have come."""

    version: VersionRef
    metric: str
    """What declined: `accuracy` of classes, `rmse` of numbers."""
    value: float
    """Its value in the period."""
    baseline: float
    """Its value over the labelled predictions before the period."""
    start: datetime
    end: datetime
    """The instant after the period's last."""
    p_value: float
    """How often a period would be at least so bad if nothing had changed."""


class EventKind(StrEnum):
    """What an event is about."""

    STATE = "state"
    """The model as it is now."""
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
    """Something that happened to a model."""

    sequence: int
    """Its place in the server's order of all changes."""
    happened_at: datetime
    model: str
    kind: EventKind
    subject: Model | ModelVersion | Transition | Halt | PromotionPolicy | DriftAlarm | PerformanceAlarm
    """The model, version, transition, halt, policy or alarm that it is about."""
    resume_token: str = ""
    """Continues a watch behind this event; empty while the watch still tells how things stand."""


class RolloutState(StrEnum):
    """How an engine stands to what is expected of it."""

    CONVERGED = "converged"
    LAGGING = "lagging"
    GONE = "gone"


@dataclass(frozen=True)
class EngineStatus:
    """What one engine runs."""

    engine: str
    version: int
    state: RolloutState
    reported_at: datetime


@dataclass(frozen=True)
class Rollout:
    """How far a promotion has reached the engines."""

    expected: VersionRef | None
    """The version that all should run; None when nothing is in production or the model is halted."""
    engines: tuple[EngineStatus, ...]


@dataclass(frozen=True)
class MlflowDifference:
    """Where MLflow did not show what the registry says."""

    version: VersionRef
    problem: str
    mended: bool


@dataclass(frozen=True)
class Reconciliation:
    """What a comparison of MLflow with the registry found."""

    versions: int
    """How many versions were looked at."""
    differences: tuple[MlflowDifference, ...]


@dataclass(frozen=True)
class AdoptedVersion:
    """A version of MLflow's registry and what became of it."""

    model: str
    mlflow_version: str
    version: int
    """The number that it has here; 0 when it was not adopted, or in a dry run."""
    stage: Stage
    problem: str = ""
    """Why it was not adopted."""
    left_out: tuple[str, ...] = ()
    """What of it was left out because it is not allowed here, as `metric loss (nan)`."""


@dataclass(frozen=True)
class Resolved:
    """The version that a model's name meant when it was asked."""

    version: ModelVersion
    sequence: int
    """The place in the server's order of changes up to which this answer holds."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    next_page_token: str = field(default="")
    """Asks for the next page; empty when this is the last one."""
