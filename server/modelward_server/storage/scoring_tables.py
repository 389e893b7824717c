"""The ledger's table of what was scored."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.tables import Base, Name


class ScoreRow(Base):
    """One version's answer to one call."""

    __tablename__ = "ledger_scores"

    sequence: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    request_id: Mapped[str] = mapped_column(String(256))
    scored_at: Mapped[datetime]
    actor: Mapped[str]
    authenticated: Mapped[bool]
    model: Mapped[str] = mapped_column(Name)
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    stage: Mapped[str] = mapped_column(String(16))
    as_of: Mapped[datetime | None]
    method: Mapped[str] = mapped_column(String(16))
    rows: Mapped[int] = mapped_column("row_count", BigInteger)
    rows_sha256: Mapped[str] = mapped_column(String(64))
    answer_sha256: Mapped[str] = mapped_column(String(64))
    libraries: Mapped[list[Any]]
    ab_test: Mapped[str] = mapped_column(String(128))
    unit: Mapped[str] = mapped_column(String(256))
    variant: Mapped[str] = mapped_column(String(128))
    error: Mapped[str] = mapped_column(String(64))

    __table_args__ = (
        ForeignKeyConstraint(["model", "version"], ["ledger_versions.model", "ledger_versions.version"]),
        # A batch may be written again after an error that hid its commit.
        Index("ledger_scores_once", "request_id", "model", "version", "scored_at", unique=True),
        Index("ledger_scores_by_time", "scored_at"),
        Index("ledger_scores_by_model", "model", "scored_at"),
        Index("ledger_scores_by_version", "model", "version", "scored_at"),
        Index("ledger_scores_by_rows", "rows_sha256"),
    )
