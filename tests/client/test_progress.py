"""Progress says how far a transfer is: it grows to its total, and what it raises ends the transfer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

import pytest

import steelyard
from steelyard import errors
from steelyard.progress import Meter, Progress
from tests.client.trees import MIB, MODEL, large_file, write_tree


class GivenUp(Exception):
    """Raised by a progress callback."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a directory with large and small files, two of which are equal, and an empty one."""
    directory = write_tree(tmp_path / "model", MODEL | {"again.json": MODEL["config.json"], "empty": b""})
    large_file(directory / "large.bin", size_mib=3)
    return directory


def total_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def assert_complete(steps: list[Progress], *, phases: list[str]) -> None:
    """Check that each phase grows in steps from its first bytes to its total."""
    found = [(phase, list(group)) for phase, group in groupby(steps, key=lambda step: step.phase)]
    assert [phase for phase, _ in found] == phases
    for _, group in found:
        assert all(one.done_bytes <= two.done_bytes for one, two in pairwise(group))
        assert len({step.total_bytes for step in group}) == 1
        assert group[-1].done_bytes == group[-1].total_bytes


def test_a_push_and_a_pull_grow_to_their_totals_and_name_their_files(
    client: steelyard.Client, directory: Path, tmp_path: Path
) -> None:
    steps: list[Progress] = []
    client.push("fraud", directory, progress=steps.append)
    assert_complete(steps, phases=["hash", "upload"])
    assert {step.file for step in steps} >= {"large.bin", "weights.onnx", "docs/README.md"}

    for name in ("first", "from the cache"):
        steps.clear()
        client.pull("fraud", tmp_path / name, progress=steps.append)
        assert_complete(steps, phases=["download"])
        assert steps[-1].total_bytes == total_of(directory)

    for where in (None, tmp_path / "first"):
        steps.clear()
        client.verify("fraud", where, progress=steps.append)
        assert_complete(steps, phases=["verify"])
        assert steps[-1].total_bytes == total_of(directory)


def test_what_the_server_has_is_not_shown_as_uploaded(client: steelyard.Client, directory: Path) -> None:
    client.push("fraud", directory)
    write_tree(directory, {"config.json": b"{}"})
    steps: list[Progress] = []
    client.push("fraud", directory, progress=steps.append)
    assert [step.total_bytes for step in steps if step.phase == "upload"] == [2]


def test_a_resumed_push_starts_where_it_was(client: steelyard.Client, tmp_path: Path) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=48)

    def give_up(progress: Progress) -> None:
        if progress.done_bytes > 40 * MIB:
            raise GivenUp

    with pytest.raises(GivenUp):
        client.push("fraud", path, progress=give_up)
    steps: list[Progress] = []
    client.push("fraud", path, progress=steps.append)
    assert steps[0].done_bytes > 8 * MIB
    assert_complete(steps, phases=["upload"])


@pytest.mark.parametrize("kind", [GivenUp, OSError, BrokenPipeError, FileNotFoundError, errors.Unavailable])
@pytest.mark.parametrize("phase", ["hash", "upload", "download", "from the cache", "here", "there"])
def test_what_progress_raises_ends_the_transfer_and_reaches_the_caller_as_it_is(
    client: steelyard.Client, directory: Path, tmp_path: Path, phase: str, kind: type[Exception]
) -> None:
    """Whatever it is: the transfer itself knows errors of files and of streams, which it mends or words."""
    raised = kind("of the callback")

    def give_up(progress: Progress) -> None:
        if phase != "upload" or progress.phase == phase:
            raise raised

    if phase not in {"hash", "upload"}:
        client.push("fraud", directory)
    if phase == "from the cache":
        client.pull("fraud", tmp_path / "first")
    pull = partial(client.pull, "fraud", tmp_path / "copy", progress=give_up)
    actions: dict[str, Callable[[], object]] = {
        "hash": partial(client.push, "fraud", directory, progress=give_up),
        "upload": partial(client.push, "fraud", directory, progress=give_up),
        "download": pull,
        "from the cache": pull,
        "here": partial(client.verify, "fraud", directory, progress=give_up),
        "there": partial(client.verify, "fraud", progress=give_up),
    }
    with pytest.raises(kind) as caught:
        actions[phase]()
    assert caught.value is raised
    assert caught.value.__context__ is None
    assert not (tmp_path / "copy").exists()
    threads = [each.name for each in threading.enumerate() if each.name.startswith("steelyard-transfer")]
    assert not threads


def test_a_meter_calls_from_one_thread_at_a_time() -> None:
    inside = threading.Lock()
    steps: list[int] = []

    def report(progress: Progress) -> None:
        assert inside.acquire(blocking=False)
        steps.append(progress.done_bytes)
        inside.release()

    meter = Meter("upload", total_bytes=4000, report=report, stop=steelyard.Stop())

    def count() -> None:
        for _ in range(1000):
            meter.add(1, file="a")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert steps == list(range(1, 4001))
