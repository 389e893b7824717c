"""Record the servers that share the ledger, with their heartbeats."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0024"


def upgrade() -> None:
    op.create_table(
        "ledger_replicas",
        sa.Column("replica_id", sa.String(36), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("replica_id"),
    )


def downgrade() -> None:
    op.drop_table("ledger_replicas")
