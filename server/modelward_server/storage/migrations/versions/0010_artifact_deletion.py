"""Record the deletion of versions' files."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

COLUMNS = (
    sa.Column("artifact_deleted_by", sa.Text(), nullable=False, server_default=""),
    sa.Column("artifact_deletion_reason", sa.Text(), nullable=False, server_default=""),
    sa.Column("artifact_deleted_at", sa.DateTime(timezone=True), nullable=True),
)


def upgrade() -> None:
    for column in COLUMNS:
        op.add_column("ledger_versions", column)


def downgrade() -> None:
    for column in COLUMNS:
        op.drop_column("ledger_versions", column.name)
