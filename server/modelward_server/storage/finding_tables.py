"""The ledger's table for findings about models."""

from datetime import date
from typing import Any

from sqlalchemy import Date, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.tables import Base, Name


class FindingRow(Base):
    """A finding; written with every change of it."""

    __tablename__ = "ledger_findings"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    finding_id: Mapped[str] = mapped_column(String(64), unique=True)
    model: Mapped[str] = mapped_column(Name, ForeignKey("ledger_models.name"))
    version: Mapped[int]
    """0 for the model."""
    severity: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    owner: Mapped[str] = mapped_column(String(256))
    due: Mapped[date | None] = mapped_column(Date)
    found: Mapped[dict[str, Any]]
    """The whole finding as the contract's JSON."""
    revision: Mapped[int] = mapped_column(default=1)

    __table_args__ = (
        Index("ledger_findings_by_model", "model", "sequence"),
        Index("ledger_findings_by_state", "state", "sequence"),
    )
