"""Add what separates clients: owners of recorded answers, the key of page tokens, and owners of uploaded contents."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

KEY_BYTES = 64
"""Length of an AES-SIV key: two AES-256 keys."""


def upgrade() -> None:
    # Earlier answers have no owner: a client with a credential is given none of them.
    op.add_column("ledger_requests", sa.Column("owner", sa.Text(), nullable=False, server_default=""))
    keys = op.create_table(
        "ledger_keys",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.bulk_insert(keys, [{"name": "page_tokens", "key": secrets.token_bytes(KEY_BYTES)}])
    op.create_table(
        "ledger_uploads",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("uploader", sa.String(length=256), nullable=False),
        sa.Column("uploaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", "uploader"),
    )


def downgrade() -> None:
    op.drop_table("ledger_uploads")
    op.drop_table("ledger_keys")
    with op.batch_alter_table("ledger_requests") as requests:
        requests.drop_column("owner")
