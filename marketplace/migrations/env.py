"""Alembic's environment: runs on the connection that marketplace.db hands over."""

from alembic import context

from marketplace.db import METADATA, is_modelled

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=list(METADATA),
    render_as_batch=True,
    include_name=is_modelled,
)
context.run_migrations()
