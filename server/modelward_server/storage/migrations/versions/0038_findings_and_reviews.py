"""Store findings about models, and reviews of them."""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "ledger_findings",
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("finding_id", sa.String(64), nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("owner", sa.String(256), nullable=False),
        sa.Column("due", sa.Date(), nullable=True),
        sa.Column("found", sa.JSON(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["ledger_models.name"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("finding_id"),
    )
    op.create_index("ledger_findings_by_model", "ledger_findings", ["model", "sequence"])
    op.create_index("ledger_findings_by_state", "ledger_findings", ["state", "sequence"])
    op.create_table(
        "ledger_reviews",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("review_id", sa.String(64), nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("found", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["ledger_models.name"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("review_id"),
    )
    op.create_index("ledger_reviews_by_model", "ledger_reviews", ["model", "sequence"])


def downgrade() -> None:
    op.drop_table("ledger_reviews")
    op.drop_table("ledger_findings")
