"""Add queues, fences and follow-ups of jobs, retraining policies, and delivery positions of webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

OPEN = "state IN ('pending', 'leased')"
FOLLOWED_UP = "follow_up IN ('pending', 'staged', 'compared')"


def upgrade() -> None:
    for column in _job_columns():
        op.add_column("ledger_jobs", column)
    _index("ledger_jobs_open", OPEN)
    _index("ledger_jobs_followed_up", FOLLOWED_UP)
    op.create_table(
        "ledger_retraining_policies",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["ledger_models.name"]),
        sa.PrimaryKeyConstraint("model"),
    )
    op.create_table(
        "ledger_webhooks",
        sa.Column("url", sa.String(length=2048), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("url"),
    )


def _job_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("queue", sa.String(length=128), nullable=False, server_default="default"),
        sa.Column("labels", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("parameters", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("data_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("data_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("progress", sa.Double(), nullable=False, server_default="0"),
        sa.Column("progress_message", sa.Text(), nullable=False, server_default=""),
        sa.Column("log_sha256", sa.Text(), nullable=False, server_default=""),
        sa.Column("evaluation", sa.LargeBinary(), nullable=True),
        sa.Column("evaluation_label", sa.Text(), nullable=False, server_default=""),
        sa.Column("follow_up", sa.String(length=16), nullable=False, server_default=""),
        sa.Column("follow_up_reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("follow_up_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("comparison_id", sa.Text(), nullable=False, server_default=""),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
    ]


def _index(name: str, where: str) -> None:
    op.create_index(name, "ledger_jobs", ["sequence"], sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    op.drop_table("ledger_webhooks")
    op.drop_table("ledger_retraining_policies")
    op.drop_index("ledger_jobs_followed_up", "ledger_jobs")
    op.drop_index("ledger_jobs_open", "ledger_jobs")
    for column in reversed(_job_columns()):
        op.drop_column("ledger_jobs", column.name)
