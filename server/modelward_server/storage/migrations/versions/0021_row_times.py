"""Store the times and groups of references, late rows of observers, and the groups of outcomes."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("ledger_references", sa.Column("time_window", sa.JSON(), nullable=True))
    op.add_column("ledger_outcomes", sa.Column("group_name", sa.String(256), nullable=False, server_default=""))
    op.add_column("ledger_observers", sa.Column("closed_until", sa.Text(), nullable=False, server_default=""))
    op.add_column("ledger_observers", sa.Column("late_rows", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("ledger_observers", sa.Column("late_reported", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    for column in ("late_reported", "late_rows", "closed_until"):
        op.drop_column("ledger_observers", column)
    op.drop_column("ledger_outcomes", "group_name")
    op.drop_column("ledger_references", "time_window")
