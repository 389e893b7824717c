"""The ledger's table for reviews of models."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.tables import Base, Name


class ReviewRow(Base):
    """A review, under the sequence number of its audit record; rows are added, never changed."""

    __tablename__ = "ledger_reviews"

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    review_id: Mapped[str] = mapped_column(String(64), unique=True)
    model: Mapped[str] = mapped_column(Name, ForeignKey("ledger_models.name"))
    version: Mapped[int]
    """0 for the model."""
    found: Mapped[dict[str, Any]]
    """The whole review as the contract's JSON."""

    __table_args__ = (Index("ledger_reviews_by_model", "model", "sequence"),)
