"""The ledger's tables for schedules and retraining jobs."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from modelward.lifecycle import VersionRef
from modelward_server.storage.tables import Base, Name


class ScheduleRow(Base):
    __tablename__ = "ledger_schedules"

    schedule_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    model: Mapped[str] = mapped_column(String(128), ForeignKey("ledger_models.name"), index=True)
    description: Mapped[str]
    triggers: Mapped[list[Any]]
    """As the contract's JSON."""
    policy: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """As the contract's JSON."""
    counts_from: Mapped[datetime | None] = mapped_column(default=None)
    """When the triggers were last set; None: at the creation."""
    fired_through: Mapped[datetime | None] = mapped_column(default=None)
    """Time up to which the clock triggers were evaluated; None before the first evaluation."""
    resumed_at: Mapped[datetime | None] = mapped_column(default=None)
    paused: Mapped[bool] = mapped_column(default=False)
    pause_reason: Mapped[str] = mapped_column(default="")
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    revision: Mapped[int] = mapped_column(default=1)


class FiringRow(Base):
    """The outcome of a firing; kept when its schedule is deleted."""

    __tablename__ = "ledger_firings"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    schedule_id: Mapped[str] = mapped_column(Name)
    model: Mapped[str] = mapped_column(Name, ForeignKey("ledger_models.name"))
    trigger: Mapped[int] = mapped_column("trigger_number")
    fired_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(String(16))
    job_id: Mapped[str] = mapped_column(String(128), default="")
    summary: Mapped[str]
    reason: Mapped[dict[str, Any]]
    """As the contract's JSON."""
    decided_at: Mapped[datetime]

    __table_args__ = (
        # The database enforces that several servers never fire twice.
        UniqueConstraint("schedule_id", "trigger_number", "fired_at", name="ledger_firings_once"),
        Index("ledger_firings_by_model", "model", "sequence"),
        Index("ledger_firings_by_schedule", "schedule_id", "sequence"),
    )


class JobRow(Base):
    """A job; `lease.settled` gives the state of one whose lease has expired and that nobody touched since."""

    __tablename__ = "ledger_jobs"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(String(128), unique=True)
    model: Mapped[str] = mapped_column(String(128), ForeignKey("ledger_models.name"))
    version: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    reasons: Mapped[list[Any]]
    """As the contract's JSON."""
    holder: Mapped[str] = mapped_column(default="")
    lease_seconds: Mapped[float] = mapped_column(default=0.0)
    lease_expires_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    available_at: Mapped[datetime]
    failures: Mapped[list[Any]]
    """As the contract's JSON."""
    successor: Mapped[int] = mapped_column(default=0)
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    queue: Mapped[str] = mapped_column(String(128))
    labels: Mapped[dict[str, Any]]
    parameters: Mapped[dict[str, Any]]
    data_from: Mapped[datetime | None]
    data_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    progress: Mapped[float] = mapped_column(default=0.0)
    progress_message: Mapped[str] = mapped_column(default="")
    log_sha256: Mapped[str] = mapped_column(default="")
    """The blob with the output of the training; empty when there is none."""
    evaluation: Mapped[bytes | None]
    """The test set as the contract's message, where the worker sent one."""
    evaluation_label: Mapped[str] = mapped_column(default="")
    follow_up: Mapped[str] = mapped_column(String(16), default="")
    """The state of the follow-up; empty when there is none."""
    follow_up_reason: Mapped[str] = mapped_column(default="")
    follow_up_at: Mapped[datetime | None]
    comparison_id: Mapped[str] = mapped_column(default="")
    claimed_until: Mapped[datetime | None]
    """Time until which a server has claimed the follow-up, so that no other does the same work."""

    __table_args__ = (
        # The database enforces that no two workers retrain one model at once.
        Index(
            "ledger_one_open_job",
            "model",
            unique=True,
            sqlite_where=text("state IN ('pending', 'leased')"),
            postgresql_where=text("state IN ('pending', 'leased')"),
        ),
        Index("ledger_jobs_by_model", "model", "sequence"),
        Index(
            "ledger_jobs_open",
            "sequence",
            sqlite_where=text("state IN ('pending', 'leased')"),
            postgresql_where=text("state IN ('pending', 'leased')"),
        ),
        Index(
            "ledger_jobs_followed_up",
            "sequence",
            sqlite_where=text("follow_up IN ('pending', 'staged', 'compared')"),
            postgresql_where=text("follow_up IN ('pending', 'staged', 'compared')"),
        ),
    )


def log_of(session: Session, version: VersionRef) -> str:
    """Return the blob with the output of the job that created a version; empty when there is none."""
    jobs = select(JobRow.log_sha256).where(JobRow.model == version.model, JobRow.successor == version.version)
    return session.scalar(jobs.where(JobRow.log_sha256 != "")) or ""


class RetrainingPolicyRow(Base):
    __tablename__ = "ledger_retraining_policies"

    model: Mapped[str] = mapped_column(String(128), ForeignKey("ledger_models.name"), primary_key=True)
    policy: Mapped[dict[str, Any]]
    """As the contract's JSON."""
    revision: Mapped[int]


class WebhookRow(Base):
    """The delivery position of a webhook."""

    __tablename__ = "ledger_webhooks"

    url: Mapped[str] = mapped_column(String(2048), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    """The last record of the audit log that was delivered or skipped."""
    claimed_until: Mapped[datetime | None]
    """Time until which a server has claimed the delivery, so that no other does the same."""
