"""Long queries: each has a thread and a connection of its own, and ends with its caller or the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from steelyard_server import errors

from .transaction import Transaction
from .work import draining

T = TypeVar("T")
Query = Callable[[Transaction], T]

INTERRUPT_SECONDS: Final = 0.05


class Hold:
    """Ends one query from another thread, at any moment of its life."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: Exception | None = None
        self._end: Callable[[Exception], None] | None = None

    @contextmanager
    def on(self, tx: Transaction, interrupt: Callable[[], None]) -> Iterator[None]:
        """Let the query run in the block, which *interrupt* ends in its statement."""

        def end(reason: Exception) -> None:
            tx.end(reason)
            interrupt()

        with self._lock:
            self._end = end
            if self._reason is not None:
                tx.end(self._reason)
        try:
            yield
        finally:
            # The connection is closed next, and then nothing may interrupt it.
            with self._lock:
                self._end = None
            tx.end(RuntimeError("The transaction is over."))

    def cut_short(self, reason: Exception) -> None:
        """End the query in its statement, or before its next row or statement."""
        with self._lock:
            self._reason = self._reason or reason
            if self._end is not None:
                self._end(self._reason)


@dataclass(slots=True)
class Scans:
    """Run long queries of one database.

    Args:
        perform: opens a connection, and runs the query in a transaction under the hold.
        limit: how many may run at once.
    """

    perform: Callable[[Query[Any], Hold], Any]
    limit: int
    _running: dict[asyncio.Future[Any], Hold] = field(default_factory=dict)

    async def run(self, query: Query[T]) -> T:
        """Run *query*; when the caller is cancelled, the query is ended.

        Raises:
            Overloaded: too many run already.
        """
        if len(self._running) >= self.limit:
            raise errors.Overloaded(f"{self.limit} long queries run already. Try again later.")
        hold = Hold()
        thread = ThreadPoolExecutor(1, thread_name_prefix="database-scan")
        scan = asyncio.get_running_loop().run_in_executor(thread, self.perform, query, hold)
        thread.shutdown(wait=False)
        self._running[scan] = hold
        scan.add_done_callback(self._forget)
        try:
            await asyncio.wait({scan})
        except asyncio.CancelledError:
            self._cut_short(scan, draining())
            raise
        result: T = scan.result()
        return result

    async def close(self) -> None:
        """End what runs, and wait until it has."""
        for scan in list(self._running):
            self._cut_short(scan, draining())
        if self._running:
            await asyncio.wait(set(self._running))

    def _cut_short(self, scan: asyncio.Future[Any], reason: Exception) -> None:
        hold = self._running.get(scan)
        if hold is None:
            return
        loop = asyncio.get_running_loop()
        # To interrupt may mean to call the server of the database.
        _ = loop.run_in_executor(None, hold.cut_short, reason)
        # An interrupt that comes just before a statement begins has no effect.
        loop.call_later(INTERRUPT_SECONDS, self._cut_short, scan, reason)

    def _forget(self, scan: asyncio.Future[Any]) -> None:
        del self._running[scan]
        if not scan.cancelled():
            scan.exception()
