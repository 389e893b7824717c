"""Create the table for the grants of tokens and certificates."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
LIVE_CERTIFICATE = sa.text("digest = '' AND revoked_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "ledger_grants",
        sa.Column("grant_id", sa.String(length=16), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("grant_id"),
    )
    op.create_index(
        "ledger_grants_of_certificates",
        "ledger_grants",
        ["name"],
        unique=True,
        sqlite_where=LIVE_CERTIFICATE,
        postgresql_where=LIVE_CERTIFICATE,
    )


def downgrade() -> None:
    op.drop_table("ledger_grants")
