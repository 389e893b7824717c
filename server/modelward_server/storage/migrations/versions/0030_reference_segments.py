"""Keep the regime and the segments of references."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0027"


def upgrade() -> None:
    op.add_column("ledger_references", sa.Column("regime", sa.JSON()))
    op.add_column("ledger_references", sa.Column("segments", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("ledger_references", "segments")
    op.drop_column("ledger_references", "regime")
