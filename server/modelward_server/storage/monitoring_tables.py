"""The ledger's tables for live data that is collected into windows."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKeyConstraint, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.tables import Base, Name

Sender = String(256)


class ObserverRow(Base):
    """The live data that one sender observed of a version: stored statistics, and the open window."""

    __tablename__ = "ledger_observers"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(Name, primary_key=True)
    sender: Mapped[str] = mapped_column(Sender, primary_key=True)
    acknowledged: Mapped[int] = mapped_column(BigInteger, default=0)
    window: Mapped[int] = mapped_column(default=0)
    """The number of the open window; those before it are closed."""
    window_rows: Mapped[int] = mapped_column(default=0)
    window_opened: Mapped[datetime | None] = mapped_column(default=None)
    drifted: Mapped[list[Any]] = mapped_column(default=list)
    """Whether each of the last windows drifted, newest last."""
    alarm_report: Mapped[str] = mapped_column(String(64), default="")
    """The report that raised the current alarm."""
    alarm_score: Mapped[float] = mapped_column(default=0.0)
    alarm_since: Mapped[datetime | None] = mapped_column(default=None)
    closed_until: Mapped[str] = mapped_column(default="", server_default="")
    """The last time in closed windows, as text; empty before the first one, or where rows have no time."""
    latest_time: Mapped[str] = mapped_column(default="", server_default="")
    """The last time in all windows, as text."""
    late_rows: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """The number of rows that were older than it, and left out."""
    late_reported: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """The number of these when the last window closed."""
    detector: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    terms: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    """How its windows are defined, as of the last batch; null for one that an older server stored."""
    closes_at: Mapped[datetime | None] = mapped_column(default=None)
    """When the server closes the open window if no more rows come; null for windows of rows."""
    recovers_at: Mapped[datetime | None] = mapped_column(default=None)
    """When the server compares closed windows that the sender's call has not; null when there are none."""

    __table_args__ = (ForeignKeyConstraint(["model", "version"], ["ledger_versions.model", "ledger_versions.version"]),)


class ObservedRowsRow(Base):
    """Rows of one window from one batch, kept until the window's report is stored."""

    __tablename__ = "ledger_observed_rows"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(Name)
    version: Mapped[int]
    reference: Mapped[str] = mapped_column(Name)
    sender: Mapped[str] = mapped_column(Sender)
    window: Mapped[int]
    seen_at: Mapped[datetime]
    table: Mapped[bytes] = mapped_column("arrow_ipc", LargeBinary)
    ids: Mapped[bytes | None] = mapped_column(default=None)
    """The ids of the rows, as an Arrow stream; null if they have none."""

    __table_args__ = (
        ForeignKeyConstraint(
            ["model", "version", "reference", "sender"],
            [ObserverRow.model, ObserverRow.version, ObserverRow.reference, ObserverRow.sender],
        ),
        Index("ledger_observed_rows_by_window", "model", "version", "reference", "sender", "window"),
    )


class ReplayRowsRow(Base):
    """Observed rows whose window was compared, kept for comparisons on them until their retention period ends."""

    __tablename__ = "ledger_replay_rows"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(Name)
    version: Mapped[int]
    reference: Mapped[str] = mapped_column(Name)
    sender: Mapped[str] = mapped_column(Sender)
    window: Mapped[int]
    seen_at: Mapped[datetime]
    size: Mapped[int]
    """Bytes of the rows and their ids."""
    ids: Mapped[bytes | None] = mapped_column(default=None)
    table: Mapped[bytes] = mapped_column("arrow_ipc", LargeBinary)

    __table_args__ = (
        ForeignKeyConstraint(
            ["model", "version", "reference", "sender"],
            [ObserverRow.model, ObserverRow.version, ObserverRow.reference, ObserverRow.sender],
        ),
        Index("ledger_replay_rows_by_model", "model", "seen_at", "size"),
        Index("ledger_replay_rows_by_time", "seen_at"),
    )
