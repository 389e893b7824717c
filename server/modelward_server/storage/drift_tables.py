"""The ledger's tables for drift references, reports and thresholds."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKeyConstraint, Index, LargeBinary, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.tables import Base, Name


class ReferenceRow(Base):
    """A version's reference; the profile itself is the blob with that digest."""

    __tablename__ = "ledger_references"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Name, primary_key=True)
    rows: Mapped[int]
    features: Mapped[list[Any]]
    ignored_columns: Mapped[list[Any]] = mapped_column(server_default="[]")
    window: Mapped[dict[str, Any] | None] = mapped_column("time_window", JSON(none_as_null=True), default=None)
    """The times and groups of its rows; None if they have no time."""
    regime: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    """The regime of which its rows are; None for no particular one."""
    segments: Mapped[list[Any]] = mapped_column(server_default="[]")
    """The segments of its rows that have a profile, each with its digest."""
    digest: Mapped[str] = mapped_column(String(64))
    example: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    """Some of its rows as an Arrow stream."""
    created_at: Mapped[datetime]
    created_by: Mapped[str]

    __table_args__ = (ForeignKeyConstraint(["model", "version"], ["ledger_versions.model", "ledger_versions.version"]),)


class DriftReportRow(Base):
    __tablename__ = "ledger_drift_reports"

    report_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(Name)
    version: Mapped[int]
    created_at: Mapped[datetime]
    drift_detected: Mapped[bool]
    score: Mapped[float]
    observed: Mapped[bool] = mapped_column(default=False, server_default=false())
    report: Mapped[dict[str, Any]]

    __table_args__ = (
        ForeignKeyConstraint(["model", "version"], ["ledger_versions.model", "ledger_versions.version"]),
        Index("ledger_drift_reports_by_model", "model", "created_at", "report_id"),
        Index("ledger_drift_reports_by_version", "model", "version", "created_at", "report_id"),
        Index(
            "ledger_drift_reports_asked_for",
            "model",
            "version",
            "created_at",
            "report_id",
            sqlite_where=text("observed IS 0"),
            postgresql_where=text("observed IS false"),
        ),
    )


class DriftPolicyRow(Base):
    __tablename__ = "ledger_drift_policies"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    thresholds: Mapped[dict[str, Any]]
    revision: Mapped[int]
