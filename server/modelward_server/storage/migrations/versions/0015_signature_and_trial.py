"""Store the signature of each version, and whether its model loads and predicts."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
TABLE, INDEX = "ledger_versions", "ledger_versions_to_try"
TEXTS = ("trial_reason", "tried_with")
TIMES = ("tried_at", "trial_claimed_until")


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("signature", sa.JSON(), nullable=True))
    op.add_column(TABLE, sa.Column("trial_result", sa.String(16), nullable=False, server_default=""))
    for name in TEXTS:
        op.add_column(TABLE, sa.Column(name, sa.Text(), nullable=False, server_default=""))
    for name in TIMES:
        op.add_column(TABLE, sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    pending = sa.text("trial_result = 'pending'")
    op.create_index(INDEX, TABLE, ["created_at"], sqlite_where=pending, postgresql_where=pending)


def downgrade() -> None:
    op.drop_index(INDEX, TABLE)
    for name in ("signature", "trial_result", *TEXTS, *TIMES):
        op.drop_column(TABLE, name)
