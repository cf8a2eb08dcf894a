"""Pages of lists with filters, among many versions, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psycopg

from benchmarks import fill, sample, servers
from benchmarks.measure import Row, Run, at_most, child

TITLES = {
    "label": "label",
    "metric": "metric range, ordered",
    "dataset": "dataset digest",
    "three-terms": "three terms",
}
GOALS_MS = {"label": 20, "metric": 20, "dataset": 20, "three-terms": 100}


def lists(run: Run) -> Row:
    """Measure the first page of four lists, all of the same versions: filling a database takes minutes."""
    count = run.choose(100_000, 2_000)
    with ExitStack() as stack:
        sqlite, other = run.directory(), run.directory()
        url = stack.enter_context(servers.postgresql())
        locations: tuple[Path | str, ...] = (sqlite / "registry.db", url)
        for location in locations:
            run.say(f"filling a model with {count:,} versions")
            fill.searched(location, count=count)
        with psycopg.connect(url, autocommit=True) as connection:
            # What PostgreSQL does by itself within minutes: without, it takes any table for small.
            connection.execute("ANALYZE")
        served = {
            "SQLite": stack.enter_context(servers.steelyard(sqlite)),
            "PostgreSQL": stack.enter_context(servers.steelyard(other, database=url)),
        }
        seconds = run.choose(3, 1)
        samples = run.in_turn(
            {
                _subject(name, database): partial(
                    _milliseconds, address=each.address, name=name, seconds=seconds
                )
                for name in TITLES
                for database, each in served.items()
            }
        )
    goals = tuple(
        at_most(limit, "ms", samples[_subject(name, database)].median, what=f"{TITLES[name]}, {database}:")
        for name, limit in GOALS_MS.items()
        for database in served
    )
    filters = [
        f"{TITLES[name]}: `{text}`, order `{order_by or 'number'}`"
        for name, (text, order_by) in sample.LISTS.items()
    ]
    notes = (*filters, "PostgreSQL on the same machine, analyzed")
    return Row(f"a page of 50 of {count:,} versions, 1 caller", "ms", samples, goals, notes)


def _subject(name: str, database: str) -> str:
    return f"{TITLES[name]} on {database}"


def _milliseconds(*, address: str, name: str, seconds: float) -> float:
    """Return how long a call takes."""
    answer = child(
        "load",
        address=address,
        call=f"list-{name}",
        model=sample.MODEL,
        callers=1,
        seconds=seconds,
        floor=False,
    )
    return 1000 / float(answer["calls_per_second"])


ROWS: dict[str, Callable[[Run], Row]] = {"lists": lists}
