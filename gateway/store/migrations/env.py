"""Alembic's entry: runs the migrations on the connection that `migrate` gives.

One transaction for all of them: a database is at one version or at another.
"""

from alembic import context

from gateway.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
