"""Many small files, and files that are stored already, with `steelyard.Client`."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import servers
from benchmarks.measure import FLOOR, GIB, MIB, STEELYARD, Goal, Row, Run, at_least, at_most, child
from benchmarks.servers import Served

FILE_BYTES = 20 * 1024
PIECE_BYTES = 8 * MIB
UNIT = "files/s"
COLD = "Steelyard, nothing remembered"
SPARE_SECONDS = 0.3


def push(run: Run) -> Row:
    """Measure a push of many small files to an empty server."""
    source = _small_files(run)
    samples = run.in_turn(
        {FLOOR: partial(_copy, run, source, durable=True), STEELYARD: partial(_push, run, source)}
    )
    notes = ("the floor reads, hashes, writes and syncs one file after the other",)
    return Row(_title(source, "push"), UNIT, samples, (at_least(0.5, FLOOR, samples),), notes)


def pull(run: Run) -> Row:
    """Measure a pull of many small files, with nothing of them in the client's cache."""
    source = _small_files(run)
    with servers.steelyard(run.directory()) as served:
        _client(run, served, do="push", path=str(source))
        samples = run.in_turn(
            {
                FLOOR: partial(_copy, run, source, durable=False),
                STEELYARD: partial(_pull, run, served, source),
            }
        )
    notes = ("the floor reads, hashes and writes one file after the other",)
    return Row(_title(source, "pull"), UNIT, samples, (at_least(0.5, FLOOR, samples),), notes)


def again(run: Run) -> Row:
    """Measure registering stored bytes again, as another version, with and without a digest cache."""
    source, size_bytes = _large_files(run)
    numbers = itertools.count(1)
    with ExitStack() as stack:
        served = stack.enter_context(servers.steelyard(run.directory()))
        warm = run.directory()
        _client(run, served, do="push", path=str(source), cache=str(warm))

        def push_again(cache: Callable[[], Path]) -> float:
            job = {"do": "push", "path": str(source), "cache": str(cache()), "metric": next(numbers)}
            answer = _client(run, served, **job)
            assert answer["uploaded_bytes"] == 0
            return float(answer["seconds"])

        samples = run.in_turn(
            {
                FLOOR: lambda: float(child("client_job", do="hash_files", path=str(source))["seconds"]),
                STEELYARD: partial(push_again, lambda: warm),
                COLD: partial(push_again, run.directory),
            }
        )
    hashing = samples[COLD].median - samples[FLOOR].median
    goals: tuple[Goal, ...] = (
        at_most(1, "s", samples[STEELYARD].median, what="warm digest cache:"),
        at_most(SPARE_SECONDS, "s", hashing, what="none: over the hash time"),
    )
    notes = ("0 blob bytes were sent in every round", "the floor hashes the files in a thread for each core")
    return Row(f"register again {size_bytes / GIB:g} GiB that are stored", "s", samples, goals, notes)


def _small_files(run: Run) -> Path:
    directory = run.directory()
    for index in range(run.choose(10_000, 1_000)):
        (directory / f"{index:05}.bin").write_bytes(os.urandom(FILE_BYTES))
    os.sync()
    return directory


def _large_files(run: Run) -> tuple[Path, int]:
    """Make a directory of large files; return it with the bytes of all."""
    directory = run.directory()
    count, size_bytes = run.choose((10, GIB), (4, GIB // 8))
    for index in range(count):
        with (directory / f"{index}.bin").open("wb") as file:
            for _ in range(size_bytes // PIECE_BYTES):
                file.write(os.urandom(PIECE_BYTES))
    os.sync()
    return directory, count * size_bytes


def _copy(run: Run, source: Path, *, durable: bool) -> float:
    with _place(run) as place:
        job = {"path": str(source), "target": str(place / "target"), "durable": durable}
        return _rate(source, child("client_job", do="copy", **job))


def _push(run: Run, source: Path) -> float:
    with _place(run) as place, servers.steelyard(place) as served:
        return _rate(source, _client(run, served, do="push", path=str(source)))


def _pull(run: Run, served: Served, source: Path) -> float:
    with _place(run) as place:
        return _rate(source, _client(run, served, do="pull", target=str(place / "target")))


def _client(run: Run, served: Served, **job: Any) -> Any:
    """Run a client, by default one that remembers nothing."""
    return child("client_job", address=served.address, **({"cache": str(run.directory())} | job))


@contextmanager
def _place(run: Run) -> Iterator[Path]:
    place = run.directory()
    os.sync()
    yield place
    shutil.rmtree(place)


def _rate(source: Path, answer: Any) -> float:
    return _count(source) / float(answer["seconds"])


def _count(directory: Path) -> int:
    return sum(1 for _ in directory.iterdir())


def _title(source: Path, what: str) -> str:
    return f"{_count(source):,} files of 20 KiB, {what}"


ROWS: dict[str, Callable[[Run], Row]] = {"files-push": push, "files-pull": pull, "again": again}
