"""Create the tables for predictions, their labels, and the periods evaluated with them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "ledger_outcomes",
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("prediction_id", sa.String(length=256), nullable=False),
        sa.Column("prediction", sa.Double(), nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("predicted_at", sa.BigInteger(), nullable=True),
        sa.Column("label", sa.Double(), nullable=True),
        sa.Column("labelled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["model", "version"],
            ["ledger_versions.model", "ledger_versions.version"],
        ),
        sa.PrimaryKeyConstraint("model", "version", "prediction_id"),
    )
    op.create_index("ledger_outcomes_by_time", "ledger_outcomes", ["model", "version", "predicted_at"], unique=False)
    op.create_index(
        "ledger_labelled_outcomes_by_time",
        "ledger_outcomes",
        ["model", "version", "predicted_at"],
        unique=False,
        sqlite_where=sa.text("label IS NOT NULL"),
        postgresql_where=sa.text("label IS NOT NULL"),
    )
    op.create_table(
        "ledger_judged_periods",
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ends_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("metric", NAME, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("baseline", sa.Double(), nullable=False),
        sa.Column("p_value", sa.Double(), nullable=False),
        sa.Column("declined", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model", "version"],
            ["ledger_versions.model", "ledger_versions.version"],
        ),
        sa.PrimaryKeyConstraint("model", "version", "starts_at", "ends_at"),
    )
    op.create_index(
        "ledger_judged_periods_by_time", "ledger_judged_periods", ["model", "version", "judged_at"], unique=False
    )
