"""Record which of a version's files holds its model."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("ledger_versions", sa.Column("model_file", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("ledger_versions", "model_file")
