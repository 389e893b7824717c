"""Store requests of approval, and the functions for which clients decide them."""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "ledger_approvals",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("approval_id", sa.String(64), nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("to_stage", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("waits_for", sa.Text(), nullable=False),
        sa.Column("found", sa.JSON(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["model", "version"], ["ledger_versions.model", "ledger_versions.version"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("approval_id"),
    )
    op.create_index("ledger_approvals_by_version", "ledger_approvals", ["model", "version", "sequence"])
    op.create_index("ledger_approvals_by_state", "ledger_approvals", ["state", "sequence"])
    op.add_column("ledger_grants", sa.Column("functions", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("ledger_grants", "functions")
    op.drop_table("ledger_approvals")
