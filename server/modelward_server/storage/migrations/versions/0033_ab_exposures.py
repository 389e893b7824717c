"""Store which units of A/B tests were given their variant by the server."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.create_table(
        "ledger_ab_exposures",
        sa.Column("test", sa.Integer(), nullable=False),
        sa.Column("unit", sa.String(256), nullable=False),
        sa.Column("arm", sa.SmallInteger(), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("exposed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["test"], ["ledger_ab_tests.sequence"]),
        sa.PrimaryKeyConstraint("test", "unit"),
    )


def downgrade() -> None:
    op.drop_table("ledger_ab_exposures")
