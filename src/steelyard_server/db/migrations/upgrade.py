"""Run Alembic on an engine that is made for it and disposed of afterwards."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy
from alembic import command
from alembic.config import Config
from sqlalchemy.pool import NullPool, StaticPool

if TYPE_CHECKING:
    from steelyard_server.db.postgresql_connection import Connection

# Any number that no other program uses on the same database.
ADVISORY_LOCK: Final = 0x7374656C79617264


def upgrade_sqlite(path: Path) -> None:
    """Run all missing migrations in one exclusive transaction."""
    engine = sqlalchemy.create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(path, isolation_level=None), poolclass=NullPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        upgrade(connection)
        connection.exec_driver_sql("COMMIT")


def upgrade_postgresql(connection: Connection) -> None:
    """Run all missing migrations in one transaction, under a lock that all servers of it share."""
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool
    )
    with engine.begin() as transaction:
        transaction.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        upgrade(transaction)


def upgrade(connection: sqlalchemy.Connection, *, revision: str = "head") -> None:
    """Run the missing migrations up to *revision* on *connection*, within the transaction it is in."""
    command.upgrade(alembic_config(connection), revision)


def alembic_config(connection: sqlalchemy.Connection) -> Config:
    """Return Alembic's settings, without its ini file."""
    config = Config()
    config.set_main_option("script_location", "steelyard_server.db:migrations")
    config.attributes["connection"] = connection
    return config
