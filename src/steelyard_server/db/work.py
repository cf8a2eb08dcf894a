"""Use cases on their way from the event loop to a database thread and back."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from steelyard_server import errors

from .transaction import Transaction

OnCommit = Callable[[list[object]], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unsure:
    """Tell listeners what a use case did whose commit may have happened or not."""

    facts: tuple[object, ...]


class Work:
    """One use case and the future its caller awaits.

    Who claims it first decides its fate: a database thread runs it, a cancelled or expired wait
    makes sure that it never runs.
    """

    __slots__ = ("_args", "_error", "_kwargs", "_once", "_result", "_use_case", "facts", "future")

    def __init__(
        self,
        use_case: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        future: asyncio.Future[Any],
    ) -> None:
        self._use_case = use_case
        self._args = args
        self._kwargs = kwargs
        self.future = future
        self._once = threading.Lock()
        self._result: Any = None
        self._error: BaseException | None = None
        self.facts: list[object] = []

    def claim(self) -> bool:
        """Return True to the first who asks."""
        return self._once.acquire(blocking=False)

    def run(self, tx: Transaction) -> None:
        """Run the use case and keep its result and facts."""
        self._result = self._use_case(tx, *self._args, **self._kwargs)
        self.facts = tx.facts

    def fail(self, error: BaseException) -> None:
        """Replace what came out by *error*; who remembers what may have changed hears of it all the same."""
        self._error = error
        is_unsure = isinstance(error, errors.OutcomeUnknown) and self.facts
        self.facts = [Unsure(tuple(self.facts))] if is_unsure else []

    def expire(self, error: Exception) -> None:
        """End the wait with *error*, unless a thread has begun."""
        if self.claim():
            self._error = error
            self.resolve()

    def resolve(self) -> None:
        """Tell the caller, on the thread of its event loop."""
        if self.future.done():
            return
        if self._error is None:
            self.future.set_result(self._result)
        elif isinstance(self._error, StopIteration):
            self.future.set_exception(RuntimeError("The use case raised StopIteration."))
        else:
            self.future.set_exception(self._error)


class WorkQueue:
    """Use cases that wait for a database thread: a bounded number, for a bounded time."""

    def __init__(self, *, waiting_limit: int, wait_seconds: float) -> None:
        self._waiting_limit = waiting_limit
        self._wait_seconds = wait_seconds
        self._items: SimpleQueue[Work | None] = SimpleQueue()

    async def run(self, use_case: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Have a thread run *use_case* and return its result.

        When the caller is cancelled, a use case that waits never runs; one that runs completes.

        Raises:
            Overloaded: too many wait already.
            DatabaseBusy: no thread took it in time; it will not run.
        """
        if self._items.qsize() >= self._waiting_limit:
            raise errors.Overloaded(
                f"{self._waiting_limit} calls wait for the database already. Try again later."
            )
        loop = asyncio.get_running_loop()
        work = Work(use_case, args, kwargs, loop.create_future())
        timer = loop.call_later(self._wait_seconds, self._expire, work)
        self._items.put(work)
        try:
            return await work.future
        finally:
            work.claim()
            timer.cancel()

    def _expire(self, work: Work) -> None:
        work.expire(
            errors.DatabaseBusy(
                f"The database was busy for {self._wait_seconds:g} seconds and nothing was done. Try again."
            )
        )

    def take(self) -> Work | None:
        """Wait for work and claim it; None says that the queue is closed."""
        while True:
            work = self._items.get()
            if work is None or work.claim():
                return work

    def take_waiting(self) -> Work | None:
        """Claim work that waits already; None when there is none."""
        try:
            while (work := self._items.get_nowait()) is not None:
                if work.claim():
                    return work
        except Empty:
            return None
        self._items.put(None)
        return None

    def close(self, threads: int = 1) -> None:
        """Let as many *threads* end when they have done what waits."""
        for _ in range(threads):
            self._items.put(None)


def draining() -> errors.Draining:
    """Return what callers hear who come after the database began to close."""
    return errors.Draining("The server is shutting down. Try again later.")


def post(loop: asyncio.AbstractEventLoop, delivery: Callable[[], None]) -> None:
    """Have *loop* make a *delivery*, from any thread."""
    try:
        loop.call_soon_threadsafe(delivery)
    except RuntimeError:
        _log.warning("The event loop ended before the database was closed.")


def deliver(works: Sequence[Work], on_commit: OnCommit) -> None:
    """Hand the facts of *works* that committed, or may have, to *on_commit*, then let their callers go on.

    Runs on the event loop. A fault in *on_commit* must not hide from callers that they committed.
    """
    facts = [fact for work in works for fact in work.facts]
    if facts:
        try:
            on_commit(facts)
        except Exception:  # noqa: BLE001 - a fault there is not one of the callers
            _log.exception("The callback after a commit failed.")
    for work in works:
        work.resolve()
