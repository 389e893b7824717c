"""What lists are filtered by, where indexes reach it."""

import hashlib
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
MODELS = sa.table("ledger_models", sa.column("name"), sa.column("tags", sa.JSON))
VERSIONS = sa.table(
    "ledger_versions",
    sa.column("model"),
    sa.column("version"),
    sa.column("tags", sa.JSON),
    sa.column("metrics", sa.JSON),
)


def upgrade() -> None:
    model_tags = op.create_table(
        "ledger_model_tags",
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.PrimaryKeyConstraint("label", "model"),
    )
    op.create_index("ledger_model_tags_by_model", "ledger_model_tags", ["model"], unique=False)
    version_tags = op.create_table(
        "ledger_version_tags",
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("label", "model", "version"),
    )
    op.create_index("ledger_version_tags_by_version", "ledger_version_tags", ["model", "version"], unique=False)
    version_metrics = op.create_table(
        "ledger_version_metrics",
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", "key"),
    )
    op.create_index(
        "ledger_version_metrics_by_value", "ledger_version_metrics", ["key", "value", "model", "version"], unique=False
    )
    op.create_index("ledger_versions_by_time", "ledger_versions", ["created_at"], unique=False)
    _fill(model_tags, version_tags, version_metrics)


def _fill(model_tags: sa.Table, version_tags: sa.Table, version_metrics: sa.Table) -> None:
    """Copy what the rows hold as JSON."""
    connection = op.get_bind()
    for row in connection.execute(sa.select(MODELS)).all():
        _insert(model_tags, [{"label": _label(*tag), "model": row.name} for tag in row.tags.items()])
    for row in connection.execute(sa.select(VERSIONS)).all():
        own = {"model": row.model, "version": row.version}
        _insert(version_tags, [{"label": _label(*tag), **own} for tag in row.tags.items()])
        _insert(version_metrics, [{"key": key, "value": value, **own} for key, value in row.metrics.items()])


def _insert(table: sa.Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        op.bulk_insert(table, rows)


def _label(key: str, value: str) -> str:
    return hashlib.sha256(f"{key}\0{value}".encode()).hexdigest()


def downgrade() -> None:
    op.drop_index("ledger_versions_by_time", "ledger_versions")
    for table in ("ledger_version_metrics", "ledger_version_tags", "ledger_model_tags"):
        op.drop_table(table)
