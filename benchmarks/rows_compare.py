"""Comparisons of versions, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks import fill_compared, servers
from benchmarks.measure import STEELYARD, Row, Run, at_most, child
from benchmarks.sample import COMPARED_VERSIONS
from benchmarks.servers import Served

POSTGRESQL = "Steelyard on PostgreSQL"
LARGE = "Steelyard, 10,000 files each"
LARGE_ON_POSTGRESQL = "Steelyard on PostgreSQL, 10,000 files each"
GOAL_MS = 50


def compare(run: Run) -> Row:
    """Measure a comparison of twenty versions, asked for by one caller."""
    large = run.choose(10_000, 1_000)
    with ExitStack() as stack:
        subjects = {
            STEELYARD: _steelyard(run, stack, files=fill_compared.FILES),
            POSTGRESQL: _postgresql(run, stack, files=fill_compared.FILES),
            LARGE: _steelyard(run, stack, files=large),
            LARGE_ON_POSTGRESQL: _postgresql(run, stack, files=large),
        }
        samples = run.in_turn(subjects)
    goals = tuple(
        at_most(GOAL_MS, "ms", samples[name].median, what=f"{what}:")
        for name, what in ((STEELYARD, "SQLite"), (POSTGRESQL, "PostgreSQL"))
    )
    about = (
        f"each version has {fill_compared.FILES} files, {fill_compared.METRICS} metrics and as many "
        f"evaluated, and {fill_compared.PARAMETERS} parameters; half of the parameters and a tenth of the "
        "files differ; PostgreSQL runs without fsync, which reads do not feel"
    )
    large_note = f"the larger ones have {large:,} files" if run.quick else ""
    notes = tuple(note for note in (about, large_note) if note)
    return Row(f"compare {COMPARED_VERSIONS} versions", "ms", samples, goals, notes)


def _steelyard(run: Run, stack: ExitStack, *, files: int) -> Callable[[], float]:
    directory = run.directory()
    run.say(f"filling SQLite with versions of {files:,} files")
    asyncio.run(fill_compared.fill(directory / "registry.db", files=files))
    return _asking(run, stack.enter_context(servers.steelyard(directory)))


def _postgresql(run: Run, stack: ExitStack, *, files: int) -> Callable[[], float]:
    url = stack.enter_context(servers.postgresql())
    run.say(f"filling PostgreSQL with versions of {files:,} files")
    asyncio.run(fill_compared.fill(url, files=files))
    return _asking(run, stack.enter_context(servers.steelyard(run.directory(), database=url)))


def _asking(run: Run, served: Served) -> Callable[[], float]:
    def ask() -> float:
        """Return the milliseconds of a call."""
        seconds = run.choose(5, 1)
        job = {"call": "compare", "callers": 1, "seconds": seconds, "model": "", "floor": False}
        return 1000 / float(child("load", address=served.address, **job)["calls_per_second"])

    return ask


ROWS: dict[str, Callable[[Run], Row]] = {"compare": compare}
