"""Create the table for the outcomes of schedules' firings."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("ledger_schedules", sa.Column("policy", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("ledger_schedules", sa.Column("counts_from", sa.DateTime(timezone=True), nullable=True))
    op.add_column("ledger_schedules", sa.Column("fired_through", sa.DateTime(timezone=True), nullable=True))
    op.add_column("ledger_schedules", sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "ledger_firings",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("schedule_id", NAME, nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("trigger_number", sa.Integer(), nullable=False),
        sa.Column("fired_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("job_id", sa.String(length=128), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("reason", sa.JSON(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["ledger_models.name"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("schedule_id", "trigger_number", "fired_at", name="ledger_firings_once"),
    )
    op.create_index("ledger_firings_by_model", "ledger_firings", ["model", "sequence"], unique=False)
    op.create_index("ledger_firings_by_schedule", "ledger_firings", ["schedule_id", "sequence"], unique=False)


def downgrade() -> None:
    op.drop_table("ledger_firings")
    for column in ("resumed_at", "fired_through", "counts_from", "policy"):
        op.drop_column("ledger_schedules", column)
