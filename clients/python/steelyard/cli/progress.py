"""A progress bar with rate and time left for every transfer; silent in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from steelyard.cli import output

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from steelyard.progress import OnProgress, Progress

TEXT_MAXIMUM, BAR_MINIMUM, BAR_MAXIMUM = 40, 8, 40
# Of sizes, rate and time left, the gaps included.
NUMBERS_CHARACTERS = 40


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
    from rich.table import Column

    bar_characters = max(BAR_MINIMUM, min(BAR_MAXIMUM, console.width // 5))
    text_characters = min(TEXT_MAXIMUM, console.width - bar_characters - NUMBERS_CHARACTERS)
    columns = (
        # Brackets in a path are no markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=bar_characters),
        DownloadColumn(binary_units=True, table_column=Column(no_wrap=True)),
        TransferSpeedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    # Each phase has a bar of its own, for rate and time left are those of the bytes that it moved.
    tasks: dict[str, TaskID] = {}
    with Bar(*columns, console=console, transient=True) as drawn:

        def show(progress: Progress) -> None:
            text = _described(progress, characters=text_characters)
            if progress.phase not in tasks:
                _end_unmeasured(drawn)
                tasks[progress.phase] = drawn.add_task(text, total=progress.total_bytes or None)
            drawn.update(tasks[progress.phase], description=text, completed=progress.done_bytes)

        yield show


@contextmanager
def waiting(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show the sentence that the yielded callback is told last; in a pipe each as a line."""
    console = output.notes()
    if quiet:
        yield lambda _: None
    elif not console.is_terminal:
        yield output.note
    else:
        from rich.text import Text

        with console.status("") as drawn:
            yield lambda text: drawn.update(Text(text))


def _described(progress: Progress, *, characters: int) -> str:
    """Return phase and file, of which the end is what tells files apart."""
    room = characters - len(progress.phase) - 1
    return f"{progress.phase} {progress.file[-room:]}".rstrip() if room > 0 else progress.phase


def _end_unmeasured(drawn: Bar) -> None:
    """Let bars stand still whose end nobody announces: when another phase begins, theirs is over."""
    for task in drawn.tasks:
        if task.total is None:
            drawn.update(task.id, total=task.completed)
