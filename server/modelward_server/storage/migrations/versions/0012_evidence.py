"""Store the number of an A/B test's outcomes, and mark requested drift reports, so that neither needs a full scan."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("ledger_ab_tests", sa.Column("outcomes", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE ledger_ab_tests SET outcomes ="
        " (SELECT COUNT(*) FROM ledger_ab_outcomes WHERE ledger_ab_outcomes.test = ledger_ab_tests.sequence)"
    )
    op.create_index(
        "ledger_drift_reports_asked_for",
        "ledger_drift_reports",
        ["model", "version", "created_at", "report_id"],
        sqlite_where=sa.text("observed IS 0"),
        postgresql_where=sa.text("observed IS false"),
    )


def downgrade() -> None:
    op.drop_index("ledger_drift_reports_asked_for", "ledger_drift_reports")
    op.drop_column("ledger_ab_tests", "outcomes")
