"""What all steps of one transfer share: the way to the server, who is told of progress, and what ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from steelyard import workers
from steelyard.errors import SteelyardError
from steelyard.progress import Meter, Raised
from steelyard.workers import Patience, Stop

if TYPE_CHECKING:
    from steelyard.connection import Connection
    from steelyard.progress import OnProgress

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Transfer:
    """One push, pull, verification or reading of a file.

    Args:
        report: called with each step.
        stop: ends all that belongs to it.
        patience_seconds: how long it goes on trying while nothing moves.
    """

    connection: Connection
    report: OnProgress | None
    stop: Stop
    patience_seconds: float

    def meter(self, phase: str, *, total_bytes: int) -> Meter:
        """Return what counts the bytes of one phase."""
        return Meter(phase, total_bytes=total_bytes, report=self.report)

    def patience(self) -> Patience:
        """Return what decides whether one of its threads tries once more."""
        return Patience(self.patience_seconds, stop=self.stop)

    def run(self, task: Callable[[Item], None], items: Iterable[Item], *, threads: int) -> None:
        """Do *task* with each item, in threads; see `workers.run`."""
        workers.run(task, items, stop=self.stop, threads=threads)

    @contextmanager
    def streaming(self, call: Any) -> Iterator[None]:
        """Receive from a call; it is broken off when the transfer is to end, and when the block ends.

        Raises:
            Stopped: the transfer is to end.
            SteelyardError: the one for the reason that the server gave.
        """
        try:
            with self.stop.breaking(call), self.connection.translated():
                yield
        except SteelyardError:
            self.stop.check()
            raise


@contextmanager
def begin(
    connection: Connection, *, report: OnProgress | None, stop: Stop | None, patience_seconds: float
) -> Iterator[Transfer]:
    """Give a transfer; what *report* raises in it reaches the caller as it is."""
    try:
        yield Transfer(connection, report, stop or Stop(), patience_seconds)
    except Raised as raised:
        error, context = raised.error, raised.error.__context__
        try:
            raise error
        finally:
            # What it says of its origin is the callback's, not how it came here.
            error.__context__ = context
