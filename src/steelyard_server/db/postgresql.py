"""The database on PostgreSQL: some threads write, others read, each with a connection of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

import psycopg
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from . import migrations
from .database import WaitLimits
from .postgresql_connection import connect, conninfo_of, registry_error, require_utf8
from .postgresql_worker import Worker
from .scans import Hold, Query, Scans
from .statements import Statements
from .transaction import Transaction
from .work import OnCommit, WorkQueue, draining

P = ParamSpec("P")
T = TypeVar("T")


class PostgreSQL:
    """Keep the promises of ``Database`` on a PostgreSQL server that other servers may share."""

    sealed = False
    settled = False

    def __init__(self, *, conninfo: str, version: str, on_commit: OnCommit, limits: WaitLimits) -> None:
        self.name = f"postgresql {version}"
        wait_seconds = limits.wait_seconds
        self._writes = WorkQueue(waiting_limit=limits.waiting_writes, wait_seconds=wait_seconds)
        self._reads = WorkQueue(waiting_limit=limits.waiting_reads, wait_seconds=wait_seconds)
        self._closing = False
        statements = Statements(PGDialect_psycopg())  # type: ignore[no-untyped-call]
        self._scans = Scans(partial(_scan, conninfo, limits, statements), limit=limits.scans)
        start = partial(
            Worker,
            conninfo,
            limits=limits,
            statements=statements,
            commit_order=threading.Lock(),
            on_commit=on_commit,
        )
        self._writers = [start(queue=self._writes, read_only=False) for _ in range(limits.writers)]
        self._readers = [start(queue=self._reads, read_only=True) for _ in range(limits.readers)]

    @classmethod
    async def open(cls, url: str, *, on_commit: OnCommit, limits: WaitLimits) -> PostgreSQL:
        """Check and migrate the database at *url*, then start the threads.

        Raises:
            StorageUnavailable: the server cannot be reached, or the database is not in UTF-8.
        """
        conninfo = conninfo_of(url)
        version = await asyncio.to_thread(_prepare, conninfo, limits)
        return cls(conninfo=conninfo, version=version, on_commit=on_commit, limits=limits)

    async def write(
        self, use_case: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See ``Database.write``."""
        self._refuse_when_closing()
        result: T = await self._writes.run(use_case, args, kwargs)
        return result

    async def read(
        self, query: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See ``Database.read``."""
        self._refuse_when_closing()
        result: T = await self._reads.run(query, args, kwargs)
        return result

    read_hot = read

    async def scan(
        self, query: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See ``Database.scan``."""
        self._refuse_when_closing()
        return await self._scans.run(lambda tx: query(tx, *args, **kwargs))

    async def close(self) -> None:
        """See ``Database.close``."""
        if self._closing:
            return
        self._closing = True
        await self._scans.close()
        for queue, workers in ((self._reads, self._readers), (self._writes, self._writers)):
            queue.close(len(workers))
            for worker in workers:
                await asyncio.to_thread(worker.join)

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise draining()


def _prepare(conninfo: str, limits: WaitLimits) -> str:
    """Bring the database up to date and return the version of its server."""
    with connect(conninfo, read_only=False, limits=limits) as connection:
        require_utf8(connection)
        migrations.migrate_postgresql(connection)
        return connection.info.parameter_status("server_version") or "unknown"


def _scan(conninfo: str, limits: WaitLimits, statements: Statements, query: Query[T], hold: Hold) -> T:
    with connect(conninfo, read_only=True, limits=replace(limits, read_seconds=0)) as connection:
        tx = Transaction(connection, statements)
        with hold.on(tx, connection.cancel):
            try:
                return query(tx)
            except psycopg.Error as error:
                tx.check()
                told = registry_error(error, read_only=True)
                if told is None:
                    raise
                raise told from error
