"""Record the columns of a reference that are not features."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("ledger_references", sa.Column("ignored_columns", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("ledger_references", "ignored_columns")
