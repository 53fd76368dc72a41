"""Alembic's entry point; the connection and its transaction are the caller's."""

from alembic import context

from catalog_pipeline.catalog import operations_schema
from catalog_pipeline.catalog.schema import metadata

# `metadata` knows a table once the module that describes it is imported.
assert operations_schema.syncs.metadata is metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
