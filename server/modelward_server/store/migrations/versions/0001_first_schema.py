"""The first schema."""

from alembic import op
from modelward_server.store.tables import AuditHeadRow, Base
from sqlalchemy import insert

revision = "0001"
down_revision = None


def upgrade() -> None:
    Base.metadata.create_all(op.get_bind())
    op.get_bind().execute(insert(AuditHeadRow).values(id=1, sequence=0, hash="0" * 64))
