"""Alembic environment: runs the ledger's migrations on the connection that the ledger provides."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="ledger_schema",  # MLflow, in the same database, owns `alembic_version`.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
