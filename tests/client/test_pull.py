"""A pull brings exactly the bytes of the version, whole or not at all, and each of them once."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

import steelyard
from steelyard import errors, reasons
from steelyard.progress import Progress
from tests.client.proxies import proxy
from tests.client.trees import MIB, MODEL, large_file, remains, tree_of, write_tree
from tests.servers import ServerProcess

SIZE = sum(map(len, MODEL.values()))


class GivenUp(Exception):
    """Raised by a progress callback."""


@pytest.fixture
def pushed(client: steelyard.Client, tmp_path: Path) -> steelyard.Version:
    """Push the usual files as `fraud`."""
    return client.push("fraud", write_tree(tmp_path / "model", MODEL)).version


def test_a_pull_makes_a_directory_with_exactly_the_files(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path
) -> None:
    pulled = client.pull("fraud:1", tmp_path / "deep" / "copy")
    assert tree_of(tmp_path / "deep" / "copy") == MODEL
    assert (pulled.version, pulled.downloaded_bytes) == (pushed, SIZE)
    assert [file.path for file in pulled.files] == sorted(MODEL)
    assert not remains(tmp_path / "deep")


@pytest.mark.parametrize("ref", ["fraud", "fraud:1", "fraud:1.4.0", "fraud@champion", "digest"])
def test_every_kind_of_reference_pulls(client: steelyard.Client, tmp_path: Path, ref: str) -> None:
    directory = write_tree(tmp_path / "model", MODEL)
    version = client.push("fraud", directory, semantic_version="1.4.0", alias="champion").version
    client.pull(f"fraud@{version.digest}" if ref == "digest" else ref, tmp_path / "copy")
    assert tree_of(tmp_path / "copy") == MODEL


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["*.json"], ["config.json"]),
        (["docs/"], ["docs/README.md"]),
        (["*", "!*.onnx"], ["config.json", "docs/README.md"]),
        (["weights.onnx", "*.md"], ["docs/README.md", "weights.onnx"]),
    ],
)
def test_only_what_is_included_is_pulled(
    client: steelyard.Client,
    pushed: steelyard.Version,
    tmp_path: Path,
    patterns: list[str],
    expected: list[str],
) -> None:
    client.pull(pushed, tmp_path / "copy", include=patterns)
    assert sorted(tree_of(tmp_path / "copy")) == expected


def test_patterns_that_match_nothing_are_an_error_that_names_them(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path
) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"\*\.gguf"):
        client.pull(pushed, tmp_path / "copy", include=["*.gguf"])
    assert not (tmp_path / "copy").exists()


def test_a_destination_with_something_in_it_is_left_alone(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path
) -> None:
    write_tree(tmp_path / "copy", {"mine": b"mine"})
    with pytest.raises(errors.DestinationNotEmpty, match="copy"):
        client.pull(pushed, tmp_path / "copy")
    assert tree_of(tmp_path / "copy") == {"mine": b"mine"}


def test_an_empty_destination_is_taken(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    client.pull(pushed, tmp_path / "copy")
    assert tree_of(tmp_path / "copy") == MODEL


def test_overwrite_replaces_all_that_was_there(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path
) -> None:
    write_tree(tmp_path / "copy", {"mine": b"mine", "config.json": b"old"})
    client.pull(pushed, tmp_path / "copy", overwrite=True)
    assert tree_of(tmp_path / "copy") == MODEL
    assert not remains(tmp_path)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_a_link_at_the_destination_is_never_replaced(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path, kind: str
) -> None:
    target = write_tree(tmp_path / "target", {"mine": b"mine"})
    if kind == "link":
        (tmp_path / "copy").symlink_to(target)
    else:
        (tmp_path / "copy").write_bytes(b"mine")
    with pytest.raises(errors.DestinationNotEmpty):
        client.pull(pushed, tmp_path / "copy", overwrite=True)
    assert tree_of(target) == {"mine": b"mine"}
    assert (tmp_path / "copy").exists()


def test_the_directory_that_one_stands_in_cannot_be_the_destination(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(errors.DestinationNotEmpty, match="current directory"):
        client.pull(pushed, ".")
    assert Path.cwd() == here


def test_a_destination_that_cannot_be_made_is_a_sentence(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path
) -> None:
    write_tree(tmp_path, {"file": b""})
    with pytest.raises(errors.LocalFileError, match="file"):
        client.pull(pushed, tmp_path / "file" / "copy")


def test_a_pull_that_broke_off_leaves_nothing_at_the_destination_and_goes_on_where_it_was(
    client: steelyard.Client, shared: ServerProcess, tmp_path: Path
) -> None:
    version = client.push("fraud", large_file(tmp_path / "large.bin", size_mib=24)).version
    seen: list[Progress] = []

    def give_up(progress: Progress) -> None:
        seen.append(progress)
        if progress.done_bytes > 16 * MIB:
            raise GivenUp

    with proxy(shared.address) as between, steelyard.Client(between.address) as broken:
        with pytest.raises(GivenUp):
            broken.pull(version, tmp_path / "copy", progress=give_up)
        assert not (tmp_path / "copy").exists()
        assert remains(tmp_path) == [f".copy.{version.digest[-16:]}.partial"]
        before = between.answered_bytes
        broken.pull(version, tmp_path / "copy")
        assert between.answered_bytes - before < 9 * MIB
    assert tree_of(tmp_path / "copy") == {"large.bin": (tmp_path / "large.bin").read_bytes()}
    assert not remains(tmp_path)


def test_parts_of_a_broken_pull_that_were_damaged_are_fetched_anew(
    client: steelyard.Client, tmp_path: Path
) -> None:
    version = client.push("fraud", large_file(tmp_path / "large.bin", size_mib=4)).version
    workspace = tmp_path / f".copy.{version.digest[-16:]}.partial"
    name = version.files[0].digest.removeprefix("sha256:")
    for damage in (b"x" * MIB, b"x" * 5 * MIB):
        write_tree(workspace, {f"parts/{name}": damage})
        client.pull(version, tmp_path / "copy", overwrite=True)
        assert tree_of(tmp_path / "copy") == {"large.bin": (tmp_path / "large.bin").read_bytes()}


def test_a_pull_to_where_the_same_version_is_being_pulled_is_refused(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path
) -> None:
    workspace = tmp_path / f".copy.{pushed.digest[-16:]}.partial"
    workspace.mkdir()
    with (workspace / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(errors.LocalFileError, match="Another pull"):
            client.pull(pushed, tmp_path / "copy")


def test_a_file_is_read_in_chunks_or_whole(client: steelyard.Client, tmp_path: Path) -> None:
    path = large_file(tmp_path / "large.bin", size_mib=3)
    client.push("fraud", path)
    with client.open("fraud", "large.bin") as chunks:
        parts = list(chunks)
    assert len(parts) > 1
    assert b"".join(parts) == path.read_bytes() == client.read("fraud:1", "large.bin")


def test_reading_may_stop_in_the_middle_of_a_file(client: steelyard.Client, tmp_path: Path) -> None:
    client.push("fraud", large_file(tmp_path / "large.bin", size_mib=8))
    with client.open("fraud", "large.bin") as chunks:
        next(chunks)
    assert client.get("fraud").number == 1


def test_a_file_that_a_version_has_not_is_not_found_and_the_error_says_where_to_look(
    client: steelyard.Client, pushed: steelyard.Version
) -> None:
    with pytest.raises(reasons.FileNotFound, match=f"steelyard files {pushed}"):
        client.read("fraud", "model.onnx")


def test_verify_reads_every_byte_here_or_there(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path
) -> None:
    assert [file.path for file in client.verify("fraud").files] == sorted(MODEL)
    client.pull("fraud", tmp_path / "copy")
    assert client.verify("fraud", tmp_path / "copy").version == pushed
    assert client.verify("fraud", tmp_path / "copy").others == ()
    (tmp_path / "copy" / "more").mkdir()
    (tmp_path / "copy" / "more" / "hook.py").write_text("import os")
    assert client.verify("fraud", tmp_path / "copy").others == ("more/hook.py",)
    with (tmp_path / "copy" / "weights.onnx").open("r+b") as file:
        file.seek(200_000)
        file.write(bytes([MODEL["weights.onnx"][200_000] ^ 1]))
    (tmp_path / "copy" / "config.json").unlink()
    with pytest.raises(errors.DataLoss, match=r"2 of 3 .*config\.json is missing; weights\.onnx has other"):
        client.verify("fraud", tmp_path / "copy")


def test_verify_does_not_miss_the_lock_file_that_a_push_added(
    client: steelyard.Client, tmp_path: Path
) -> None:
    directory = write_tree(tmp_path / "captured", MODEL)
    client.push("captured", directory, capture=True)
    found = client.verify("captured", directory)
    assert [file.path for file in found.files] == sorted(MODEL)
    assert [file.path for file in found.left_out] == ["steelyard.lock"]
    write_tree(directory, {"steelyard.lock": b"another"})
    with pytest.raises(errors.DataLoss, match=r"steelyard\.lock has other bytes"):
        client.verify("captured", directory)


def test_verify_needs_a_directory(
    client: steelyard.Client, pushed: steelyard.Version, tmp_path: Path
) -> None:
    with pytest.raises(errors.LocalFileError, match="no directory"):
        client.verify("fraud", tmp_path / "missing")
