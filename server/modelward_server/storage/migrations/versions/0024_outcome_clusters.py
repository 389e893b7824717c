"""Record what the units of A/B tests share shocks with."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.add_column("ledger_ab_outcomes", sa.Column("cluster", sa.String(256), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("ledger_ab_outcomes", "cluster")
