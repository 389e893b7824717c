"""Store how many configurations were tried before each version, what their returns say, and its validation folds."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

TABLE = "ledger_versions"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("tried_configurations", sa.Integer(), nullable=False, server_default="0"))
    op.add_column(TABLE, sa.Column("backtest", sa.JSON(), nullable=True))
    op.add_column(TABLE, sa.Column("folds", sa.JSON(), nullable=True))


def downgrade() -> None:
    for name in ("tried_configurations", "backtest", "folds"):
        op.drop_column(TABLE, name)
