"""What Ctrl-C means to a command: that it ends, and perhaps that something is kept or goes on."""

from __future__ import annotations

import _thread
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from steelyard.cli import output

if TYPE_CHECKING:
    from steelyard.workers import Stop

EXIT_INTERRUPTED = 130
KEPT = "What was transferred is kept; the same command goes on from there."
ON_SERVER = "The server goes on with it."
FOLLOWED = "The server goes on with it; the same command follows it again."


@contextmanager
def noted(then: str = "") -> Iterator[None]:
    """Say on Ctrl-C that the block was interrupted, and in the sentence *then* what that means.

    Raises:
        typer.Exit: it was interrupted.
    """
    try:
        yield
    except KeyboardInterrupt:
        output.note(f"Interrupted. {then}".rstrip())
        raise typer.Exit(EXIT_INTERRUPTED) from None


@contextmanager
def ending(stop: Stop) -> Iterator[None]:
    """Let Ctrl-C end what follows a stream until *stop*, and raise nothing in it.

    An exception from a signal also comes amid a call of gRPC, and leaves its locks held or let go twice.
    A second Ctrl-C raises, for the first one cannot end a write that nobody reads.
    """

    def end(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        # A bare thread: the main one may hold what `threading` itself locks.
        _thread.start_new_thread(stop.set, ())

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
