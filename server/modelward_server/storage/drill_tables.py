"""The ledger's tables for drills, and for the engines that are to answer them."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.tables import Base, Name

RUNNING = text("ended_at IS NULL")


class DrillRow(Base):
    """A drill of one model."""

    __tablename__ = "ledger_drills"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    drill_id: Mapped[str] = mapped_column(String(64), unique=True)
    model: Mapped[str] = mapped_column(Name, ForeignKey("ledger_models.name"))
    reason: Mapped[str]
    started_by: Mapped[str] = mapped_column(String(256))
    started_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    """When it ends at the latest."""
    ended_at: Mapped[datetime | None] = mapped_column(default=None)

    __table_args__ = (
        Index("ledger_drills_by_model", "model", "sequence"),
        Index("ledger_drills_by_time", "started_at"),
        Index("ledger_drills_running", "ends_at", sqlite_where=RUNNING, postgresql_where=RUNNING),
    )


class DrilledEngineRow(Base):
    """An engine that was running when a drill started, and its first answer."""

    __tablename__ = "ledger_drilled_engines"

    drill_id: Mapped[str] = mapped_column(String(64), ForeignKey("ledger_drills.drill_id"), primary_key=True)
    engine: Mapped[str] = mapped_column(String(256), primary_key=True)
    version: Mapped[int]
    """The version that it had reported last."""
    answered_at: Mapped[datetime | None] = mapped_column(default=None)
    stopped_after: Mapped[float | None] = mapped_column(default=None)
    """The seconds that it measured itself."""
    used_none: Mapped[bool] = mapped_column(default=False)
