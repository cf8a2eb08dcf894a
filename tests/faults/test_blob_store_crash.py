"""A store whose process is killed with SIGKILL, at every step of an upload."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from steelyard_server.blobs.local import LocalStore
from tests.api.uploads import digest_of
from tests.faults.blob_files import is_stored, store_blob
from tests.faults.blob_writer import CHUNK_BYTES, content

SECONDS = 60


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Name the directory of a store."""
    return tmp_path / "blobs"


def run_and_kill(root: Path, *, size_bytes: int, step: int) -> list[tuple[str, int]]:
    """Run `blob_writer` up to a step, kill it there, and return the steps it announced.

    Returns:
        What came next and the bytes written by then, of each step; fewer when the blob was finished.
    """
    command = [sys.executable, "-m", "tests.faults.blob_writer", str(root), str(size_bytes), str(step)]
    steps = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            _, what, written_bytes = line.split()
            steps.append((what, int(written_bytes)))
            if len(steps) == step:
                process.kill()
        code = process.wait(SECONDS)
    assert code == (-signal.SIGKILL if len(steps) == step else 0), f"The process failed after {steps}."
    return steps


@pytest.mark.parametrize("size_bytes", [10, 4 * CHUNK_BYTES])
def test_a_process_killed_at_any_step_loses_nothing_that_it_said_was_durable(
    tmp_path: Path, size_bytes: int
) -> None:
    """Each round kills a new process one step later, until one gets to its end."""
    data = content(size_bytes)
    steps: list[tuple[str, int]] = [("", 0)]
    while steps[-1][0] != "finished":
        root = tmp_path / str(len(steps))
        steps = run_and_kill(root, size_bytes=size_bytes, step=len(steps) + 1)
        what, written_bytes = steps[-1]
        flushed_bytes = dict(steps).get("flushed", 0)
        with closing(LocalStore(root)) as store:
            is_there = store.contains(digest_of(data))
            held_bytes = store.held_bytes("key")

            assert is_there or what != "finished"
            assert held_bytes <= written_bytes, steps
            assert held_bytes >= flushed_bytes or is_there, steps
            assert not is_there or is_stored(store, data), steps
            assert store_blob(store, data) <= held_bytes
            assert is_stored(store, data), steps
        assert list((root / "uploads").iterdir()) == []
    assert {"written", "fdatasync", "rename", "fsync", "unlink"} <= {what for what, _ in steps}


def test_a_resume_killed_at_any_step_can_be_resumed(tmp_path: Path) -> None:
    """The first process is killed after its flush; one after another goes on and is killed a step later."""
    size_bytes = 3 * CHUNK_BYTES
    data = content(size_bytes)
    root = tmp_path / "blobs"
    flushed = [what for what, _ in run_and_kill(tmp_path / "whole", size_bytes=size_bytes, step=1000)].index(
        "flushed"
    )
    first = run_and_kill(root, size_bytes=size_bytes, step=flushed + 1)
    assert first[-1][0] == "flushed"
    for step in range(1, 40):
        steps = run_and_kill(root, size_bytes=size_bytes, step=step)
        if steps[-1][0] == "finished":
            break
    with closing(LocalStore(root)) as store:
        assert is_stored(store, data)
