"""Index versions in the order in which lists show them: by model, the newest first.

With both columns ascending, a database has to sort all versions of a model before it can show the newest ones.
"""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0031"

NEWEST_FIRST = sa.text("version DESC")


def upgrade() -> None:
    op.create_index("ledger_versions_newest_first", "ledger_versions", ["model", NEWEST_FIRST])
    _replace([NEWEST_FIRST])


def downgrade() -> None:
    _replace(["version"])
    op.drop_index("ledger_versions_newest_first", "ledger_versions")


def _replace(last: list[str | sa.TextClause]) -> None:
    """Make the indexes for conditions on stages and tags again, with this as their last column."""
    op.drop_index("ledger_versions_by_stage", "ledger_versions")
    op.create_index("ledger_versions_by_stage", "ledger_versions", ["stage", "model", *last])
    op.drop_index("ledger_version_tags_by_value", "ledger_version_tags")
    op.create_index("ledger_version_tags_by_value", "ledger_version_tags", ["key", "digest", "model", *last])
