"""The first schema."""

from alembic import op
from sqlalchemy import insert

import modelward_server.store.drift_tables  # noqa: F401 - its tables are part of the schema
from modelward_server.store import comparison_tables, retraining_tables  # noqa: F401 - their tables are made too
from modelward_server.store.tables import AuditHeadRow, Base

revision = "0001"
down_revision = None


def upgrade() -> None:
    Base.metadata.create_all(op.get_bind())
    op.get_bind().execute(insert(AuditHeadRow).values(id=1, sequence=0, hash="0" * 64))
