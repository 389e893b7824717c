"""Store with each observer how its windows are defined, and when the server closes the open one by itself."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0029"


def upgrade() -> None:
    op.add_column("ledger_observers", sa.Column("terms", sa.JSON(), nullable=True))
    op.add_column("ledger_observers", sa.Column("closes_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("ledger_observers", sa.Column("recovers_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for name in ("recovers_at", "closes_at", "terms"):
        op.drop_column("ledger_observers", name)
