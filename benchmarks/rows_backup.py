"""Backups of a registry with many versions while writes go on, and the way back, on both databases."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import steelyard
from benchmarks import fill, sample, servers
from benchmarks.measure import MIB, ROOT, STEELYARD, Row, Run, at_most, child, environment
from benchmarks.servers import Served
from steelyard_server.blobs.local import LocalStore
from tests.databases import Cluster, running_cluster

POSTGRESQL = "Steelyard on PostgreSQL"
CALLERS = 8
# A backup takes a minute at most, but a restore has no goal.
ROUNDS = 2


@dataclass(slots=True)
class Load:
    """Creates versions on a server until the block ends, in a process of its own at a time.

    Args:
        calls_per_second: of each process.
    """

    served: Served
    seconds: float
    calls_per_second: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> None:
        self._ended.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        job = {"call": "create", "model": sample.MODEL, "callers": CALLERS, "seconds": self.seconds}
        while not self._ended.is_set():
            answer = child("load", address=self.served.address, floor=False, **job)
            self.calls_per_second.append(float(answer["calls_per_second"]))
            self.p99_ms.append(float(answer["p99_ms"]))


@dataclass(slots=True)
class Subject:
    """A filled registry that is served, and its backups; `sizes_mib` is that of the tables of each."""

    served: Served
    backups: Path
    load: Load
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    sizes_mib: list[float] = field(default_factory=list)

    def back_up(self) -> float:
        """Make a backup while versions are created, and return how long it took."""
        name = f"b{next(self.numbers)}"
        with self.load, steelyard.Client(self.served.address) as client:
            begin = time.perf_counter()
            made = client.maintenance.backup(name)
            seconds = time.perf_counter() - begin
        assert made.problems_count == 0
        files = (self.backups / name).rglob("*.jsonl")
        self.sizes_mib.append(sum(path.stat().st_size for path in files) / MIB)
        return seconds


def backup(run: Run) -> Row:
    """Measure a backup of 100,000 versions while versions are created."""
    count = run.choose(100_000, 2_000)
    with ExitStack() as stack:
        cluster = stack.enter_context(running_cluster())
        subjects = {
            STEELYARD: _subject(run, stack, count=count, database=""),
            POSTGRESQL: _subject(run, stack, count=count, database=cluster.create_empty()),
        }
        samples = run.in_turn(
            {name: subject.back_up for name, subject in subjects.items()}, at_most_rounds=ROUNDS
        )
        restores = {
            "SQLite": _restore_seconds(run, subjects[STEELYARD].backups / "b0", cluster=None),
            "PostgreSQL": _restore_seconds(run, subjects[STEELYARD].backups / "b0", cluster=cluster),
        }
    goals = (
        at_most(60, "s", samples[STEELYARD].most),
        at_most(60, "s", samples[POSTGRESQL].most, what="PostgreSQL"),
    )
    rates = (f"{name} {_writes(subject)}" for name, subject in subjects.items())
    back = (f"{name} in {seconds:.0f} s" for name, seconds in restores.items())
    notes = (
        f"meanwhile {CALLERS} callers create versions: {', '.join(rates)}",
        f"{statistics.median(subjects[STEELYARD].sizes_mib):,.0f} MiB of tables",
        f"the first backup is restored and verified into {', into '.join(back)}",
    )
    return Row(f"backup of {count:,} versions while writes go on", "s", samples, goals, notes)


def _subject(run: Run, stack: ExitStack, *, count: int, database: str) -> Subject:
    directory, backups = run.directory(), run.directory()
    run.say(f"filling a model with {count:,} versions")
    asyncio.run(fill.fill(database or directory / "registry.db", count=count))
    store = LocalStore(directory / "blobs")
    store.put({f"sha256:{sample.FILES[path]}": data for path, data in sample.CONTENTS.items()})
    store.close()
    serving = servers.steelyard(directory, database=database, backup_dir=backups)
    served = stack.enter_context(serving)
    return Subject(served, backups, Load(served, seconds=run.choose(4, 1)))


def _writes(subject: Subject) -> str:
    load = subject.load
    rate, p99 = statistics.median(load.calls_per_second), statistics.median(load.p99_ms)
    return f"{rate:,.0f} a second, p99 {p99:.0f} ms"


def _restore_seconds(run: Run, source: Path, *, cluster: Cluster | None) -> float:
    database = cluster.create_empty() if cluster is not None else ""
    run.say(f"restoring into {'PostgreSQL' if database else 'SQLite'}")
    command = [sys.executable, "-m", "steelyard_server.restore", str(source), "--verify"]
    command += ["--data-dir", str(run.directory()), *(["--database", database] if database else [])]
    begin = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


ROWS: dict[str, Callable[[Run], Row]] = {"backup": backup}
