"""Pages of lists with filters, among many versions, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psycopg

from benchmarks import fill, sample, servers
from benchmarks.measure import STEELYARD, Row, Run, at_most, child

POSTGRESQL = "Steelyard on PostgreSQL"
TITLES = {
    "label": "one label",
    "metric": "a range of a metric, in its order",
    "dataset": "the digest of a dataset",
    "three-terms": "two metrics and a label, in the order of a metric",
}
GOALS_MS = {"label": 20, "metric": 20, "dataset": 20, "three-terms": 100}


def page(run: Run, *, name: str) -> Row:
    """Measure the first page of the list *name*."""
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
            STEELYARD: stack.enter_context(servers.steelyard(sqlite)),
            POSTGRESQL: stack.enter_context(servers.steelyard(other, database=url)),
        }
        seconds = run.choose(3, 1)
        samples = run.in_turn(
            {
                subject: partial(_milliseconds, address=each.address, name=name, seconds=seconds)
                for subject, each in served.items()
            }
        )
    limit = GOALS_MS[name]
    goals = (
        at_most(limit, "ms", samples[STEELYARD].median),
        at_most(limit, "ms", samples[POSTGRESQL].median, what="PostgreSQL"),
    )
    text, order_by = sample.LISTS[name]
    notes = (f"filter `{text}`, order `{order_by or 'number'}`", "PostgreSQL on the same machine, analyzed")
    return Row(f"a page of 50 of {count:,} versions: {TITLES[name]}, 1 caller", "ms", samples, goals, notes)


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


ROWS: dict[str, Callable[[Run], Row]] = {f"list-{name}": partial(page, name=name) for name in TITLES}
