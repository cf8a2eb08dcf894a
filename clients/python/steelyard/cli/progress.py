"""A progress bar with rate and time left for every transfer; silent in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from steelyard.cli import output

if TYPE_CHECKING:
    from rich.progress import TaskID

    from steelyard.progress import OnProgress, Progress

TEXT_CHARACTERS = 40


@contextmanager
def counting_bar(description: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Show the numbers that the yielded callback is told, done and in all; None when nobody can see it."""
    console = output.notes()
    if quiet or not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as drawn:
        task = drawn.add_task(description, total=None)
        yield lambda done, total: drawn.update(task, completed=min(done, total), total=total)


@contextmanager
def bar(*, quiet: bool) -> Iterator[OnProgress | None]:
    """Show what the yielded callback is told until the block ends; None when there is nobody to see it."""
    console = output.notes()
    if quiet or not console.is_terminal:
        yield None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        # Brackets in a path are no markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # Each phase has a bar of its own, for rate and time left are those of the bytes that it moved.
    tasks: dict[str, TaskID] = {}
    with Bar(*columns, console=console, transient=True) as drawn:

        def show(progress: Progress) -> None:
            if progress.phase not in tasks:
                tasks[progress.phase] = drawn.add_task("", total=progress.total_bytes or None)
            text = f"{progress.phase} {progress.file}".rstrip()[-TEXT_CHARACTERS:]
            drawn.update(tasks[progress.phase], description=text, completed=progress.done_bytes)

        yield show
