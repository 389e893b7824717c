"""Store the latest time among the rows of each observer, by which late rows are recognised."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.add_column("ledger_observers", sa.Column("latest_time", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("ledger_observers", "latest_time")
