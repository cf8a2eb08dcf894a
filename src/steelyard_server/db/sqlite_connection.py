"""Connections to an SQLite file, and what their errors mean."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from steelyard_server import errors

# 16 MiB: a page that many commits changed is then copied once, which is worth 15 % of small writes.
CHECKPOINT_PAGES: Final = 4000
CACHED_STATEMENTS: Final = 512
# Nobody but this process may use the file, so a lock is rarely met and soon gone.
BUSY_SECONDS: Final = 2.0

# After these SQLite may have ended the whole transaction, or nothing it says can be relied on.
# https://sqlite.org/lang_transaction.html, "Response To Errors Within A Transaction"
TRANSACTION_LOST: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PROTOCOL,
    }
)


def connect_writer(path: Path, *, log_bytes: int) -> sqlite3.Connection:
    """Open the connection that writes and checkpoints; it may be used on any one thread.

    Raises:
        StorageUnavailable: the file system cannot share memory, as those of networks cannot.
    """
    connection = _connect(str(path), uri=False)
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        connection.close()
        raise errors.StorageUnavailable(
            f"The file system of {path.name} allows no write-ahead log. Use a local disk."
        )
    for pragma in (
        "synchronous=FULL",
        "foreign_keys=ON",
        f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        f"journal_size_limit={log_bytes}",
        "cache_size=-16384",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that can neither write nor checkpoint, also not when it is closed."""
    connection = _connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    for pragma in ("query_only=ON", "wal_autocheckpoint=0", "cache_size=-8192"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _connect(name: str, *, uri: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        name,
        uri=uri,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA mmap_size=0")
    return connection


def primary_code(error: BaseException) -> int:
    """Return SQLite's primary result code, 0 when the error did not come from SQLite."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def is_transaction_lost(error: BaseException) -> bool:
    """Return True when *error* is more than the failure of one statement."""
    return primary_code(error) in TRANSACTION_LOST


def registry_error(error: BaseException) -> errors.RegistryError:
    """Return what to tell the callers of a transaction that was lost to *error*."""
    code = primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return errors.StorageFull(
            "The disk of the database is full. Free space on the server, then try again."
        )
    if code == sqlite3.SQLITE_BUSY:
        return errors.DatabaseBusy("Another process keeps the database locked. Try again later.")
    return errors.StorageUnavailable("The database failed and nothing was kept. See the log of the server.")
