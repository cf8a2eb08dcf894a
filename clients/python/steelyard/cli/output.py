"""What people and programs see: results on standard output, notes and progress on standard error.

On a terminal results are tables and colours. In a pipe they are lines with tabs, without borders
and headers. With ``--json`` they are protobuf JSON.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from steelyard.types import AbsentField, Actor, Model, Version

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Limit = Annotated[
    int | None, typer.Option(min=1, help="List at most so many; if not given, 50, or all with --json.")
]
Entry = TypeVar("Entry")

LISTED = 50
# A field of an order: names, some of them in quotes, and what is in brackets.
_TERM = re.compile(r"""\s*(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\[[^\]]*\]|[^\s,"'\[])+""")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024
# Columns of numbers.
_NUMBERS = {"sequence", "size", "files", "versions", "blobs", "shared", "unique"}
# Columns whose cells are short, or are copied whole, and what a broken word leaves legible in others.
_UNBROKEN = _NUMBERS | {"created", "changed", "deleted", "time", "digest", "evaluation"}
_WORD_MAXIMUM = 20
_GAP = 2
# With so many digits a double is written shorter as the text that is read back as it.
_DIGITS_MAXIMUM = 17
_DAY_SECONDS, _HOUR_SECONDS, _MINUTE_SECONDS = 86_400, 3_600, 60


def notes() -> Console:
    """Return the console for everything that is not the result."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False)


def note(text: str) -> None:
    """Say something beside the result."""
    notes().print(text, markup=False, soft_wrap=True)


def error(problem: Exception) -> None:
    """Say what went wrong, in red, with the reason that programs see."""
    console = notes()
    console.print("error: ", style="bold red", end="")
    text = str(problem)
    if isinstance(problem, OSError) and problem.strerror:
        text = f"{problem.filename or 'standard output'}: {problem.strerror}."
    console.print(text, markup=False, soft_wrap=True)
    if reason := getattr(problem, "reason", ""):
        console.print(reason, style="dim", markup=False)


def changed(text: str, message: Any, *, json: bool, line: bool = False) -> None:
    """Say what changed, or print it as protobuf JSON, on one *line* where there may be several."""
    if json:
        facts_json(_json(message), line=line)
    else:
        note(text)


def removed(text: str, sequence: int, *, json: bool) -> None:
    """Say what is gone, or print the sequence of its event as JSON."""
    if json:
        facts_json({"sequence": str(sequence)})
    else:
        note(text)


def purged(text: str, facts: Mapping[str, object], *, json: bool, line: bool = False) -> None:
    """Say what is gone for good, or print *facts* as JSON, on one *line* where there may be several."""
    if json:
        facts_json({name: str(value) for name, value in facts.items()}, line=line)
    else:
        note(text)


def result(text: str) -> None:
    """Print a result as one line."""
    print(text)


def line(cells: Iterable[object]) -> None:
    """Print cells with tabs between them."""
    print("\t".join(map(_plain, cells)))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows: a table on a terminal, lines with tabs in a pipe."""
    if not sys.stdout.isatty():
        for row in rows:
            line(row)
        return
    cells = [[_plain(cell) for cell in row] for row in rows]
    if cells and _needed(headers, cells) > columns():
        _records(headers, cells)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for header in headers:
        drawn.add_column(
            header,
            justify="right" if header in _NUMBERS else "left",
            overflow="fold",
            no_wrap=header in _UNBROKEN,
        )
    for each in cells:
        drawn.add_row(*map(Text, each))
    Console(highlight=False).print(drawn)


class Lines:
    """Rows that are printed as they come: in columns on a terminal, with tabs in a pipe.

    Args:
        rows: printed at once; the columns are as wide as they need, and grow with what comes.
    """

    def __init__(self, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self._headers = headers
        self._widths = [0] * len(headers)
        drawn = sys.stdout.isatty()
        for row in (headers, *rows) if drawn else ():
            self._grow(row)
        if drawn:
            from rich.console import Console

            Console(highlight=False).print(self._padded(headers), style="bold", soft_wrap=True, markup=False)
        for row in rows:
            self.put(row)

    def put(self, row: Sequence[object]) -> None:
        """Print a row, at once."""
        if sys.stdout.isatty():
            self._grow(row)
            print(self._padded(row), flush=True)
        else:
            line(row)
            sys.stdout.flush()

    def _grow(self, row: Sequence[object]) -> None:
        self._widths = [
            max(width, len(_one_line(cell))) for width, cell in zip(self._widths, row, strict=True)
        ]

    def _padded(self, row: Sequence[object]) -> str:
        cells = zip(self._headers, map(_one_line, row), self._widths, strict=True)
        padded = (
            cell.rjust(width) if header in _NUMBERS else cell.ljust(width) for header, cell, width in cells
        )
        return (" " * _GAP).join(padded).rstrip()


def columns() -> int:
    """Return how many characters a line of the terminal has."""
    from rich.console import Console

    return Console().width


def first(entries: Iterator[Entry], *, limit: int | None, json: bool) -> list[Entry]:
    """Take what a list shows, and say so when that is not all; without a limit programs get all."""
    wanted = limit if limit or json else LISTED
    found = list(islice(entries, wanted))
    if len(found) == wanted and next(entries, None) is not None:
        note(f"These are the first {wanted}; there are more, see --limit.")
    return found


def note_absent(absent: Iterable[AbsentField], *, what: str) -> None:
    """Say that a filter let nothing pass, which looks like success otherwise, and what it asks for in vain.

    Args:
        what: is listed, for example `version of default/fraud`.
    """
    note("None passes the filter.")
    for each in absent:
        note(f"No {what} has {each.field}{f'; perhaps {each.suggestion}' if each.suggestion else ''}.")


def order_term(order_by: str) -> str:
    """Return the field that an order begins with; empty without an order."""
    found = _TERM.match(order_by)
    return found[0].strip() if found else ""


def details(facts: Mapping[str, object]) -> None:
    """Print names with values, one a line; empty values are left out."""
    shown = {name: _plain(value) for name, value in facts.items() if value not in ("", None, [], {}, ())}
    if not sys.stdout.isatty():
        for name, value in shown.items():
            print(f"{name}\t{value}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, show_header=False, pad_edge=False)
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    for name, value in shown.items():
        drawn.add_row(name, Text(value))
    Console(highlight=False).print(drawn)


def message_json(message: Any) -> None:
    """Print one message as protobuf JSON."""
    facts_json(_json(message))


def facts_json(facts: object, *, line: bool = False) -> None:
    """Print what is no message as JSON, for people to read too or on one *line*."""
    print(json.dumps(facts, indent=None if line else 2, ensure_ascii=False))


def listed_json(entries: Iterable[Version | Model], *, ordered: bool) -> None:
    """Print the messages of what is listed; when *ordered* with `orderValue`, what each is ordered by."""
    facts_json(
        [_json(each.message) | ({"orderValue": each.order_value} if ordered else {}) for each in entries]
    )


def message_line(message: Any) -> None:
    """Print one message as protobuf JSON on one line, at once."""
    print(json.dumps(_json(message), ensure_ascii=False), flush=True)


def messages_json(messages: Iterable[Any]) -> None:
    """Print messages as one JSON array."""
    facts_json([_json(message) for message in messages])


def size(size_bytes: int) -> str:
    """Write a size with a unit of 1024, for people."""
    value = float(size_bytes)
    for unit in _UNITS[:-1]:
        if value < _STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:.1f} {_UNITS[-1]}"


def numbers(given: Sequence[float], *, digits: int = 6) -> list[str]:
    """Write numbers for people: with *digits* digits, or as many more as it takes to tell them apart."""
    finite = {value for value in given if math.isfinite(value)}
    for enough in range(digits, _DIGITS_MAXIMUM):
        if len({f"{value:.{enough}g}" for value in finite}) >= len(finite):
            return [f"{value:.{enough}g}" for value in given]
    return list(map(repr, given))


def count(number: int, noun: str) -> str:
    """Write how many there are, for people."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def age(time: datetime | None) -> str:
    """Write how long ago something was, for people."""
    if time is None:
        return ""
    seconds = (datetime.now(UTC) - time).total_seconds()
    if seconds < _MINUTE_SECONDS:
        return "just now"
    if seconds < _HOUR_SECONDS:
        return f"{seconds / _MINUTE_SECONDS:.0f} min ago"
    if seconds < _DAY_SECONDS:
        return f"{seconds / _HOUR_SECONDS:.0f} h ago"
    return f"{time:%Y-%m-%d}"


def span(seconds: int) -> str:
    """Write a length of time as options take it; nothing for none."""
    for unit_seconds, unit in ((_DAY_SECONDS, "d"), (_HOUR_SECONDS, "h"), (_MINUTE_SECONDS, "m"), (1, "s")):
        if seconds and seconds % unit_seconds == 0:
            return f"{seconds // unit_seconds}{unit}"
    return ""


def actor(who: Actor) -> str:
    """Write who did something; a name that was only stated is never shown as a fact."""
    return who.id if who.authenticated else f"{who.id} (stated)"


def short(digest: str) -> str:
    """Cut a digest to what people compare."""
    return digest[:19]


def _needed(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return how wide a table must be so that no word in it is broken but long ones."""
    widths = [
        max(_unbroken(cell, header=header) for cell in (header, *column))
        for header, column in zip(headers, zip(*rows, strict=True), strict=True)
    ]
    return sum(widths) + _GAP * (len(widths) - 1)


def _unbroken(cell: str, *, header: str) -> int:
    if header in _UNBROKEN:
        return len(cell)
    return min(max(map(len, cell.split()), default=0), _WORD_MAXIMUM)


def _records(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print each row as names with values, as a narrow terminal can show it."""
    for place, row in enumerate(rows):
        if place:
            print()
        details(dict(zip(headers, row, strict=True)))


def _json(message: Any) -> Any:
    from google.protobuf import json_format

    return json_format.MessageToDict(message)


def _one_line(cell: object) -> str:
    return _plain(cell).replace("\t", " ").replace("\n", " ")


def _plain(cell: object) -> str:
    if isinstance(cell, Mapping):
        return ", ".join(f"{name}={value}" for name, value in cell.items())
    if isinstance(cell, list | tuple):
        return ", ".join(map(str, cell))
    text = "" if cell is None else str(cell)
    return text.replace("\t", " ").replace("\n", " ") if not sys.stdout.isatty() else text
