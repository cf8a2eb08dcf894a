"""Building a database that is there whole or not at all, from rows that were kept elsewhere.

The schema is made at the revision that the rows have, filled, then migrated like that of any old
database, all in one transaction.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy
from sqlalchemy import text
from sqlalchemy.pool import StaticPool

from steelyard_server.errors import RegistryError

from .migrations.upgrade import upgrade
from .sqlite_connection import is_transaction_lost
from .sqlite_connection import registry_error as sqlite_error
from .statements import Statements
from .transaction import Transaction

if TYPE_CHECKING:
    from .postgresql_connection import Connection

Fill = Callable[[Transaction], None]
Migrate = Callable[[str], None]

# Keys that PostgreSQL generates go on behind those that were given.
_GENERATED: Final = text(
    "SELECT table_name, column_name FROM information_schema.columns"
    " WHERE table_schema = current_schema() AND column_default LIKE 'nextval(%'"
)
_RELATIONS: Final = (
    "SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
    " WHERE nspname = current_schema()"
)
_BROKEN: Final = text("PRAGMA foreign_key_check")
_CHECK: Final = text("PRAGMA integrity_check(10)")


class DatabaseNotEmpty(Exception):
    """There is something in a database that was to be built."""


class Inconsistent(Exception):
    """Rows contradict the constraints of their tables, or the file of the database is damaged."""


@contextmanager
def build(location: str | Path, *, revision: str, fill: Fill) -> Iterator[Transaction]:
    """Make a database in the newest schema; it is kept when the block ends, and gone when the block raises.

    Args:
        location: the path of an SQLite file that does not exist, or the URL of a PostgreSQL database
            that has no table, which the caller must hold alone.
        revision: of the schema that *fill* fills, one of ``migrations.REVISIONS``.
        fill: inserts rows into the tables of that schema, which are empty.

    Raises:
        DatabaseNotEmpty: there is something at *location*.
        Inconsistent: the rows do not fit the schema, or contradict each other.
        RegistryError: the disk or the server of the database does not work.
    """
    if isinstance(location, Path):
        with _build_sqlite(location, revision=revision, fill=fill) as tx:
            yield tx
    else:
        with _build_postgresql(location, revision=revision, fill=fill) as tx:
            yield tx


def require_empty(url: str) -> None:
    """Refuse a PostgreSQL database in which there is something, before any work is done.

    Raises:
        DatabaseNotEmpty: there is something.
        StorageUnavailable: the server cannot be reached, or the database is not in UTF-8.
    """
    from .postgresql_connection import conninfo_of

    with closing(_connect_unlimited(conninfo_of(url))) as connection:
        _require_no_relations(connection)


def require_sound(tx: Transaction) -> None:
    """Read the whole database and look for damage, where the database does not do that itself.

    Raises:
        Inconsistent: the file is damaged.
    """
    if tx.dialect == "sqlite":
        found = [row[0] for row in tx.all(_CHECK)]
        if found != ["ok"]:
            raise Inconsistent(f"The database is damaged: {'; '.join(found)}.")


@contextmanager
def _build_sqlite(path: Path, *, revision: str, fill: Fill) -> Iterator[Transaction]:
    from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

    if path.exists():
        raise DatabaseNotEmpty(f"There is a database at {path}.")
    try:
        with (
            closing(sqlite3.connect(path, isolation_level=None)) as connection,
            _migrating(connection, "sqlite://") as migrate,
        ):
            # What fails is removed whole, and what is done is synced whole.
            for pragma in ("journal_mode=MEMORY", "synchronous=OFF", "cache_size=-65536"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN EXCLUSIVE")
            statements = Statements(SQLiteDialect_pysqlite(paramstyle="named"))
            tx = _filled(connection, statements, migrate=migrate, revision=revision, fill=fill)
            # Migrations copy tables, so keys are not enforced meanwhile.
            _require_references(tx)
            yield tx
            connection.execute("COMMIT")
        _sync(path)
    except sqlite3.Error as error:
        path.unlink(missing_ok=True)
        if is_transaction_lost(error):
            raise sqlite_error(error) from error
        raise Inconsistent(f"The rows do not fit: {error}.") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def _build_postgresql(url: str, *, revision: str, fill: Fill) -> Iterator[Transaction]:
    import psycopg
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    from .postgresql_connection import conninfo_of, unavailable
    from .postgresql_connection import registry_error as postgresql_error

    statements = Statements(PGDialect_psycopg())  # type: ignore[no-untyped-call]
    try:
        with (
            closing(_connect_unlimited(conninfo_of(url))) as connection,
            _migrating(connection, "postgresql+psycopg://") as migrate,
        ):
            _require_no_relations(connection)
            tx = _filled(connection, statements, migrate=migrate, revision=revision, fill=fill)
            _settle(tx)
            yield tx
            connection.commit()
    except psycopg.OperationalError as error:
        raise (postgresql_error(error, read_only=False) or unavailable()) from error
    except psycopg.Error as error:
        raise Inconsistent(f"The rows do not fit: {error.diag.message_primary or error}.") from error


def _require_references(tx: Transaction) -> None:
    if broken := tx.one(_BROKEN):
        raise Inconsistent(f"A row of {broken[0]} refers to one of {broken[2]} that is not there.")


def _require_no_relations(connection: Connection) -> None:
    found = connection.execute(_RELATIONS).fetchone()
    if found is None or found[0]:
        raise DatabaseNotEmpty("The database has tables already. Name one that is empty.")


def _connect_unlimited(conninfo: str) -> Connection:
    """Connect for one transaction that takes as long as it takes.

    Raises:
        StorageUnavailable: the server cannot be reached, or the database is not in UTF-8.
    """
    from .database import WaitLimits
    from .postgresql_connection import connect, require_utf8

    connection = connect(conninfo, read_only=False, limits=WaitLimits(read_seconds=0, wait_seconds=0))
    try:
        require_utf8(connection)
    except RegistryError:
        connection.close()
        raise
    return connection


@contextmanager
def _migrating(connection: sqlite3.Connection | Connection, url: str) -> Iterator[Migrate]:
    """Give what migrates the schema up to a revision, in whatever transaction *connection* is by then."""
    engine = sqlalchemy.create_engine(url, creator=lambda: connection, poolclass=StaticPool)
    # To connect rolls back, and so does the end of the block, after the transaction.
    with engine.connect() as migrated:
        yield lambda revision: upgrade(migrated, revision=revision)


def _filled(
    connection: sqlite3.Connection | Connection,
    statements: Statements,
    *,
    migrate: Migrate,
    revision: str,
    fill: Fill,
) -> Transaction:
    """Make the schema, fill it and migrate it."""
    migrate(revision)
    tx = Transaction(connection, statements)
    fill(tx)
    migrate("head")
    return tx


def _settle(tx: Transaction) -> None:
    """Have generated keys go on behind those that are there, and tell the planner what is there."""
    for row in tx.all(_GENERATED):
        table = sqlalchemy.table(row.table_name, sqlalchemy.column(row.column_name))
        newest = sqlalchemy.func.max(table.c[row.column_name])
        sequence = sqlalchemy.func.pg_get_serial_sequence(row.table_name, row.column_name)
        tx.all(sqlalchemy.select(sqlalchemy.func.setval(sequence, newest)))
    tx.run(text("ANALYZE"), {})


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
