"""The server as a process: start, memory, latency under load; and the command line."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import fill, mlflow_server, sample, servers
from benchmarks.measure import (
    FLOOR,
    GIB,
    MLFLOW,
    ROOT,
    STEELYARD,
    Goal,
    Row,
    Run,
    at_most,
    child,
    child_command,
    environment,
)
from benchmarks.servers import Served
from benchmarks.transfer import connected
from steelyard.v1 import server_service_pb2, server_service_pb2_grpc

STREAMS = 4
# Each moves its bytes twice, long enough to see memory grow.
STREAMING_ROUNDS = 2
SAMPLE_SECONDS = 0.05
# What still counts as flat: the noise of an allocator.
FLAT_MB = 16
SETTLE_SECONDS = 1.0
ALONE = "Steelyard, no uploads"
FRESH = "Steelyard, fresh directory"
STEELYARD_COMMAND = Path(sys.executable).with_name("steelyard")


def under_load(run: Run) -> Row:
    """Measure the latency of getting a version by alias while four large uploads run."""
    seconds = run.choose(8, 2)

    def p99_ms(*, streams: int) -> float:
        place = fill.filled(run.directory(), count=sample.SMALL_VERSIONS)
        with servers.steelyard(place, profile=run.profile("under-load")) as served:
            p99 = _p99_ms(served, streams=streams, seconds=seconds)
        shutil.rmtree(place)
        return p99

    samples = run.in_turn({STEELYARD: partial(p99_ms, streams=STREAMS), ALONE: partial(p99_ms, streams=0)})
    notes = ("one caller in a process of its own; the uploads come from another, which hashes them",)
    goals = (at_most(20, "ms", samples[STEELYARD].median),)
    return Row(f"get a version by alias while {STREAMS} large uploads run, p99", "ms", samples, goals, notes)


def start(run: Run) -> Row:
    """Measure the time from the start of the process to its first answer."""
    least, data = run.directory(), fill.filled(run.directory(), count=sample.SMALL_VERSIONS)
    other = mlflow_server.filled(run.mlflow, run.directory(), count=10) if run.mlflow else None
    subjects: dict[str, Callable[[], float]] = {
        FLOOR: lambda: _start_seconds(servers.floor(least)),
        STEELYARD: lambda: _start_seconds(servers.steelyard(data)),
        FRESH: lambda: _start_seconds(servers.steelyard(run.directory())),
    }
    if run.mlflow and other:
        subjects[MLFLOW] = partial(_mlflow_start_seconds, run.mlflow, other)
    samples = run.in_turn(subjects)
    goals = (
        at_most(1.0, "s", samples[STEELYARD].median),
        at_most(1.0, "s", samples[FRESH].median, what="fresh directory:"),
    )
    notes = ("on a database that is there, with Python's bytecode cached",)
    return Row("start to first answer", "s", samples, goals, notes)


def idle(run: Run) -> Row:
    """Measure the memory of a server that has answered once and waits."""
    subjects: dict[str, Callable[[], float]] = {
        FLOOR: lambda: _idle_mb(servers.floor(run.directory())),
        STEELYARD: lambda: _idle_mb(servers.steelyard(run.directory())),
    }
    if run.mlflow:
        command = run.mlflow
        subjects[MLFLOW] = lambda: _idle_mb(mlflow_server.mlflow(command, run.directory()), answers=False)
    samples = run.in_turn(subjects)
    goals = (at_most(120, "MB", samples[STEELYARD].median),)
    return Row("idle memory, all processes", "MB", samples, goals)


def streaming(run: Run, *, streams: int) -> Row:
    """Measure the peak of the server's memory while bytes go up and come down."""
    size_bytes = run.choose(10 * GIB, GIB // 2)
    growth: list[float] = []

    def peak_mb() -> float:
        place = run.directory()
        with servers.steelyard(place) as served:
            memory = _watched(
                served, do="up_and_down", address=served.address, streams=streams, size_bytes=size_bytes
            )
        shutil.rmtree(place)
        half = len(memory) // 2
        growth.append(max(memory[half:]) - max(memory[:half]))
        return max(memory)

    samples = run.in_turn({STEELYARD: peak_mb}, at_most_rounds=STREAMING_ROUNDS)
    limit = 160 if streams == 1 else 300
    title = f"server memory while {size_bytes / GIB:g} GiB go up and come down, {streams} at once, peak"
    goals = (
        at_most(limit, "MB", samples[STEELYARD].most),
        at_most(FLAT_MB, "MB", max(growth), what="growth of the peak from the first half to the second:"),
    )
    return Row(title, "MB", samples, goals)


def command_line(run: Run) -> Row:
    """Measure `steelyard --help`."""
    samples = run.in_turn(
        {
            FLOOR: lambda: _run_seconds([sys.executable, "-c", "pass"]),
            STEELYARD: lambda: _run_seconds([str(STEELYARD_COMMAND), "--help"]),
        }
    )
    goals: tuple[Goal, ...] = (at_most(0.2, "s", samples[STEELYARD].median),)
    return Row("`steelyard --help`", "s", samples, goals, ("the floor is Python doing nothing",))


def _p99_ms(served: Served, *, streams: int, seconds: float) -> float:
    job = {"call": "get", "model": sample.MODEL, "callers": 1, "seconds": seconds, "floor": False}
    load: dict[str, Any] = {"address": served.address, **job}
    if not streams:
        return float(child("load", **load)["p99_ms"])
    # The uploads last longer than the calls, whose process takes a while to start.
    uploads = child_command(
        "streams", do="busy", address=served.address, streams=streams, seconds=seconds + 3
    )
    with subprocess.Popen(uploads, cwd=ROOT, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        p99 = float(child("load", **load)["p99_ms"])
        assert process.poll() is None, "the uploads ended before the calls"
        process.stdout.read()
    return p99


def _start_seconds(serving: servers.Serving) -> float:
    begin = time.perf_counter()
    with serving as served:
        _first_answer(served)
        return time.perf_counter() - begin


def _mlflow_start_seconds(command: Path, directory: Path) -> float:
    begin = time.perf_counter()
    with mlflow_server.mlflow(command, directory):
        return time.perf_counter() - begin


def _idle_mb(serving: servers.Serving, *, answers: bool = True) -> float:
    with serving as served:
        if answers:
            _first_answer(served)
        time.sleep(SETTLE_SECONDS)
        return served.memory_mb()


def _first_answer(served: Served) -> None:
    with connected(served.address) as channel:
        stub = server_service_pb2_grpc.ServerServiceStub(channel)
        stub.GetServerInfo(server_service_pb2.GetServerInfoRequest())


def _watched(served: Served, **job: Any) -> list[float]:
    """Run streams and return the server's memory all along."""
    memory: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            memory.append(served.memory_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        child("streams", **job)
    finally:
        ended.set()
        watcher.join()
    return memory


def _run_seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
    return time.perf_counter() - begin


ROWS: dict[str, Callable[[Run], Row]] = {
    "under-load": under_load,
    "start": start,
    "idle": idle,
    "help": command_line,
    "streaming-1": partial(streaming, streams=1),
    "streaming-4": partial(streaming, streams=STREAMS),
}
