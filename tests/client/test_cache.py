"""What was pulled before comes from the cache, whole and right; trouble with the cache only costs time."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import steelyard
from steelyard import errors
from tests.client.privileges import without_privileges
from tests.client.trees import MODEL, remains, tree_of, write_tree
from tests.servers import ServerProcess

SIZE = sum(map(len, MODEL.values()))


@contextmanager
def full_disk(size_bytes: int) -> Iterator[None]:
    """Let no file of this process become longer; a write up to there does what it can, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def pushed(client: steelyard.Client, tmp_path: Path) -> steelyard.Version:
    """Push the usual files as `fraud`."""
    return client.push("fraud", write_tree(tmp_path / "model", MODEL)).version


def blobs(cache: Path) -> list[Path]:
    return [path for path in (cache / "blobs").rglob("*") if path.is_file()]


def test_a_second_pull_comes_from_the_cache_alone(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path
) -> None:
    client.pull(pushed, tmp_path / "one")
    assert client.pull(pushed, tmp_path / "two").downloaded_bytes == 0
    assert tree_of(tmp_path / "two") == MODEL


def test_an_edit_of_a_pulled_file_reaches_no_other_pull(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path
) -> None:
    client.pull(pushed, tmp_path / "one")
    client.pull(pushed, tmp_path / "two")
    for name in MODEL:
        with (tmp_path / "one" / name).open("r+b") as file:
            file.write(b"!")
    assert tree_of(tmp_path / "two") == MODEL
    assert client.pull(pushed, tmp_path / "three").downloaded_bytes == SIZE
    assert tree_of(tmp_path / "three") == MODEL


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 300_000])
def test_a_damaged_entry_of_the_cache_is_not_served_and_is_replaced(
    client: steelyard.Client, pushed: steelyard.Version, cache: Path, tmp_path: Path, damage: bytes
) -> None:
    client.pull(pushed, tmp_path / "one")
    (entry,) = (path for path in blobs(cache) if path.stat().st_size == 300_000)
    entry.unlink()
    entry.write_bytes(damage)
    assert client.pull(pushed, tmp_path / "two").downloaded_bytes == 300_000
    assert tree_of(tmp_path / "two") == MODEL
    assert client.pull(pushed, tmp_path / "three").downloaded_bytes == 0


def test_a_cache_that_cannot_be_used_only_costs_time(
    client: steelyard.Client, pushed: steelyard.Version, cache: Path, tmp_path: Path
) -> None:
    cache.rename(tmp_path / "moved") if cache.exists() else None
    cache.write_bytes(b"a file where the cache should be")
    for name in ("one", "two"):
        assert client.pull(pushed, tmp_path / name).downloaded_bytes == SIZE
        assert tree_of(tmp_path / name) == MODEL


def test_above_its_limit_the_cache_forgets_what_was_used_least_lately(
    client: steelyard.Client, shared: ServerProcess, cache: Path, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        client.push("fraud", write_tree(tmp_path / str(number), {"data": bytes([number]) * 400_000}))
    full = client.get("fraud").model
    with steelyard.Client(shared.address, cache_bytes=1_000_000) as small:
        small.pull(f"{full}:1", tmp_path / "a")
        os.utime(blobs(cache)[0], (1, 1))
        small.pull(f"{full}:2", tmp_path / "b")
        for path in blobs(cache):
            os.utime(path, (2, 2)) if path.stat().st_mtime > 1 else None
        assert small.pull(f"{full}:1", tmp_path / "c").downloaded_bytes == 0
        small.pull(f"{full}:3", tmp_path / "d")
        kept = {path.read_bytes()[0] for path in blobs(cache)}
    assert kept == {1, 3}


def test_a_cache_of_no_bytes_keeps_nothing(shared: ServerProcess, tmp_path: Path, cache: Path) -> None:
    with steelyard.Client(shared.address, cache_bytes=0) as plain:
        model = f"plain {tmp_path.name}"
        plain.push(model, write_tree(tmp_path / "model", MODEL))
        for name in ("one", "two"):
            assert plain.pull(model, tmp_path / name).downloaded_bytes == SIZE
    assert not blobs(cache)


def test_a_disk_that_fills_up_while_the_cache_is_copied_from_puts_nothing_in_place(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path
) -> None:
    client.pull(pushed, tmp_path / "one")
    with full_disk(299_999), pytest.raises(errors.LocalFileError, match="cannot be written"):
        client.pull(pushed, tmp_path / "two")
    assert not (tmp_path / "two").exists()
    client.pull(pushed, tmp_path / "two")
    assert tree_of(tmp_path / "two") == MODEL
    assert not remains(tmp_path)


def test_entries_that_cannot_be_removed_do_not_fail_a_pull(
    client: steelyard.Client, shared: ServerProcess, pushed: steelyard.Version, cache: Path, tmp_path: Path
) -> None:
    client.pull(pushed, tmp_path / "one")
    directories = [path for path in (cache / "blobs").iterdir() if path.is_dir()]
    for each in directories:
        each.chmod(0o500)
    try:
        with steelyard.Client(shared.address, cache_bytes=1) as small:
            without_privileges(lambda: small.pull(pushed, tmp_path / "two"))
    finally:
        for each in directories:
            each.chmod(0o700)
    assert tree_of(tmp_path / "two") == MODEL
    assert len(blobs(cache)) == len(MODEL)
