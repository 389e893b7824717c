"""Record which version an engine could not load, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("ledger_engines", sa.Column("failed_version", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("ledger_engines", sa.Column("failure", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("ledger_engines", "failure")
    op.drop_column("ledger_engines", "failed_version")
