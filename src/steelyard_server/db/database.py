"""The one way into the database: ``write`` and ``read`` a function, whole.

A use case is an ordinary function ``def create(tx, …)``. It runs on one thread from beginning to
end of its transaction, so nothing but SQL can happen inside one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from .transaction import Row, Transaction
from .work import OnCommit

__all__ = ["Database", "OnCommit", "Row", "Transaction", "WaitLimits", "open_database"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class WaitLimits:
    """How much may wait for the database, and how long.

    Attributes:
        waiting_writes: use cases that may wait for a writer.
        waiting_reads: reads that may wait for a reader.
        wait_seconds: how long either may wait, and on PostgreSQL how long for a lock.
        read_seconds: how long one read may run.
        readers: threads that read.
        scans: long queries at once, each with a thread of its own.
        writers: threads that write, on PostgreSQL; SQLite has one.
        log_bytes: when SQLite's write-ahead log is longer, it waits for readers to start it anew.
    """

    waiting_writes: int = 1024
    waiting_reads: int = 256
    wait_seconds: float = 10.0
    read_seconds: float = 10.0
    readers: int = 2
    scans: int = 2
    writers: int = 4
    log_bytes: int = 64 * 1024 * 1024


class Database(Protocol):
    """Run functions in transactions.

    What ``write`` returned is durable, and every ``read`` or ``read_hot`` begun after it sees it.
    All methods belong to the thread of the event loop that opened the database.
    """

    @property
    def sealed(self) -> bool:
        """Return True when the database takes no more writes until the server starts anew."""

    @property
    def settled(self) -> bool:
        """Return True when ``on_commit`` was told of everything that a reader may see.

        Where other servers write to the same database nobody can know, and it is always False.
        """

    @property
    def name(self) -> str:
        """Return the kind of database and its version, for people."""

    async def write(
        self, use_case: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *use_case* in a transaction and return its result once it is durable.

        An exception in the use case undoes what it did, and is raised here. Facts it left with
        ``tx.after_commit`` reach ``on_commit`` in commit order before this returns. A cancelled
        caller's use case is skipped if it has not begun, else it completes.

        Raises:
            Overloaded, DatabaseBusy: nothing was done.
            StorageFull, StorageUnavailable: nothing was kept.
            Conflict: it collided with others, again and again; nothing was kept.
            OutcomeUnknown: the commit itself failed.
        """

    async def read(
        self, query: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *query* on a consistent snapshot in a reader thread.

        Raises:
            Overloaded, DatabaseBusy: no reader was free.
            QueryTooExpensive: it ran longer than ``WaitLimits.read_seconds``.
            StorageUnavailable: the database cannot be read.
        """

    async def read_hot(
        self, query: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *query*, which finds single rows by key, on a consistent snapshot the fastest way.

        On SQLite that is here and now, on the event loop: some ten microseconds a statement, less
        than the way to a thread. On PostgreSQL it is ``read``.
        """

    async def scan(
        self, query: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run *query* on a consistent snapshot as long as it takes, on a thread and connection of its own.

        It may do more than read, such as write what it finds to a file. When the caller is cancelled,
        the query is ended. What it reads with ``tx.each`` may be larger than memory. As long as it
        runs, the database keeps what others overwrite, so a scan should not dawdle.

        Raises:
            Overloaded: ``WaitLimits.scans`` run already.
            StorageUnavailable: the database cannot be read.
        """

    async def close(self) -> None:
        """Do what waits, then close all connections, those that read first."""


def ignore_facts(_: list[object]) -> None:
    """Do nothing after a commit."""


async def open_database(
    location: str | Path, *, on_commit: OnCommit = ignore_facts, limits: WaitLimits | None = None
) -> Database:
    """Open a database, bring its schema up to date, and return it.

    Args:
        location: the path of an SQLite file, which is made when missing, or a PostgreSQL URL. The
            caller must hold the lock of the directory that the file is in.
        on_commit: called on the event loop with the facts of committed use cases, in commit order, and with
            those in an `Unsure` of one whose commit may have happened or not.
        limits: bounds on waits.

    Raises:
        SchemaTooNew: a newer server has changed the schema.
    """
    limits = limits or WaitLimits()
    if str(location).startswith("postgresql"):
        from .postgresql import PostgreSQL

        return await PostgreSQL.open(str(location), on_commit=on_commit, limits=limits)
    from .sqlite import SQLite

    return await SQLite.open(Path(location), on_commit=on_commit, limits=limits)
