"""Record which versions are to be shown in MLflow again, for facts about them that are stored beside them."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "ledger_mirror_requests",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("ledger_mirror_requests_by_version", "ledger_mirror_requests", ["model", "version", "sequence"])


def downgrade() -> None:
    op.drop_table("ledger_mirror_requests")
