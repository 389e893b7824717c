"""Log which versions answered which calls to score."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"

NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
TABLE = "ledger_scores"
INDEXES = {
    "ledger_scores_by_time": ["scored_at"],
    "ledger_scores_by_model": ["model", "scored_at"],
    "ledger_scores_by_version": ["model", "version", "scored_at"],
    "ledger_scores_by_rows": ["rows_sha256"],
}


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(256), nullable=False),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("authenticated", sa.Boolean(), nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("rows_sha256", sa.String(64), nullable=False),
        sa.Column("answer_sha256", sa.String(64), nullable=False),
        sa.Column("libraries", sa.JSON(), nullable=False),
        sa.Column("ab_test", sa.String(128), nullable=False),
        sa.Column("unit", sa.String(256), nullable=False),
        sa.Column("variant", sa.String(128), nullable=False),
        sa.Column("error", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["model", "version"], ["ledger_versions.model", "ledger_versions.version"]),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("ledger_scores_once", TABLE, ["request_id", "model", "version", "scored_at"], unique=True)
    for name, columns in INDEXES.items():
        op.create_index(name, TABLE, columns)


def downgrade() -> None:
    op.drop_table(TABLE)
