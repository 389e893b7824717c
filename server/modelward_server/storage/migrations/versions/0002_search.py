"""Create the search tables and indexes of lists, and fill them from models and versions."""

import hashlib
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
BATCH = 1000
MODELS = sa.table("ledger_models", sa.column("name", NAME), sa.column("tags", sa.JSON()))
VERSIONS = sa.table(
    "ledger_versions",
    sa.column("model", NAME),
    sa.column("version", sa.Integer()),
    sa.column("tags", sa.JSON()),
    sa.column("metrics", sa.JSON()),
)


def upgrade() -> None:
    op.create_table(
        "ledger_model_tags",
        sa.Column("model", NAME, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("model", "key"),
    )
    op.create_table(
        "ledger_version_tags",
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", "key"),
    )
    op.create_table(
        "ledger_version_metrics",
        sa.Column("model", NAME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", "key"),
    )
    _fill("ledger_model_tags", "digest", _digest, MODELS.c.tags, MODELS.c.name.label("model"))
    _fill("ledger_version_tags", "digest", _digest, VERSIONS.c.tags, VERSIONS.c.model, VERSIONS.c.version)
    _fill("ledger_version_metrics", "value", float, VERSIONS.c.metrics, VERSIONS.c.model, VERSIONS.c.version)
    _create_indexes()


def _fill(table: str, column: str, convert: Callable[[Any], Any], facts: Any, *names: Any) -> None:
    """Insert a row for each entry of a JSON object, with the key columns of the row that contains it."""
    target = sa.table(table, *(sa.column(name.name) for name in names), sa.column("key"), sa.column(column))
    connection = op.get_bind()
    found = connection.execute(sa.select(facts.label("facts"), *names), execution_options={"yield_per": BATCH})
    for rows in found.mappings().partitions():
        entries = [
            {name.name: row[name.name] for name in names} | {"key": key, column: convert(value)}
            for row in rows
            for key, value in row["facts"].items()
        ]
        if entries:
            connection.execute(target.insert(), entries)


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _create_indexes() -> None:
    op.create_index("ledger_model_tags_by_value", "ledger_model_tags", ["key", "digest", "model"])
    op.create_index("ledger_version_tags_by_value", "ledger_version_tags", ["key", "digest", "model", "version"])
    op.create_index("ledger_version_metrics_by_value", "ledger_version_metrics", ["key", "value", "model", "version"])
    op.drop_index("ledger_versions_by_stage", "ledger_versions")
    op.create_index("ledger_versions_by_stage", "ledger_versions", ["stage", "model", "version"])
    op.create_index("ledger_versions_by_time", "ledger_versions", ["created_at", "model", "version"])
    op.create_index(
        "ledger_drift_reports_by_version", "ledger_drift_reports", ["model", "version", "created_at", "report_id"]
    )
    op.create_index("ledger_transitions_by_time", "ledger_transitions", ["moved_at", "sequence"])
