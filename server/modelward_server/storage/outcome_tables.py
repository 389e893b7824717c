"""The ledger's tables for predictions, their labels, and the periods evaluated with them."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Dialect, ForeignKeyConstraint, Index, String, TypeDecorator, text
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.tables import Base, Name

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class EpochMicroseconds(TypeDecorator[datetime]):
    """A timestamp as microseconds since 1970: SQL groups it into periods exactly, and identically on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + value * MICROSECOND


class OutcomeRow(Base):
    """A prediction, its label, or both; a label without `predicted_at` waits for its prediction."""

    __tablename__ = "ledger_outcomes"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    prediction_id: Mapped[str] = mapped_column(String(256), primary_key=True)
    prediction: Mapped[float | None]
    probability: Mapped[float | None]
    predicted_at: Mapped[datetime | None] = mapped_column(EpochMicroseconds)
    label: Mapped[float | None]
    labelled_at: Mapped[datetime | None] = mapped_column(EpochMicroseconds)
    group: Mapped[str] = mapped_column("group_name", String(256), default="", server_default="")

    __table_args__ = (
        ForeignKeyConstraint(["model", "version"], ["ledger_versions.model", "ledger_versions.version"]),
        Index("ledger_outcomes_by_time", "model", "version", "predicted_at"),
        Index(
            "ledger_labelled_outcomes_by_time",
            "model",
            "version",
            "predicted_at",
            sqlite_where=text("label IS NOT NULL"),
            postgresql_where=text("label IS NOT NULL"),
        ),
    )


class JudgedPeriodRow(Base):
    """A period that was compared with those before it; once each, so that an alarm is not repeated."""

    __tablename__ = "ledger_judged_periods"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    starts_at: Mapped[datetime] = mapped_column(EpochMicroseconds, primary_key=True)
    ends_at: Mapped[datetime] = mapped_column(EpochMicroseconds, primary_key=True)
    judged_at: Mapped[datetime]
    metric: Mapped[str] = mapped_column(Name)
    value: Mapped[float]
    baseline: Mapped[float]
    p_value: Mapped[float]
    declined: Mapped[bool]

    __table_args__ = (
        ForeignKeyConstraint(["model", "version"], ["ledger_versions.model", "ledger_versions.version"]),
        Index("ledger_judged_periods_by_time", "model", "version", "judged_at"),
    )
