"""The ledger's tables for comparisons."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.tables import Base


class ComparisonRow(Base):
    """A comparison; written once, never changed."""

    __tablename__ = "ledger_comparisons"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    comparison_id: Mapped[str] = mapped_column(String(128), unique=True)
    created_at: Mapped[datetime]
    found: Mapped[dict[str, Any]]
    """The whole comparison as the contract's JSON."""


class ComparedModelRow(Base):
    """Maps a comparison to the models that it is about."""

    __tablename__ = "ledger_compared_models"

    sequence: Mapped[int] = mapped_column(ForeignKey("ledger_comparisons.sequence"), primary_key=True)
    model: Mapped[str] = mapped_column(String(128), primary_key=True)

    __table_args__ = (Index("ledger_comparisons_by_model", "model", "sequence"),)
