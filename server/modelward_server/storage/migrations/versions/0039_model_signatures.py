"""Store the signatures over the files of versions."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("ledger_versions", sa.Column("model_signature", sa.JSON(), nullable=True))
    op.create_table(
        "ledger_model_signatures",
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["model", "version"], ["ledger_versions.model", "ledger_versions.version"]),
        sa.PrimaryKeyConstraint("model", "version"),
    )


def downgrade() -> None:
    op.drop_table("ledger_model_signatures")
    op.drop_column("ledger_versions", "model_signature")
