"""Which files below a directory are pushed, under which paths and roles."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard.scan import DEFAULT_EXCLUDES, guess_role, scan
from tests.client.trees import write_tree


def paths_of(directory: Path) -> list[str]:
    return [file.path for file in scan(directory, roles={}).files]


def test_paths_are_relative_and_sorted(tmp_path: Path) -> None:
    write_tree(tmp_path, {"b": b"", "a/c": b"", "a.b": b"", "Z": b"", "ä": b""})
    assert paths_of(tmp_path) == ["Z", "a.b", "a/c", "b", "ä"]


def test_the_current_directory_can_be_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_tree(tmp_path, {"a": b"", "b/c": b""}))
    assert paths_of(Path()) == ["a", "b/c"]


@pytest.mark.parametrize("pattern", DEFAULT_EXCLUDES)
def test_what_tools_leave_behind_is_left_out_at_any_depth_and_said(tmp_path: Path, pattern: str) -> None:
    name = pattern.replace("*", "x").replace("[co]", "c")
    leaf = f"{name}file" if name.endswith("/") else name
    write_tree(tmp_path, {f"deep/{leaf}": b"", leaf: b"", "model": b""})
    found = scan(tmp_path, roles={})
    assert [file.path for file in found.files] == ["model"]
    assert found.excluded == tuple(sorted([name, f"deep/{name}"]))


def test_the_ignore_file_can_bring_back_what_is_left_out_otherwise(tmp_path: Path) -> None:
    write_tree(tmp_path, {".steelyardignore": b"!*.pyc\n", "a.pyc": b"", "b.pyo": b""})
    assert paths_of(tmp_path) == ["a.pyc"]


def test_a_directory_that_is_left_out_is_not_entered(tmp_path: Path) -> None:
    directory = write_tree(tmp_path, {"data/x": b"", "model": b"", ".steelyardignore": b"/data/\n"})
    (directory / "data" / "link").symlink_to("/etc")
    assert paths_of(tmp_path) == ["model"]


def test_an_ignore_file_below_the_root_is_an_ordinary_file_that_is_left_out(tmp_path: Path) -> None:
    write_tree(tmp_path, {"a/.steelyardignore": b"*\n", "a/b": b""})
    assert paths_of(tmp_path) == ["a/b"]


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("model.onnx", "weights"),
        ("a/b/model-00001-of-00002.safetensors", "weights"),
        ("config.json", "config"),
        ("conf/train.yaml", "config"),
        ("conda.yaml", "lock"),
        ("uv.lock", "lock"),
        ("requirements-dev.txt", "lock"),
        ("tokenizer.json", "preprocessing"),
        ("vocab.txt", "preprocessing"),
        ("preprocess.onnx", "preprocessing"),
        ("README.md", "doc"),
        ("triton/config.pbtxt", "serving-config"),
        ("data.txt", "other"),
        ("onnx", "other"),
        ("model.onnx.bak", "other"),
    ],
)
def test_the_name_of_a_file_suggests_its_role(path: str, role: str) -> None:
    assert guess_role(path) == role
