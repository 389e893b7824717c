"""The ledger's tables for A/B tests and their outcomes."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
)
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.outcome_tables import EpochMicroseconds
from modelward_server.storage.tables import Base, Name


class AbTestRow(Base):
    """An A/B test; written when it starts, and again when it is concluded."""

    __tablename__ = "ledger_ab_tests"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    test: Mapped[str] = mapped_column(Name, unique=True)
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    found: Mapped[dict[str, Any]]
    """The whole test as the contract's JSON."""
    revision: Mapped[int] = mapped_column(default=1)
    outcomes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """Number of its outcomes."""


class AbTestModelRow(Base):
    """Maps a test to the models whose versions it compares."""

    __tablename__ = "ledger_ab_test_models"

    sequence: Mapped[int] = mapped_column(ForeignKey("ledger_ab_tests.sequence"), primary_key=True)
    model: Mapped[str] = mapped_column(Name, primary_key=True)

    __table_args__ = (Index("ledger_ab_tests_by_model", "model", "sequence"),)


# A Core table, not a mapped class: outcomes are read by the hundred thousand, and ORM objects would dominate the cost.
AB_OUTCOMES = Table(
    "ledger_ab_outcomes",
    Base.metadata,
    Column("test", ForeignKey("ledger_ab_tests.sequence"), primary_key=True),
    Column("outcome_id", String(256), primary_key=True),
    Column("unit", String(256), nullable=False),
    Column("cluster", String(256), nullable=False, server_default="", doc="Empty: the unit alone."),
    Column("arm", SmallInteger, nullable=False, doc="The index of its variant in the test."),
    Column("mismatched", Boolean, nullable=False, doc="Whether the assignment gives its unit a different variant."),
    Column("observed_at", EpochMicroseconds, nullable=False),
    Column(
        "numbers",
        LargeBinary,
        nullable=False,
        doc="Little-endian float64: the test's metrics, then the pre-experiment ones; NaN where a value is missing.",
    ),
)

AB_EXPOSURES = Table(
    "ledger_ab_exposures",
    Base.metadata,
    Column("test", ForeignKey("ledger_ab_tests.sequence"), primary_key=True),
    Column("unit", String(256), primary_key=True),
    Column("arm", SmallInteger, nullable=False, doc="The index of its variant in the test."),
    Column("model", Name, nullable=False),
    Column("version", Integer, nullable=False, doc="The version that answered."),
    Column("exposed_at", EpochMicroseconds, nullable=False, doc="When the server first scored with it."),
)
