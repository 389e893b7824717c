"""Store the ids of observed rows, and rows whose window was compared, for comparisons on them."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"

NAME = sa.String(length=128)
OBSERVER = ["model", "version", "reference", "sender"]


def upgrade() -> None:
    op.add_column("ledger_observed_rows", sa.Column("ids", sa.LargeBinary(), nullable=True))
    op.create_table(
        "ledger_replay_rows",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reference", NAME, nullable=False),
        sa.Column("sender", sa.String(length=256), nullable=False),
        sa.Column("window", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("ids", sa.LargeBinary(), nullable=True),
        sa.Column("arrow_ipc", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(OBSERVER, [f"ledger_observers.{column}" for column in OBSERVER]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ledger_replay_rows_by_model", "ledger_replay_rows", ["model", "seen_at", "size"])
    op.create_index("ledger_replay_rows_by_time", "ledger_replay_rows", ["seen_at"])


def downgrade() -> None:
    op.drop_table("ledger_replay_rows")
    op.drop_column("ledger_observed_rows", "ids")
