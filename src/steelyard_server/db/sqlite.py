"""The database on SQLite: one thread writes in groups, some read, single rows are read in place."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from . import migrations
from .database import WaitLimits
from .scans import Hold, Query, Scans
from .sqlite_connection import connect_reader, connect_writer
from .sqlite_readers import Readers, run_on_snapshot
from .sqlite_writer import Writer, sealed_error
from .statements import Statements
from .transaction import Transaction
from .work import OnCommit, draining

P = ParamSpec("P")
T = TypeVar("T")


class SQLite:
    """Keep the promises of ``Database`` with one file."""

    def __init__(self, *, writer: Writer, readers: Readers, scans: Scans) -> None:
        self._writer = writer
        self._readers = readers
        self._scans = scans
        self._closing = False

    @classmethod
    async def open(cls, path: Path, *, on_commit: OnCommit, limits: WaitLimits) -> SQLite:
        """Open the file at *path*; make and migrate it where needed."""
        await asyncio.to_thread(migrations.migrate_sqlite, path)
        statements = Statements(SQLiteDialect_pysqlite(paramstyle="named"))
        writer = Writer(
            await asyncio.to_thread(connect_writer, path, log_bytes=limits.log_bytes),
            log_path=path.with_name(f"{path.name}-wal"),
            limits=limits,
            statements=statements,
            on_commit=on_commit,
        )
        readers = await Readers.open(path, limits=limits, statements=statements)
        scans = Scans(partial(_scan, path, statements), limit=limits.scans)
        return cls(writer=writer, readers=readers, scans=scans)

    @property
    def sealed(self) -> bool:
        """Return True after a commit whose outcome is unknown."""
        return self._writer.sealed

    @property
    def settled(self) -> bool:
        """Return True unless a group is being committed or on its way to ``on_commit``."""
        return self._writer.begun_commits == self._writer.told_commits

    @property
    def name(self) -> str:
        """Return the version of the library."""
        return f"sqlite {sqlite3.sqlite_version}"

    async def write(
        self, use_case: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See ``Database.write``."""
        self._refuse_when_closing()
        if self._writer.sealed:
            raise sealed_error()
        result: T = await self._writer.queue.run(use_case, args, kwargs)
        return result

    async def read(
        self, query: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See ``Database.read``."""
        self._refuse_when_closing()
        return await self._readers.run(lambda tx: query(tx, *args, **kwargs))

    async def read_hot(
        self, query: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See ``Database.read_hot``."""
        self._refuse_when_closing()
        return self._readers.run_here(lambda tx: query(tx, *args, **kwargs))

    async def scan(
        self, query: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See ``Database.scan``."""
        self._refuse_when_closing()
        with self._writer.log_pinned():
            return await self._scans.run(lambda tx: query(tx, *args, **kwargs))

    async def close(self) -> None:
        """See ``Database.close``. The writer closes last, so only it ever checkpoints."""
        if self._closing:
            return
        self._closing = True
        await self._scans.close()
        await self._readers.close()
        await self._writer.close()

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise draining()


def _scan(path: Path, statements: Statements, query: Query[T], hold: Hold) -> T:
    with closing(connect_reader(path)) as connection:
        tx = Transaction(connection, statements)
        with hold.on(tx, connection.interrupt):
            return run_on_snapshot(connection, query, tx)
