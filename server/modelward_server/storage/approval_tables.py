"""The ledger's table for requests of approval."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKeyConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.tables import Base, Name


class ApprovalRow(Base):
    """A request of approval; written with every change of it."""

    __tablename__ = "ledger_approvals"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    approval_id: Mapped[str] = mapped_column(String(64), unique=True)
    model: Mapped[str] = mapped_column(Name)
    version: Mapped[int]
    to_stage: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    """Its state but for the end of its time, which `expires_at` has."""
    expires_at: Mapped[datetime | None]
    waits_for: Mapped[str] = mapped_column(default="")
    """The functions that have not decided, each between two spaces."""
    found: Mapped[dict[str, Any]]
    """The whole request as the contract's JSON."""
    revision: Mapped[int] = mapped_column(default=1)

    __table_args__ = (
        ForeignKeyConstraint(["model", "version"], ["ledger_versions.model", "ledger_versions.version"]),
        Index("ledger_approvals_by_version", "model", "version", "sequence"),
        Index("ledger_approvals_by_state", "state", "sequence"),
    )
