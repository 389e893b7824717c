"""Store some rows of each reference, with which its version is tried."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("ledger_references", sa.Column("example", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("ledger_references", "example")
