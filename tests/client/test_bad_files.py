"""Local files that cannot be pushed honestly are refused by name, and no version appears."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import steelyard
from steelyard import errors, reasons
from steelyard.progress import Progress
from tests.client.privileges import without_privileges
from tests.client.trees import MIB, MODEL, large_file, write_tree


def assert_nothing_was_made(client: steelyard.Client) -> None:
    assert not list(client.models.list())


@pytest.mark.parametrize("target", ["../outside", "weights.onnx", "docs", "missing", "/etc"])
def test_a_symbolic_link_is_refused_by_name_wherever_it_points(
    client: steelyard.Client, tmp_path: Path, target: str
) -> None:
    write_tree(tmp_path, {"outside": b"secret"})
    directory = write_tree(tmp_path / "model", MODEL)
    (directory / "link").symlink_to(target)
    with pytest.raises(errors.SymlinkRefused, match=r"model/link is a symbolic link.*\.steelyardignore"):
        client.push("fraud", directory)
    assert_nothing_was_made(client)


def test_a_link_that_is_left_out_does_not_matter(client: steelyard.Client, tmp_path: Path) -> None:
    directory = write_tree(tmp_path / "model", MODEL | {".steelyardignore": b"link\n"})
    (directory / "link").symlink_to("/etc")
    assert client.push("fraud", directory).version.file_count == len(MODEL)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_pushed_may_not_be_a_link_itself(client: steelyard.Client, tmp_path: Path, kind: str) -> None:
    directory = write_tree(tmp_path / "model", MODEL)
    (tmp_path / "link").symlink_to(directory / "config.json" if kind == "file" else directory)
    with pytest.raises(errors.SymlinkRefused):
        client.push("fraud", tmp_path / "link")
    assert_nothing_was_made(client)


@pytest.mark.parametrize("name", ["config.json", "docs", "."])
def test_what_cannot_be_read_is_refused_by_name(client: steelyard.Client, tmp_path: Path, name: str) -> None:
    directory = write_tree(tmp_path / "model", MODEL)
    locked = directory / name
    locked.chmod(0)
    try:
        with pytest.raises(errors.FileUnreadable, match=rf"{locked.name}.*ermission denied"):
            without_privileges(lambda: client.push("fraud", directory))
    finally:
        locked.chmod(0o755)
    assert_nothing_was_made(client)


def test_a_path_below_a_directory_that_cannot_be_entered_is_a_sentence(
    client: steelyard.Client, tmp_path: Path
) -> None:
    directory = write_tree(tmp_path / "locked" / "model", MODEL).parent
    directory.chmod(0)
    try:
        with pytest.raises(errors.LocalFileError, match="model"):
            without_privileges(lambda: client.push("fraud", directory / "model"))
    finally:
        directory.chmod(0o755)


def test_a_pipe_among_the_files_is_refused_and_not_waited_for(
    client: steelyard.Client, tmp_path: Path
) -> None:
    directory = write_tree(tmp_path / "model", MODEL)
    os.mkfifo(directory / "pipe")
    with pytest.raises(errors.FileUnreadable, match="pipe is no regular file"):
        client.push("fraud", directory)
    assert_nothing_was_made(client)


@pytest.mark.parametrize("kind", ["missing", "empty", "all left out"])
def test_a_path_with_nothing_to_push_is_refused(client: steelyard.Client, tmp_path: Path, kind: str) -> None:
    if kind != "missing":
        (tmp_path / "model").mkdir()
    if kind == "all left out":
        write_tree(tmp_path / "model", {"a": b"", ".steelyardignore": b"*\n"})
    with pytest.raises(errors.LocalFileError, match="There is no"):
        client.push("fraud", tmp_path / "model")
    assert_nothing_was_made(client)


def test_a_name_that_is_not_text_is_refused(client: steelyard.Client, tmp_path: Path) -> None:
    directory = write_tree(tmp_path / "model", MODEL)
    (directory / os.fsdecode(b"bad\xff")).write_bytes(b"")
    with pytest.raises(errors.FileUnreadable, match="not UTF-8"):
        client.push("fraud", directory)
    assert_nothing_was_made(client)


@pytest.mark.parametrize("name", ["a\nb", "cafe\u0301", "x" * 200 + "/" + "y" * 200, "back\\slash"])
def test_what_the_server_says_of_a_path_reaches_the_caller(
    client: steelyard.Client, tmp_path: Path, name: str
) -> None:
    deep = "/".join([name] * 3)
    directory = write_tree(tmp_path / "model", MODEL | {deep: b""})
    with pytest.raises(reasons.InvalidFilePath) as refused:
        client.push("fraud", directory)
    assert refused.value.field.startswith("content.files")
    assert_nothing_was_made(client)


@pytest.mark.parametrize("name", ["WEIGHTS.onnx", "Docs/readme.MD"])
def test_paths_that_differ_by_letter_case_only_are_refused(
    client: steelyard.Client, tmp_path: Path, name: str
) -> None:
    with pytest.raises(errors.InvalidArgument):
        client.push("fraud", write_tree(tmp_path / "model", MODEL | {name: b"other"}))


def rewrite(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def cut(path: Path) -> None:
    os.truncate(path, 5 * MIB)


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(b"x" * path.stat().st_size)
    path.with_name("new").replace(path)


@pytest.mark.parametrize("change", [rewrite, append, cut, replace, Path.unlink])
@pytest.mark.parametrize("name", ["large.bin", "small.bin"])
def test_a_file_that_changes_while_it_is_pushed_ends_the_push_without_a_version(
    client: steelyard.Client, tmp_path: Path, change: Callable[[Path], None], name: str
) -> None:
    directory = write_tree(tmp_path / "model", {"small.bin": b"s" * 10_000})
    large_file(directory / "large.bin", size_mib=12)
    changed: list[Progress] = []

    def spoil(progress: Progress) -> None:
        if progress.phase == "upload" and progress.done_bytes > 4 * MIB and not changed:
            changed.append(progress)
            change(directory / name)

    with pytest.raises((errors.FileChanged, errors.FileUnreadable), match=name):
        client.push("fraud", directory, progress=spoil)
    assert changed
    assert_nothing_was_made(client)


def test_a_file_that_changed_behind_its_remembered_digest_is_found_out_and_pushed_the_next_time(
    client: steelyard.Client, tmp_path: Path
) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=1)
    os.utime(path, (1_000_000, 1_000_000))
    client.push("fraud", path)
    client.namespaces.create(other := client.get("fraud").model.partition("/")[0] + "x")
    with path.open("r+b") as file:
        file.write(b"changed")
    os.utime(path, (1_000_000, 1_000_000))

    with pytest.raises(errors.FileChanged, match="push again"):
        client.push(f"{other}/fraud", path)
    client.push(f"{other}/fraud", path)
    assert client.read(f"{other}/fraud", "large.bin") == path.read_bytes()


def test_a_settled_file_is_not_read_again(client: steelyard.Client, tmp_path: Path) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=2)
    os.utime(path, (1_000_000, 1_000_000))
    client.push("fraud", path)
    phases: list[str] = []
    client.push("fraud", path, progress=lambda progress: phases.append(progress.phase))
    assert not phases


def test_a_file_that_was_just_written_is_read_again(client: steelyard.Client, tmp_path: Path) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=2)
    client.push("fraud", path)
    phases: list[str] = []
    client.push("fraud", path, progress=lambda progress: phases.append(progress.phase))
    assert set(phases) == {"hash"}


def test_a_cache_of_digests_that_is_damaged_only_costs_time(
    client: steelyard.Client, cache: Path, tmp_path: Path
) -> None:
    write_tree(cache, {"digests.sqlite3": b"no database" * 100})
    path = large_file(tmp_path / "large.bin", size_mib=1)
    os.utime(path, (1_000_000, 1_000_000))
    assert client.push("fraud", path).created
    assert client.push("fraud", path).uploaded_bytes == 0
