"""Connections to PostgreSQL, and what its errors mean."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import IsolationLevel
from psycopg.adapt import Loader
from sqlalchemy import make_url

from steelyard_server import errors

from .database import WaitLimits

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_SECONDS: Final = 10
# Any number that no other program locks: the first bytes of the word Steelyard.
ONE_SERVER_KEY: Final = int.from_bytes(b"Steelyar")

# What another transaction may have caused: a use case that runs anew sees what that one did.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
CONFLICTS: Final = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "23505",  # unique_violation
        "23503",  # foreign_key_violation
    }
)
LOCK_NOT_AVAILABLE: Final = "55P03"
QUERY_CANCELED: Final = "57014"
DISK_FULL: Final = "53100"

# Connection exceptions, insufficient resources, operator intervention, system and internal errors.
UNAVAILABLE_CLASSES: Final = frozenset({"08", "53", "57", "58", "XX"})


class NumericLoader(Loader):
    """Load numeric, the type of a sum of 64-bit integers, as int where it is one."""

    def load(self, data: Any) -> int | float:
        """Return an int unless *data* has a fraction or is no number."""
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else float(text)


def connect(conninfo: str, *, read_only: bool, limits: WaitLimits) -> Connection:
    """Open a connection whose transactions are explicit, bounded in time and durable.

    Writes are READ COMMITTED, reads one REPEATABLE READ snapshot.

    Raises:
        StorageUnavailable: the server cannot be reached.
    """
    try:
        connection = psycopg.connect(
            conninfo, connect_timeout=CONNECT_SECONDS, client_encoding="utf8", autocommit=True
        )
        _configure(connection, read_only=read_only, limits=limits)
    except psycopg.Error as error:
        raise unavailable() from error
    return connection


def conninfo_of(url: str) -> str:
    """Turn a URL of SQLAlchemy into what the driver takes."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


class Hold:
    """Keep a database to one server, by a lock that lasts as long as a connection.

    Not safe for several threads at once.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: Connection | None = None

    def take(self) -> bool:
        """Take the database; return False when another server has it.

        Raises:
            StorageUnavailable: the server of the database cannot be reached.
        """
        try:
            connection = psycopg.connect(self._conninfo, connect_timeout=CONNECT_SECONDS, autocommit=True)
        except psycopg.Error as error:
            raise unavailable() from error
        try:
            held = connection.execute("SELECT pg_try_advisory_lock(%s)", (ONE_SERVER_KEY,)).fetchone()
        except psycopg.Error as error:
            connection.close()
            raise unavailable() from error
        if held is None or not held[0]:
            connection.close()
            return False
        self._connection = connection
        return True

    def keep(self) -> bool:
        """Take the database again where the connection was lost; return False when another server has it."""
        try:
            if self._connection is not None:
                self._connection.execute("SELECT 1")
                return True
        except psycopg.Error:
            self.close()
        try:
            return self.take()
        except errors.StorageUnavailable:
            # Nobody can have it while nobody can reach it.
            return True

    def close(self) -> None:
        """Let another server have the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def require_utf8(connection: Connection) -> None:
    """Refuse a database that cannot store every text.

    Raises:
        StorageUnavailable: it is not in UTF-8.
    """
    if connection.info.parameter_status("server_encoding") != "UTF8":
        raise errors.StorageUnavailable(
            "The PostgreSQL database does not store UTF-8. Create one with ENCODING 'UTF8'."
        )


def _configure(connection: Connection, *, read_only: bool, limits: WaitLimits) -> None:
    statement_seconds = limits.read_seconds + (0 if read_only else limits.wait_seconds)
    connection.execute(
        "SELECT set_config('statement_timeout', %(statement)s, false),"
        " set_config('lock_timeout', %(lock)s, false),"
        " set_config('idle_in_transaction_session_timeout', %(statement)s, false),"
        " set_config('synchronous_commit',"
        "            coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), false)",
        {"statement": f"{statement_seconds * 1000:.0f}", "lock": f"{limits.wait_seconds * 1000:.0f}"},
    )
    connection.adapters.register_loader("numeric", NumericLoader)
    connection.autocommit = False
    connection.read_only = read_only
    connection.isolation_level = (
        IsolationLevel.REPEATABLE_READ if read_only else IsolationLevel.READ_COMMITTED
    )


def registry_error(error: psycopg.Error, *, read_only: bool) -> errors.RegistryError | None:
    """Return what to tell the caller of a transaction that ended with *error*, None for a fault of ours."""
    if (state := error.sqlstate) is None:
        # The server did not say this: the connection broke, or the values do not fit the statement.
        lost = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return unavailable() if lost else None
    if state in CONFLICTS:
        return errors.Conflict("Concurrent changes kept colliding with this one. Try again.")
    if state == QUERY_CANCELED and read_only:
        return errors.QueryTooExpensive("The query took too long. Ask for less.")
    if state in (LOCK_NOT_AVAILABLE, QUERY_CANCELED):
        return errors.DatabaseBusy("Other transactions kept the database busy. Try again.")
    if state == DISK_FULL:
        return errors.StorageFull(
            "The disk of the database is full. Free space on its server, then try again."
        )
    return unavailable() if state[:2] in UNAVAILABLE_CLASSES else None


def unavailable() -> errors.StorageUnavailable:
    """Return what callers hear when the server is gone; nothing was kept."""
    return errors.StorageUnavailable("The database cannot be used now and nothing was kept. Try again later.")


def outcome_unknown() -> errors.OutcomeUnknown:
    """Return what callers hear when the server went away during COMMIT."""
    return errors.OutcomeUnknown(
        "The connection to the database broke during the commit: the change may be kept or lost. Try "
        "again with the same request id."
    )
