"""Connections that read an SQLite file: a few with a thread each, and one on the event loop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite

from steelyard_server import errors

from .database import WaitLimits
from .sqlite_connection import connect_reader, is_transaction_lost, primary_code, registry_error
from .statements import Statements
from .transaction import Transaction
from .work import draining

T = TypeVar("T")
Query = Callable[[Transaction], T]

INTERRUPT_SECONDS: Final = 0.02


def run_on_snapshot(connection: sqlite3.Connection, query: Query[T], tx: Transaction) -> T:
    """Run *query* in a transaction of its own on *connection*.

    Raises:
        StorageUnavailable, DatabaseBusy: the database cannot be read.
    """
    try:
        connection.execute("BEGIN")
        return query(tx)
    except sqlite3.Error as error:
        tx.check()
        # A query that tries to write is a fault of ours, not of the disk.
        if is_transaction_lost(error) and primary_code(error) != sqlite3.SQLITE_READONLY:
            raise registry_error(error) from error
        raise
    finally:
        tx.end(RuntimeError("The transaction is over."))
        if connection.in_transaction:
            connection.execute("ROLLBACK")


class Reader(aiosqlite.Connection):
    """A connection that runs a whole read in its thread.

    The methods of aiosqlite go to the thread and back for each statement, some 100 microseconds a
    time. Its ``_execute`` takes any function there. It is protected, so the version is pinned and a
    test covers this use.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(partial(connect_reader, path), iter_chunk_size=64)
        self._thread.daemon = True

    def begin(self, query: Query[T], tx: Transaction) -> asyncio.Task[T]:
        """Begin to run *query* in the thread, whatever becomes of the caller."""
        coroutine = self._execute(run_on_snapshot, self._conn, query, tx)  # type: ignore[no-untyped-call]
        return asyncio.ensure_future(coroutine)

    def transaction(self, statements: Statements) -> Transaction:
        """Return what a query gets."""
        return Transaction(self._conn, statements)

    def cut_short(self, tx: Transaction, reason: Exception) -> None:
        """End the query that is under way, in its statement or before the next."""
        tx.end(reason)
        self._conn.interrupt()


class Readers:
    """Lend a reader to one query at a time, and bound how many wait and how long they run."""

    def __init__(
        self, readers: list[Reader], hot: sqlite3.Connection, *, limits: WaitLimits, statements: Statements
    ) -> None:
        self._readers = readers
        self._hot = hot
        self._limits = limits
        self._statements = statements
        self._waiting = 0
        self._closing = False
        self._running: dict[Transaction, Reader] = {}
        self._idle: asyncio.Queue[Reader] = asyncio.Queue()
        for reader in readers:
            self._idle.put_nowait(reader)

    @classmethod
    async def open(cls, path: Path, *, limits: WaitLimits, statements: Statements) -> Readers:
        """Open as many readers as *limits* says, and the one for the event loop."""
        readers = [Reader(path) for _ in range(limits.readers)]
        for reader in readers:
            _ = await reader
        return cls(readers, connect_reader(path), limits=limits, statements=statements)

    def run_here(self, query: Query[T]) -> T:
        """Run *query* on the event loop."""
        return run_on_snapshot(self._hot, query, Transaction(self._hot, self._statements))

    async def run(self, query: Query[T]) -> T:
        """Run *query* on a reader's thread; when the caller is cancelled, the query is interrupted.

        Raises:
            Overloaded: too many queries wait for a reader.
            DatabaseBusy: no reader was free in time.
            QueryTooExpensive: the query ran too long.
        """
        reader = await self._borrow()
        tx = reader.transaction(self._statements)
        task = reader.begin(query, tx)
        self._running[tx] = reader
        task.add_done_callback(partial(self._give_back, tx))
        try:
            done, _ = await asyncio.wait({task}, timeout=self._limits.read_seconds)
        except asyncio.CancelledError:
            self._cut_short(tx, draining())
            raise
        if not done:
            error = self._too_expensive()
            self._cut_short(tx, error)
            raise error
        return task.result()

    async def close(self) -> None:
        """Interrupt what runs and close all connections."""
        self._closing = True
        for tx in list(self._running):
            self._cut_short(tx, draining())
        for reader in self._readers:
            await reader.close()
        self._hot.close()

    def _cut_short(self, tx: Transaction, reason: Exception) -> None:
        # Once a query has ended, its reader may be busy with another.
        if tx in self._running:
            self._running[tx].cut_short(tx, reason)
            # An interrupt that comes just before a statement begins has no effect.
            asyncio.get_running_loop().call_later(INTERRUPT_SECONDS, self._cut_short, tx, reason)

    async def _borrow(self) -> Reader:
        reader = await self._next_idle()
        if self._closing:
            self._idle.put_nowait(reader)
            raise draining()
        return reader

    async def _next_idle(self) -> Reader:
        if not self._waiting and not self._idle.empty():
            return self._idle.get_nowait()
        if self._waiting >= self._limits.waiting_reads:
            raise errors.Overloaded(
                f"{self._waiting} queries wait for the database already. Try again later."
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                return await self._idle.get()
        except TimeoutError:
            raise errors.DatabaseBusy(
                f"Other queries kept the database busy for {self._limits.wait_seconds:g} seconds. Try again."
            ) from None
        finally:
            self._waiting -= 1

    def _give_back(self, tx: Transaction, task: asyncio.Task[Any]) -> None:
        self._idle.put_nowait(self._running.pop(tx))
        if not task.cancelled():
            task.exception()

    def _too_expensive(self) -> errors.QueryTooExpensive:
        return errors.QueryTooExpensive(
            f"The query took longer than {self._limits.read_seconds:g} seconds. Ask for less."
        )
