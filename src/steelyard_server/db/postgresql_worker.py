"""A thread that runs use cases on a PostgreSQL connection of its own."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Final, NoReturn

import psycopg
from psycopg.pq import TransactionStatus

from .database import WaitLimits
from .postgresql_connection import CONFLICTS, Connection, connect, outcome_unknown, registry_error
from .statements import Statements
from .transaction import Transaction
from .work import OnCommit, Work, WorkQueue, deliver, post

# A use case runs once, and at most three times more.
ATTEMPTS: Final = 4


class Worker:
    """Take use cases from a queue and run each in a transaction, again when it collides.

    Args:
        read_only: whether every transaction is a snapshot that changes nothing.
        commit_order: one lock of all workers of a database. Facts are posted under it, so that they
            leave in the order of their commits: the events of two commits are ordered by the lock
            of the head row, which the server releases before either of our threads goes on.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        read_only: bool,
        limits: WaitLimits,
        queue: WorkQueue,
        statements: Statements,
        commit_order: threading.Lock,
        on_commit: OnCommit,
    ) -> None:
        self._connect = partial(connect, conninfo, read_only=read_only, limits=limits)
        self._read_only = read_only
        self._queue = queue
        self._statements = statements
        self._commit_order = commit_order
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="database-worker", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended, as it does when the queue is closed."""
        self._thread.join()

    def _run(self) -> None:
        while (work := self._queue.take()) is not None:
            try:
                self._complete(work)
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the caller
                work.fail(error)
                post(self._loop, partial(deliver, [work], self._on_commit))
        self._drop_connection()

    def _complete(self, work: Work) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            connection = self._connection = self._connection or self._connect()
            try:
                self._attempt(work, connection)
                return
            except psycopg.Error as error:
                may_repeat = connection.closed or error.sqlstate in CONFLICTS
                if attempt == ATTEMPTS or not may_repeat:
                    self._tell(error)
            finally:
                self._reset(connection)

    def _attempt(self, work: Work, connection: Connection) -> None:
        tx = Transaction(connection, self._statements)
        try:
            work.run(tx)
        finally:
            tx.end(RuntimeError("The transaction is over."))
        if connection.info.transaction_status == TransactionStatus.INERROR:
            raise RuntimeError("The use case went on after an error of the database.")
        with self._order(work):
            self._commit(connection)
            post(self._loop, partial(deliver, [work], self._on_commit))

    def _order(self, work: Work) -> AbstractContextManager[object]:
        return self._commit_order if work.facts else nullcontext()

    def _commit(self, connection: Connection) -> None:
        try:
            connection.commit()
        except psycopg.Error as error:
            if connection.closed:
                raise outcome_unknown() from error
            raise

    def _tell(self, error: psycopg.Error) -> NoReturn:
        told = registry_error(error, read_only=self._read_only)
        if told is None:
            raise error
        raise told from error

    def _reset(self, connection: Connection) -> None:
        """Leave no transaction open, and no connection that is broken."""
        with suppress(psycopg.Error):
            connection.rollback()
        if connection.closed:
            self._drop_connection()

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
