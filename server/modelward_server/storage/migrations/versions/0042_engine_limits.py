"""Store who reports an engine, and index what limits the number of engines and of their periods."""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"


def upgrade() -> None:
    op.add_column("ledger_engines", sa.Column("reported_by", sa.Text(), nullable=False, server_default=""))
    op.create_index("ledger_engines_by_client", "ledger_engines", ["reported_by"])
    op.create_index("ledger_engines_by_end", "ledger_engines", ["gone_at"])
    op.create_index("ledger_engine_periods_by_engine", "ledger_engine_periods", ["model", "engine", "started_at"])


def downgrade() -> None:
    op.drop_index("ledger_engine_periods_by_engine", "ledger_engine_periods")
    op.drop_index("ledger_engines_by_end", "ledger_engines")
    op.drop_index("ledger_engines_by_client", "ledger_engines")
    op.drop_column("ledger_engines", "reported_by")
