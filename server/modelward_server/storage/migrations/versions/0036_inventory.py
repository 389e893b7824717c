"""Store what the inventory states of models, and the lineage of versions."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"

NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("ledger_models", sa.Column("inventory", sa.JSON(), nullable=True))
    op.add_column("ledger_versions", sa.Column("lineage", sa.JSON(), nullable=True))
    op.add_column("ledger_versions", sa.Column("job_id", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "ledger_model_inventory",
        sa.Column("model", NAME, nullable=False),
        sa.Column("field", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("model", "field", "digest"),
    )
    op.create_index("ledger_model_inventory_by_value", "ledger_model_inventory", ["field", "digest", "model"])


def downgrade() -> None:
    op.drop_table("ledger_model_inventory")
    op.drop_column("ledger_versions", "job_id")
    op.drop_column("ledger_versions", "lineage")
    op.drop_column("ledger_models", "inventory")
