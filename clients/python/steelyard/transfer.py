"""What all steps of one transfer share: the way to the server, who is told of progress, and what ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from steelyard import workers
from steelyard.errors import DeadlineExceeded, SteelyardError
from steelyard.progress import Meter, Raised
from steelyard.watch import Watch
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
        return Meter(phase, total_bytes=total_bytes, report=self.report, stop=self.stop)

    def patience(self) -> Patience:
        """Return what decides whether one of its threads tries once more."""
        return Patience(self.patience_seconds, stop=self.stop)

    def run(self, task: Callable[[Item], None], items: Iterable[Item], *, threads: int) -> None:
        """Do *task* with each item, in threads; see `workers.run`."""
        workers.run(task, items, stop=self.stop, threads=threads)

    def watch(self) -> Watch:
        """Return what notices that one of its streams stands still."""
        return Watch(self.patience_seconds)

    @contextmanager
    def streaming(self, call: Any, *, watch: Watch) -> Iterator[None]:
        """Receive from a call; it is broken off when it stands still, or is to end, and when the block ends.

        Raises:
            Stopped: the transfer is to end.
            DeadlineExceeded: nothing moved.
            SteelyardError: the one for the reason that the server gave.
        """
        try:
            with self.stop.breaking(call), watch.over(call), self.connection.translated():
                yield
        except SteelyardError:
            self.stop.check()
            if watch.has_stalled:
                raise DeadlineExceeded(
                    f"Nothing moved between here and {self.connection.server} for "
                    f"{self.patience_seconds:g} seconds; try again, which goes on from there."
                ) from None
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
