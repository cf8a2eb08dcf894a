"""From the commit of an event to those who watch."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable
from functools import partial

from benchmarks import fill, sample, servers
from benchmarks.measure import STEELYARD, Row, Run, at_most, child

GOALS_MS = {100: 10.0, 1000: 75.0}


def watch(run: Run, *, watchers: int) -> Row:
    """Measure how long after its commit each of *watchers* has an event."""
    events = run.choose(100, 20)
    last_ms, acknowledged_ms, memory_kib = list[float](), list[float](), list[float]()

    def p99_ms() -> float:
        place = fill.filled(run.directory(), count=sample.SMALL_VERSIONS)
        with servers.steelyard(place) as served:
            before_mb = served.memory_mb()
            measured = child("watch_job", address=served.address, watchers=watchers, events=events)
            memory_kib.append((served.memory_mb() - before_mb) * 1000 / watchers)
        shutil.rmtree(place)
        last_ms.append(measured["last_p99_ms"])
        acknowledged_ms.append(measured["acknowledged_p99_ms"])
        return float(measured["p99_ms"])

    samples = run.in_turn({STEELYARD: p99_ms})
    notes = (
        (
            "from the time of the event, which is taken before its durable commit, to each watcher; all of "
            "them are in one other process, over ten connections; an event at a time"
        ),
        f"p99 to the last of them {statistics.median(last_ms):.1f} ms",
        f"p99 from the answer to the change to each {statistics.median(acknowledged_ms):.1f} ms",
        f"memory that the server took for each watcher and kept {statistics.median(memory_kib):.0f} kB",
    )
    goals = (at_most(GOALS_MS[watchers], "ms", samples[STEELYARD].median),)
    return Row(f"from a commit to each of {watchers:,} watchers, p99", "ms", samples, goals, notes)


ROWS: dict[str, Callable[[Run], Row]] = {
    f"watch-{watchers}": partial(watch, watchers=watchers) for watchers in GOALS_MS
}
