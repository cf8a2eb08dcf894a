"""A comparison on a terminal: versions as columns, the best in green, a line of sparks for each metric."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from steelyard.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from steelyard.cli.comparison import Row, Section

SPARKS = "▁▂▃▄▅▆▇█"
STYLES = {
    "": "",
    "best": "bold green",
    "added": "green",
    "removed": "red",
    "changed": "yellow",
    "missing": "dim",
}
# Kinds of sections whose rows have a best.
MEASURED = {"metric", "evaluation"}
NAME_COLUMNS_MAXIMUM = 32
CELL_COLUMNS_MAXIMUM = 28


def show(names: Sequence[str], sections: Sequence[Section]) -> None:
    """Print sections: tables on a terminal, in a pipe lines of kind, name and a cell for each version.

    No colour tells the best in a pipe, so the lines of metrics end in the names of those that are.
    """
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False)
        for section in map(_telling, sections):
            _draw(console, names, section)
        return
    for section in sections:
        for row in section.rows:
            cells = [cell.exact or cell.text for cell in row.cells]
            if section.kind in MEASURED:
                cells.append(" ".join(_best(names, row)))
            output.line((section.kind, row.name, *cells))
        if section.omitted:
            output.line(("omitted", section.kind, section.omitted))


def _best(names: Sequence[str], row: Row) -> Iterator[str]:
    return (name for name, cell in zip(names, row.cells, strict=True) if cell.mark == "best")


def _telling(section: Section) -> Section:
    """Leave out what is said elsewhere, and of what surrounds the versions what is alike in all of them."""
    rows = (row for row in section.rows if not row.implied)
    if section.kind == "version":
        rows = (row for row in rows if len({cell.text for cell in row.cells}) > 1)
    return replace(section, rows=tuple(rows))


def sparks(values: Sequence[float | None]) -> str:
    """Draw numbers as bars of one line; a gap where there is none, nothing when there are no two."""
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    if len(numbers) < 2:  # noqa: PLR2004  a line has two ends
        return ""
    # Halves, for the difference of two large numbers may be infinite; that of the smallest is nothing.
    least, span = min(numbers) / 2, max(numbers) / 2 - min(numbers) / 2
    return "".join(_spark(value, least=least, span=span) for value in values)


def _spark(value: float | None, *, least: float, span: float) -> str:
    if value is None or not math.isfinite(value):
        return " "
    share = (value / 2 - least) / span if span else 0.5
    return SPARKS[min(int(share * len(SPARKS)), len(SPARKS) - 1)]


def _draw(console: Console, names: Sequence[str], section: Section) -> None:
    """Draw as many tables below each other as it takes for all columns to fit."""
    from rich.text import Text

    console.print(Text(f"\n{section.title}", style="bold"))
    drawn = any(row.values for row in section.rows)
    for block in _blocks(names, section, columns=console.width):
        console.print(_table(names, section, block=block, sparkling=drawn))
    if section.omitted:
        console.print(Text(f"{section.omitted:,} more are not shown.", style="dim"))


def _blocks(names: Sequence[str], section: Section, *, columns: int) -> list[range]:
    """Split the places of versions so that each table fits into *columns*."""
    longest = max((len(cell.text) for row in section.rows for cell in row.cells), default=0)
    width = 2 + min(max(longest, *map(len, names)), CELL_COLUMNS_MAXIMUM)
    name = min(max((len(row.name) + len(row.note) for row in section.rows), default=0), NAME_COLUMNS_MAXIMUM)
    drawn = 2 + len(names) if any(row.values for row in section.rows) else 0
    fitting = max(1, (columns - name - drawn - 4) // width)
    return [range(begin, min(begin + fitting, len(names))) for begin in range(0, len(names), fitting)]


def _table(names: Sequence[str], section: Section, *, block: range, sparkling: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    drawn.add_column("", overflow="fold", max_width=NAME_COLUMNS_MAXIMUM)
    if sparkling:
        drawn.add_column("", no_wrap=True)
    for place in block:
        drawn.add_column(Text(names[place]), overflow="fold", max_width=CELL_COLUMNS_MAXIMUM)
    for row in section.rows:
        drawn.add_row(*_texts(row, block=block, sparkling=sparkling))
    return drawn


def _texts(row: Row, *, block: range, sparkling: bool) -> list[Text]:
    from rich.text import Text

    cells = [Text(row.cells[place].text, style=STYLES[row.cells[place].mark]) for place in block]
    name = Text.assemble(row.name, (f" {row.note}", "dim")) if row.note else Text(row.name)
    return [name, *([Text(sparks(row.values), style="cyan")] if sparkling else []), *cells]
