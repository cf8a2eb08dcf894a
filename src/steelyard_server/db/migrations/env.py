"""What Alembic runs first: it takes the connection from ``upgrade.py``."""

from __future__ import annotations

from alembic import context

from steelyard_server.db.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
