"""Tables for people: on the terminal, and as Markdown."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.measure import FLOOR, GIB, MLFLOW, STEELYARD, Goal, Row, Samples

COLUMNS = (FLOOR, STEELYARD, MLFLOW)
HEADINGS = ("what", "unit", *COLUMNS, "goal", "measured", "reached")
ANSWERS = {True: "yes", False: "**no**", None: "not measured"}
PACKAGES = ("grpcio", "protobuf", "uvloop", "sqlalchemy", "sqlmodel")

HOW = """\
Each cell is the median of all rounds, with the least and the most in brackets; a ratio is one of medians. In
every round the subjects take turns, each second round backwards. Client and server share the machine and
talk over loopback without TLS. Steelyard and MLflow run in processes of their own with a fresh data
directory: Steelyard with its default settings, MLflow as `mlflow server --workers 1` on SQLite with its job
runner off, called by raw HTTP over connections that stay open. Clients are Python as well, in a process of
their own, so they take their part of the cores. Before bytes are moved, memory is touched and given back in
pieces that a hypervisor does not take away, because the first touch of a page can cost more than all that is
measured.
"""
# The narrowest table that can be read; where output is no terminal it may be wider.
WIDTH = 150


def show(rows: Mapping[str, Row]) -> None:
    """Print a table to the terminal."""
    table = Table(*HEADINGS, title="median (least to most)")
    for row in rows.values():
        table.add_row(*(cell.replace("**", "") for cell in _cells(row, separator="\n")))
    console = Console(width=max(WIDTH, Console().width))
    console.print(table)
    for line in _details(rows):
        console.print(line, highlight=False)


def write(
    path: Path, rows: Mapping[str, Row], *, command: str, quick: bool, mlflow: str, rounds: int
) -> None:
    """Write a page of Markdown to *path*."""
    kind = "Quick sizes, to see that the benchmarks run; no results." if quick else f"{rounds} rounds."
    lines = [
        "# What was measured",
        "",
        f"Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}. {kind}",
        "`make bench-quick` measures small sizes without MLflow and leaves this page alone.",
        "Where the time goes in rows that miss their goal: [profiles.md](profiles.md).",
        "",
        _machine(mlflow),
        "",
        HOW,
        _line(HEADINGS),
        _line(["---"] * len(HEADINGS)),
        *(_line(_cells(row, separator="<br>")) for row in rows.values()),
        "",
        "## Remarks",
        "",
        *(f"- {line}" for line in _details(rows)),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def number(value: float) -> str:
    """Write a number with three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _machine(mlflow: str) -> str:
    memory = psutil.virtual_memory().total / GIB
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Machine: {os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB of memory, {platform.system()} "
        f"{platform.release()}. {platform.python_implementation()} {platform.python_version()}, {packages}, "
        f"SQLite {sqlite3.sqlite_version}, steelyard-server {version('steelyard-server')}; {mlflow}."
    )


def _processor() -> str:
    """Name the processor where Linux tells, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cells(row: Row, *, separator: str) -> list[str]:
    measured = [_sample(row.samples.get(name)) for name in COLUMNS]
    texts = separator.join(goal.text for goal in row.goals)
    values = separator.join(_value(goal) for goal in row.goals)
    reached = separator.join(ANSWERS[goal.reached] for goal in row.goals)
    return [row.title, row.unit, *measured, texts, values, reached]


def _sample(samples: Samples | None) -> str:
    if samples is None:
        return "-"
    return f"{number(samples.median)} ({number(samples.least)} to {number(samples.most)})"


def _value(goal: Goal) -> str:
    return "-" if goal.measured is None else f"{number(goal.measured)} {goal.unit}"


def _details(rows: Mapping[str, Row]) -> list[str]:
    lines = []
    for name, row in rows.items():
        others = [
            f"{other} {_sample(samples)} {row.unit}"
            for other, samples in row.samples.items()
            if other not in COLUMNS
        ]
        remarks = "; ".join([*others, *row.notes])
        if remarks:
            lines.append(f"`{name}`: {remarks}.")
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
