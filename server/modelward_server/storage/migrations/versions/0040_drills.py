"""Store drills, and the engines that are to answer them."""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
RUNNING = sa.text("ended_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "ledger_drills",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("drill_id", sa.String(64), nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("started_by", sa.String(256), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["model"], ["ledger_models.name"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("drill_id"),
    )
    op.create_index("ledger_drills_by_model", "ledger_drills", ["model", "sequence"])
    op.create_index("ledger_drills_by_time", "ledger_drills", ["started_at"])
    op.create_index(
        "ledger_drills_running", "ledger_drills", ["ends_at"], sqlite_where=RUNNING, postgresql_where=RUNNING
    )
    op.create_table(
        "ledger_drilled_engines",
        sa.Column("drill_id", sa.String(64), nullable=False),
        sa.Column("engine", sa.String(256), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_after", sa.Double(), nullable=True),
        sa.Column("used_none", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["drill_id"], ["ledger_drills.drill_id"]),
        sa.PrimaryKeyConstraint("drill_id", "engine"),
    )


def downgrade() -> None:
    op.drop_table("ledger_drilled_engines")
    op.drop_table("ledger_drills")
