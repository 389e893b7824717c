"""Index versions in the order in which lists show them, the newest first, and what the overview looks for.

With both columns ascending, a database has to sort all versions of a model before it can show the newest ones. Halted
models and unusable versions are few, and were found by reading all models and all versions in production.
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"

NEWEST_FIRST = sa.text("version DESC")
HALTED = sa.text("halted_at IS NOT NULL")
UNUSABLE = sa.text("stage = 'production' AND trial_result = 'unusable'")


def upgrade() -> None:
    op.create_index("ledger_versions_newest_first", "ledger_versions", ["model", NEWEST_FIRST])
    _replace([NEWEST_FIRST])
    _add_partial("ledger_models_halted", "ledger_models", ["name"], HALTED)
    _add_partial("ledger_versions_unusable", "ledger_versions", ["trial_result", "stage", "model"], UNUSABLE)


def downgrade() -> None:
    op.drop_index("ledger_versions_unusable", "ledger_versions")
    op.drop_index("ledger_models_halted", "ledger_models")
    _replace(["version"])
    op.drop_index("ledger_versions_newest_first", "ledger_versions")


def _add_partial(name: str, table: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _replace(last: list[str | sa.TextClause]) -> None:
    """Make the indexes for conditions on stages and tags again, with this as their last column."""
    op.drop_index("ledger_versions_by_stage", "ledger_versions")
    op.create_index("ledger_versions_by_stage", "ledger_versions", ["stage", "model", *last])
    op.drop_index("ledger_version_tags_by_value", "ledger_version_tags")
    op.create_index("ledger_version_tags_by_value", "ledger_version_tags", ["key", "digest", "model", *last])
