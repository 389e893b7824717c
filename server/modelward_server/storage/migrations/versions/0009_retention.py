"""Add the data for retention of limited duration."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ANSWERED = sa.text("answer_type <> ''")


def upgrade() -> None:
    op.create_table(
        "ledger_swept",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("before", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind"),
    )
    op.create_index(
        "ledger_requests_by_time",
        "ledger_requests",
        ["answered_at"],
        sqlite_where=ANSWERED,
        postgresql_where=ANSWERED,
    )


def downgrade() -> None:
    op.drop_index("ledger_requests_by_time", "ledger_requests")
    op.drop_table("ledger_swept")
