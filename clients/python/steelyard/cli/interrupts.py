"""What Ctrl-C means to a command: that it ends, and perhaps that something is kept or goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from steelyard.cli import output

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
