"""The ledger's tables for models and versions; other services have theirs in modules beside this one.

Every table name begins with `ledger_`, so that the ledger can share a database with MLflow.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Name = String(128).with_variant(String(128, collation="C"), "postgresql")
"""A name, sorted by its bytes on every database, whatever its locale."""


class UtcDateTime(TypeDecorator[datetime]):
    """A timestamp: stored in UTC, and read back with its zone, also from SQLite, which stores none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Base class of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        str: Text,
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class ModelRow(Base):
    __tablename__ = "ledger_models"

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    description: Mapped[str]
    tags: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    latest_version: Mapped[int] = mapped_column(default=0)
    halted_by: Mapped[str] = mapped_column(default="")
    halt_reason: Mapped[str] = mapped_column(default="")
    halted_at: Mapped[datetime | None] = mapped_column(default=None)
    inventory: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    revision: Mapped[int] = mapped_column(default=1)

    __table_args__ = (
        Index(
            "ledger_models_halted",
            "name",
            sqlite_where=text("halted_at IS NOT NULL"),
            postgresql_where=text("halted_at IS NOT NULL"),
        ),
    )


class VersionRow(Base):
    __tablename__ = "ledger_versions"

    model: Mapped[str] = mapped_column(Name, ForeignKey("ledger_models.name"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(String(16))
    description: Mapped[str]
    tags: Mapped[dict[str, Any]]
    params: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    files: Mapped[list[Any]]
    references: Mapped[list[Any]] = mapped_column("reference_names", default=list)
    format: Mapped[str] = mapped_column(String(16))
    model_file: Mapped[str] = mapped_column(server_default="")
    signature: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    # What a trial finds is no change of the version: it has no new etag, and no record in the audit log.
    trial_result: Mapped[str] = mapped_column(String(16), server_default="")
    trial_reason: Mapped[str] = mapped_column(server_default="")
    tried_with: Mapped[str] = mapped_column(server_default="")
    tried_at: Mapped[datetime | None] = mapped_column(default=None)
    trial_claimed_until: Mapped[datetime | None] = mapped_column(default=None)
    tried_configurations: Mapped[int] = mapped_column(server_default="0")
    backtest: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    folds: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    training_window: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    lineage: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    job_id: Mapped[str] = mapped_column(server_default="")
    model_signature: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    origin: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    framework: Mapped[str]
    digest: Mapped[str] = mapped_column(String(64))
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    stage_since: Mapped[datetime]
    revision: Mapped[int] = mapped_column(default=1)
    run_id: Mapped[str] = mapped_column(default="")
    mlflow_version: Mapped[str] = mapped_column(default="")
    artifact_deleted_by: Mapped[str] = mapped_column(server_default="")
    artifact_deletion_reason: Mapped[str] = mapped_column(server_default="")
    artifact_deleted_at: Mapped[datetime | None] = mapped_column(default=None)
    # Every change to be shown in MLflow increments `mirror_wanted`, in the transaction of the change; the mirror sets
    # `mirror_done` to the count that it read. So no change is lost, whenever the server dies.
    mirror_wanted: Mapped[int] = mapped_column(default=1)
    mirror_done: Mapped[int] = mapped_column(default=0)

    __table_args__ = (
        # The database enforces the registry's central invariant: at most one production version.
        Index(
            "ledger_one_production_version",
            "model",
            unique=True,
            sqlite_where=text("stage = 'production'"),
            postgresql_where=text("stage = 'production'"),
        ),
        Index(
            "ledger_versions_unusable",
            "trial_result",
            "stage",
            "model",
            sqlite_where=text("stage = 'production' AND trial_result = 'unusable'"),
            postgresql_where=text("stage = 'production' AND trial_result = 'unusable'"),
        ),
        Index("ledger_versions_newest_first", "model", version.desc()),
        Index("ledger_versions_by_stage", "stage", "model", version.desc()),
        Index(
            "ledger_versions_to_try",
            "created_at",
            sqlite_where=text("trial_result = 'pending'"),
            postgresql_where=text("trial_result = 'pending'"),
        ),
        Index("ledger_versions_by_time", "created_at", "model", "version"),
        Index(
            "ledger_versions_to_mirror",
            "updated_at",
            sqlite_where=text("mirror_done <> mirror_wanted"),
            postgresql_where=text("mirror_done <> mirror_wanted"),
        ),
    )


class MirrorRequestRow(Base):
    """A request to show a version in MLflow again, for a fact that is stored beside it, such as a drift report.

    These facts are stored without a lock on their version, which incrementing `mirror_wanted` would need.
    """

    __tablename__ = "ledger_mirror_requests"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(Name)
    version: Mapped[int]

    __table_args__ = (Index("ledger_mirror_requests_by_version", "model", "version", "sequence"),)


class MetricRow(Base):
    """All recorded values of every metric; `VersionRow.metrics` holds the latest ones."""

    __tablename__ = "ledger_metrics"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(Name)
    version: Mapped[int]
    key: Mapped[str] = mapped_column(Name)
    value: Mapped[float]
    measured_at: Mapped[datetime]

    __table_args__ = (Index("ledger_metrics_by_key", "model", "version", "key", "measured_at"),)


class AuditRow(Base):
    """The audit log: a row for every change, in commit order, each with the hash of its predecessor."""

    __tablename__ = "ledger_audit"

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    happened_at: Mapped[datetime]
    actor: Mapped[str]
    kind: Mapped[str] = mapped_column(String(32))
    model: Mapped[str] = mapped_column(Name)
    version: Mapped[int]
    payload: Mapped[str]
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))

    __table_args__ = (Index("ledger_audit_by_model", "model", "sequence"),)


class AuditHeadRow(Base):
    """The head of the audit log, in one row: writers lock it, so that sequence numbers are in commit order."""

    __tablename__ = "ledger_audit_head"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class TransitionRow(Base):
    """Stage changes, under the sequence number of their audit record; rows are added, never changed."""

    __tablename__ = "ledger_transitions"

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    model: Mapped[str] = mapped_column(Name)
    version: Mapped[int]
    from_stage: Mapped[str] = mapped_column(String(16))
    to_stage: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str]
    reason: Mapped[str]
    moved_at: Mapped[datetime]
    displaced_by: Mapped[int] = mapped_column(default=0)
    gates: Mapped[list[Any]] = mapped_column(default=list)

    __table_args__ = (
        Index("ledger_transitions_by_model", "model", "sequence"),
        Index("ledger_transitions_by_time", "moved_at", "sequence"),
        Index("ledger_transitions_by_version", "model", "version", "sequence"),
    )


class PolicyRow(Base):
    """The requirements that a version of the model must meet for production."""

    __tablename__ = "ledger_policies"

    model: Mapped[str] = mapped_column(Name, ForeignKey("ledger_models.name"), primary_key=True)
    policy: Mapped[dict[str, Any]]
    revision: Mapped[int]


class EngineRow(Base):
    """The version that an engine last reported to run."""

    __tablename__ = "ledger_engines"

    model: Mapped[str] = mapped_column(Name, ForeignKey("ledger_models.name"), primary_key=True)
    engine: Mapped[str] = mapped_column(String(256), primary_key=True)
    version: Mapped[int]
    failed_version: Mapped[int] = mapped_column(default=0, server_default="0")
    """The version that it could not load; 0 if there is none."""
    failure: Mapped[str] = mapped_column(default="", server_default="")
    """Why it could not load it."""
    reported_by: Mapped[str] = mapped_column(default="", server_default="")
    """The authenticated client that reported last; empty where the server does not authenticate."""
    reported_at: Mapped[datetime]
    gone_at: Mapped[datetime]

    __table_args__ = (Index("ledger_engines_by_client", "reported_by"), Index("ledger_engines_by_end", "gone_at"))


class EngineChangeRow(Base):
    """A report of an engine that differs from the one before, for watchers; only the newest are kept."""

    __tablename__ = "ledger_engine_changes"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(Name)
    engine: Mapped[str] = mapped_column(String(256))
    version: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    """Relative to the version that was expected at the time."""
    failed_version: Mapped[int]
    failure: Mapped[str]
    reported_at: Mapped[datetime]


class EnginePeriodRow(Base):
    """A period in which an engine ran a version: a row for each change, not for each report."""

    __tablename__ = "ledger_engine_periods"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(Name, ForeignKey("ledger_models.name"))
    engine: Mapped[str] = mapped_column(String(256))
    version: Mapped[int]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    """None for the newest period of an engine; it has ended if the engine is gone."""

    __table_args__ = (
        Index("ledger_engine_periods_by_model", "model", "sequence"),
        Index("ledger_engine_periods_by_end", "ended_at"),
        Index(
            "ledger_engine_periods_open",
            "model",
            "engine",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index("ledger_engine_periods_by_engine", "model", "engine", "started_at"),
    )


class RequestRow(Base):
    """The answer to a request id, so that a retry gets the same one."""

    __tablename__ = "ledger_requests"

    request_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(default="", server_default="")
    """The authenticated client; empty where the server does not authenticate."""
    digest: Mapped[str] = mapped_column(String(64))
    answer_type: Mapped[str]
    answer: Mapped[bytes] = mapped_column(LargeBinary)
    answered_at: Mapped[datetime]

    __table_args__ = (
        Index(
            "ledger_requests_by_time",
            "answered_at",
            sqlite_where=text("answer_type <> ''"),
            postgresql_where=text("answer_type <> ''"),
        ),
    )


class SweptRow(Base):
    """Time up to which answers of request ids have been deleted."""

    __tablename__ = "ledger_swept"

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    before: Mapped[datetime]
