"""Store on which times versions were trained."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.add_column("ledger_versions", sa.Column("training_window", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("ledger_versions", "training_window")
