"""Store where versions were imported from."""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    op.add_column("ledger_versions", sa.Column("origin", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("ledger_versions", "origin")
