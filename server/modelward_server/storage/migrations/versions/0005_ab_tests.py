"""Create the tables for A/B tests and their outcomes."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "ledger_ab_tests",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("test", NAME, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("found", sa.JSON(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("test"),
    )
    op.create_table(
        "ledger_ab_test_models",
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.ForeignKeyConstraint(["sequence"], ["ledger_ab_tests.sequence"]),
        sa.PrimaryKeyConstraint("sequence", "model"),
    )
    op.create_index("ledger_ab_tests_by_model", "ledger_ab_test_models", ["model", "sequence"], unique=False)
    op.create_table(
        "ledger_ab_outcomes",
        sa.Column("test", sa.Integer(), nullable=False),
        sa.Column("outcome_id", sa.String(length=256), nullable=False),
        sa.Column("unit", sa.String(length=256), nullable=False),
        sa.Column("arm", sa.SmallInteger(), nullable=False),
        sa.Column("mismatched", sa.Boolean(), nullable=False),
        sa.Column("observed_at", sa.BigInteger(), nullable=False),
        sa.Column("numbers", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["test"], ["ledger_ab_tests.sequence"]),
        sa.PrimaryKeyConstraint("test", "outcome_id"),
    )


def downgrade() -> None:
    op.drop_table("ledger_ab_outcomes")
    op.drop_table("ledger_ab_test_models")
    op.drop_table("ledger_ab_tests")
