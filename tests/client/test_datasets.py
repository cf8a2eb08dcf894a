"""A dataset on this machine is named by all of its bytes, or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import steelyard
from steelyard import errors
from tests.client.privileges import without_privileges
from tests.client.trees import write_tree

DIRECTORY = {"a/c": b"1", "a.b": b"2", "a/b/d": b"3", "Z": b"4", "\u00e4": b"5"}


def named(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    write_tree(tmp_path, {"train.csv": b"a,b\n"})
    found = steelyard.Dataset.from_path(tmp_path / "train.csv", role="train")
    assert found == steelyard.Dataset("train", role="train", digest=named(b"a,b\n"))


def test_the_digest_of_a_directory_is_that_of_its_lines_in_the_order_of_the_paths(tmp_path: Path) -> None:
    """A dot comes before a slash, so that files beside a directory come before those in it."""
    ordered = ["Z", "a.b", "a/b/d", "a/c", "\u00e4"]
    lines = [f"{hashlib.sha256(DIRECTORY[path]).hexdigest()}  {path}\n" for path in ordered]
    found = steelyard.Dataset.from_path(write_tree(tmp_path / "set", DIRECTORY))
    assert (found.name, found.digest) == ("set", named("".join(lines).encode()))


@pytest.mark.parametrize("target", ["../outside", "../outside/x", "Z", "missing"])
def test_a_link_in_a_directory_is_refused_by_name_wherever_it_points(tmp_path: Path, target: str) -> None:
    write_tree(tmp_path / "outside", {"x": b"other bytes tomorrow"})
    directory = write_tree(tmp_path / "set", DIRECTORY)
    (directory / "a" / "link").symlink_to(target)
    with pytest.raises(errors.SymlinkRefused, match="a/link"):
        steelyard.Dataset.from_path(directory)


@pytest.mark.parametrize("name", ["a", "a/b", "a/c", "."])
def test_what_cannot_be_read_in_a_directory_is_refused_by_name(tmp_path: Path, name: str) -> None:
    directory = write_tree(tmp_path / "set", DIRECTORY)
    locked = directory / name
    locked.chmod(0)
    try:
        with pytest.raises(errors.FileUnreadable, match=rf"{locked.name} cannot be read"):
            without_privileges(lambda: steelyard.Dataset.from_path(directory))
    finally:
        locked.chmod(0o755)


def test_a_dataset_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(errors.FileUnreadable, match="No such file"):
        steelyard.Dataset.from_path(tmp_path / "missing")
