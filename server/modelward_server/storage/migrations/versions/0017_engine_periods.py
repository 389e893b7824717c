"""Record which engine ran which version from when until when."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
TABLE = "ledger_engine_periods"
COLUMNS = "model, engine, version, started_at"
OPEN = sa.text("ended_at IS NULL")


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("sequence", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("engine", sa.String(length=256), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["model"], ["ledger_models.name"]),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("ledger_engine_periods_by_model", TABLE, ["model", "sequence"])
    op.create_index("ledger_engine_periods_by_end", TABLE, ["ended_at"])
    open_index, engine = "ledger_engine_periods_open", ["model", "engine"]
    op.create_index(open_index, TABLE, engine, unique=True, sqlite_where=OPEN, postgresql_where=OPEN)
    # Of the engines that have reported before, only the last report is known.
    last_reports = "SELECT model, engine, version, reported_at FROM ledger_engines"
    op.execute(f"INSERT INTO {TABLE} ({COLUMNS}) {last_reports}")


def downgrade() -> None:
    op.drop_table(TABLE)
