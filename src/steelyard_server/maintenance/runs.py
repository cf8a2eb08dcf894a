"""One run of a kind at a time, which belongs to the server and which any number of callers may follow."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from steelyard_server.errors import Draining, MaintenanceRunning, RegistryError

if TYPE_CHECKING:
    from steelyard_server.history.act import Act

Options = TypeVar("Options")
Progress = TypeVar("Progress")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Run(Generic[Options, Progress]):
    """A run that goes on or is over.

    Args:
        progress: how far it is; it changes while the run goes on.
        error: what it failed with, once it is over.
    """

    options: Options
    progress: Progress
    error: Exception | None = None
    task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Return whether nothing of it goes on any more."""
        return self.task is not None and self.task.done()

    async def wait(self, seconds: float) -> None:
        """Wait until it is over, at most so long; whoever waits may be cancelled, the run is not."""
        if self.task is not None:
            await asyncio.wait({self.task}, timeout=seconds)


@dataclass(slots=True)
class Stop:
    """Asks runs to end. They look between two steps, so that no step is left half done."""

    _event: threading.Event = field(default_factory=threading.Event)

    def set(self) -> None:
        """Ask."""
        self._event.set()

    def check(self) -> None:
        """Go on, or end.

        Raises:
            Draining: the server shuts down.
        """
        if self._event.is_set():
            raise Draining("The server is shutting down; start the run again later, it goes on where it was.")

    def wait(self, seconds: float) -> None:
        """Block for so long, or until somebody asks, in a thread."""
        self._event.wait(seconds)


class Runs(Generic[Options, Progress]):
    """The runs of one kind. Belongs to the thread of one event loop.

    Args:
        kind: what an error calls it.
        begin: makes the progress of a new run.
        work: does a run, from step to step; changes the progress and heeds the stop.
    """

    def __init__(
        self,
        kind: str,
        *,
        begin: Callable[[], Progress],
        work: Callable[[Options, Act, Progress], Awaitable[None]],
        stop: Stop,
    ) -> None:
        self._kind = kind
        self._begin = begin
        self._work = work
        self._stop = stop
        self._run: Run[Options, Progress] | None = None

    def join(self, options: Options, act: Act) -> Run[Options, Progress]:
        """Return the run with these options that goes on, or begin one.

        Raises:
            MaintenanceRunning: one with other options goes on.
            Draining: the server shuts down.
        """
        self._stop.check()
        run = self._run
        if run is None or run.over:
            run = self._run = Run(options, self._begin())
            run.task = asyncio.create_task(self._do(run, act))
        elif run.options != options:
            message = (
                f"A {self._kind} with other options goes on; wait for its end, or call with its options "
                "to join it."
            )
            raise MaintenanceRunning(message, kind=self._kind)
        return run

    async def close(self) -> None:
        """Wait until the run that goes on has heeded the stop."""
        if self._run is not None and self._run.task is not None:
            await asyncio.wait({self._run.task})

    async def _do(self, run: Run[Options, Progress], act: Act) -> None:
        try:
            await self._work(run.options, act, run.progress)
        except RegistryError as error:
            run.error = error
            _log.warning("A %s ended early, %s: %s", self._kind, error.reason, error)
        except Exception as error:  # noqa: BLE001 - whoever follows the run hears it
            run.error = error
            _log.exception("A %s met something unexpected.", self._kind)
