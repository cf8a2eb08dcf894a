"""The one thread and the one connection that write to an SQLite file and checkpoint it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from pathlib import Path
from typing import Final

from steelyard_server import errors

from .database import WaitLimits
from .sqlite_connection import is_transaction_lost, primary_code, registry_error
from .statements import Statements
from .transaction import Transaction
from .work import OnCommit, Work, WorkQueue, deliver, post

GROUP_LIMIT: Final = 64

_log = logging.getLogger(__name__)


class Writer:
    """Run what waits as one group: a savepoint each, one COMMIT for all.

    Results leave after the COMMIT, and so do errors, for each use case saw what those before it in
    the group had written. After a COMMIT that failed in a way that nobody can judge the writer is
    sealed: it refuses everything until the server starts anew and SQLite recovers the file.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        log_path: Path,
        limits: WaitLimits,
        statements: Statements,
        on_commit: OnCommit,
    ) -> None:
        self.sealed = False
        # Counted by the writer's thread before a group becomes visible, by the loop's once told.
        self.begun_commits = 0
        self.told_commits = 0
        self.queue = WorkQueue(waiting_limit=limits.waiting_writes, wait_seconds=limits.wait_seconds)
        self._connection = connection
        self._log_path = log_path
        self._log_limit_bytes = limits.log_bytes
        self._restart_bytes = limits.log_bytes
        self._pins = 0
        self._statements = statements
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="database-writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, move the log into the database file, and close the connection."""
        self.queue.close()
        await asyncio.to_thread(self._thread.join)

    @contextmanager
    def log_pinned(self) -> Iterator[None]:
        """Let the log grow while a long query keeps it from starting anew: waiting for that would be in vain.

        Called on the event loop.
        """
        self._pins += 1
        try:
            yield
        finally:
            self._pins -= 1

    def _run(self) -> None:
        while (work := self.queue.take()) is not None:
            group = [work]
            if self.sealed:
                work.fail(sealed_error())
            else:
                self._write(group)
            post(self._loop, partial(self._deliver, group, self.begun_commits))
            self._bound_log()
        self._close_connection()

    def _deliver(self, group: list[Work], commits: int) -> None:
        """Deliver *group*, after which all of *commits* are told, on the event loop."""
        deliver(group, self._on_commit)
        self.told_commits = commits

    def _write(self, group: list[Work]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for work in self._join(group):
                self._attempt(work)
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever comes
            self._give_up(group, registry_error(error))
        else:
            self._commit(group)

    def _join(self, group: list[Work]) -> Iterator[Work]:
        yield group[0]
        while len(group) < GROUP_LIMIT and (work := self.queue.take_waiting()) is not None:
            group.append(work)
            yield work

    def _attempt(self, work: Work) -> None:
        """Run one use case; raise only when the whole group is lost."""
        execute = self._connection.execute
        execute("SAVEPOINT use_case")
        tx = Transaction(self._connection, self._statements)
        try:
            work.run(tx)
        except BaseException as error:
            if is_transaction_lost(error):
                raise
            execute("ROLLBACK TO use_case")
            work.fail(error)
        finally:
            tx.end(RuntimeError("The transaction is over."))
        execute("RELEASE use_case")

    def _commit(self, group: list[Work]) -> None:
        self.begun_commits += 1
        try:
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever comes
            # A full disk is noticed before the last page, the one that makes the group count, is in
            # the log. After any other failure, of fsync above all, nobody can tell.
            if primary_code(error) == sqlite3.SQLITE_FULL:
                self._give_up(group, registry_error(error))
            else:
                self.sealed = True
                self._give_up(group, outcome_unknown())

    def _give_up(self, group: list[Work], error: errors.RegistryError) -> None:
        _log.exception("A group of %d use cases was lost.", len(group))
        for work in group:
            work.fail(copy(error))
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self.sealed = True
            _log.exception("The rollback failed too; the database is sealed.")

    def _bound_log(self) -> None:
        """Have the log start anew when readers have kept it from doing so for long.

        This waits for readers, so it comes again only after as much growth as the limit allows.
        """
        with suppress(FileNotFoundError):
            size_bytes = self._log_path.stat().st_size
            if size_bytes > self._restart_bytes and not self.sealed and not self._pins:
                self._checkpoint("RESTART")
                self._restart_bytes = size_bytes + self._log_limit_bytes
            elif size_bytes <= self._log_limit_bytes:
                self._restart_bytes = self._log_limit_bytes

    def _checkpoint(self, mode: str) -> None:
        try:
            self._connection.execute(f"PRAGMA wal_checkpoint({mode})")
        except sqlite3.Error:
            _log.exception("A checkpoint failed; the log keeps what it holds.")

    def _close_connection(self) -> None:
        if not self.sealed:
            self._checkpoint("TRUNCATE")
        self._connection.close()


def outcome_unknown() -> errors.OutcomeUnknown:
    """Return what callers hear whose commit failed."""
    return errors.OutcomeUnknown(
        "The commit failed: the change may be kept or lost. The server must be restarted; then try "
        "again with the same request id."
    )


def sealed_error() -> errors.StorageUnavailable:
    """Return what later writers hear."""
    return errors.StorageUnavailable(
        "The database takes no more changes because a commit failed. The server must be restarted."
    )
