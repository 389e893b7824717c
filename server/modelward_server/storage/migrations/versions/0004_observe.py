"""Create the tables for live data that is collected into windows."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column(
        "ledger_drift_reports", sa.Column("observed", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_table(
        "ledger_observers",
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reference", NAME, nullable=False),
        sa.Column("sender", sa.String(length=256), nullable=False),
        sa.Column("acknowledged", sa.BigInteger(), nullable=False),
        sa.Column("window", sa.Integer(), nullable=False),
        sa.Column("window_rows", sa.Integer(), nullable=False),
        sa.Column("window_opened", sa.DateTime(timezone=True), nullable=True),
        sa.Column("drifted", sa.JSON(), nullable=False),
        sa.Column("alarm_report", sa.String(length=64), nullable=False),
        sa.Column("alarm_score", sa.Double(), nullable=False),
        sa.Column("alarm_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("detector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["model", "version"], ["ledger_versions.model", "ledger_versions.version"]),
        sa.PrimaryKeyConstraint("model", "version", "reference", "sender"),
    )
    op.create_table(
        "ledger_observed_rows",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reference", NAME, nullable=False),
        sa.Column("sender", sa.String(length=256), nullable=False),
        sa.Column("window", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("arrow_ipc", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model", "version", "reference", "sender"],
            [
                "ledger_observers.model",
                "ledger_observers.version",
                "ledger_observers.reference",
                "ledger_observers.sender",
            ],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ledger_observed_rows_by_window",
        "ledger_observed_rows",
        ["model", "version", "reference", "sender", "window"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_table("ledger_observed_rows")
    op.drop_table("ledger_observers")
    op.drop_column("ledger_drift_reports", "observed")
