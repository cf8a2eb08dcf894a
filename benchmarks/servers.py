"""Start servers in processes of their own, on free loopback ports, and stop them by process id."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.measure import MB, ROOT, environment
from tests.databases import running_cluster

START_SECONDS = 60
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers at *address*."""

    address: str
    process: psutil.Process

    def memory_mb(self) -> float:
        """Return the resident memory of the server and its children now."""
        return float(sum(each.memory_info().rss for each in self._family())) / MB

    def cpu_seconds(self) -> float:
        """Return the processor time that the server and its children took so far."""
        return float(sum(sum(each.cpu_times()[:2]) for each in self._family()))

    def _family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


Serving = AbstractContextManager[Served]


@contextmanager
def steelyard(
    directory: Path,
    *,
    profile: Path | None = None,
    database: str = "",
    backup_dir: Path | None = None,
    flags: Sequence[str] = (),
) -> Iterator[Served]:
    """Run a Steelyard server with default settings on *directory*; its log goes to a file there.

    Args:
        database: URL of a PostgreSQL database instead of SQLite.
        flags: more of its command line.
    """
    start = ["benchmarks.profiled", str(profile)] if profile else ["steelyard_server"]
    command = [sys.executable, "-m", *start, "--listen", "127.0.0.1:0", "--data-dir", str(directory)]
    command += ["--database", database] if database else []
    command += ["--backup-dir", str(backup_dir)] if backup_dir else []
    command += flags
    with _announced(command, log=directory / "server.log") as served:
        yield served


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL server of its own, as tests do, and yield the URL of an empty database in it."""
    with running_cluster() as cluster:
        yield cluster.create_empty()


@contextmanager
def floor(directory: Path) -> Iterator[Served]:
    """Run the server of `floor.py`, which writes below *directory*."""
    command = [sys.executable, "-m", "benchmarks.floor", str(directory)]
    with _announced(command, log=directory / "server.log") as served:
        yield served


@contextmanager
def _announced(command: list[str], *, log: Path) -> Iterator[Served]:
    """Run a server that prints where it listens."""
    with started(command, log=log, announces=True) as process:
        timer = threading.Timer(START_SECONDS, process.kill)
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"listening on (\S+)", line):
                break
        else:
            raise RuntimeError(f"The server did not start: {log.read_text()}")
        timer.cancel()
        yield Served(found.group(1), psutil.Process(process.pid))


@contextmanager
def started(
    command: list[str], *, log: Path, announces: bool = False, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a process with its children until the block ends; what *announces* is read from its output."""
    everything = {**environment(), **(variables or {})}
    with log.open("a") as file:
        output = subprocess.PIPE if announces else file
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=file, text=True, env=everything)
    try:
        yield process
    finally:
        _stop(psutil.Process(process.pid) if process.poll() is None else None)
        process.communicate(timeout=STOP_SECONDS)


def _stop(process: psutil.Process | None) -> None:
    if process is None:
        return
    family = [process, *process.children(recursive=True)]
    process.terminate()
    _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for each in alive:
        each.kill()
