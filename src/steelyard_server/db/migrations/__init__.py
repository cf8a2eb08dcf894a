"""The schema and its changes. Alembic is imported only when there is one to make: it takes long."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy

if TYPE_CHECKING:
    from steelyard_server.db.postgresql_connection import Connection
    from steelyard_server.db.transaction import Transaction

# Every revision this server knows, oldest first.
REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011")

_REVISION: Final[sqlalchemy.Select[Any]] = sqlalchemy.select(sqlalchemy.column("version_num")).select_from(
    sqlalchemy.table("alembic_version")
)


class SchemaTooNew(Exception):
    """A newer server has changed the schema; this one would damage what it does not know."""


def migrate_sqlite(path: Path) -> None:
    """Bring the file at *path* to the newest revision, making it when missing.

    The caller must hold the lock of the data directory.

    Raises:
        SchemaTooNew: a newer server has changed the schema.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone() if exists else None
    finally:
        connection.close()
    if not is_current(found):
        from .upgrade import upgrade_sqlite

        upgrade_sqlite(path)


def migrate_postgresql(connection: Connection) -> None:
    """Bring the database behind *connection* to the newest revision; servers take turns.

    Raises:
        SchemaTooNew: a newer server has changed the schema.
    """
    table = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
    exists = table is not None and table[0] is not None
    found = connection.execute("SELECT version_num FROM alembic_version").fetchone() if exists else None
    connection.rollback()
    if not is_current(found):
        from .upgrade import upgrade_postgresql

        upgrade_postgresql(connection)


def revision(tx: Transaction) -> str:
    """Return the revision of the schema that *tx* sees."""
    row = tx.one(_REVISION)
    if row is None:
        raise RuntimeError("The database has no schema.")
    found: str = row.version_num
    return found


def is_current(found: tuple[Any, ...] | None) -> bool:
    """Return True when *found*, the row of ``alembic_version``, is the newest revision.

    Raises:
        SchemaTooNew: it is none that this server knows.
    """
    if found is None:
        return False
    if found[0] not in REVISIONS:
        raise SchemaTooNew(
            f"The database has schema {found[0]!r}, which is newer than this server knows "
            f"({REVISIONS[-1]!r}). Start the newer server."
        )
    return bool(found[0] == REVISIONS[-1])
