"""Which paths a file of a version may have, one row for each rule."""

from __future__ import annotations

import pytest

from steelyard_server.core import paths
from steelyard_server.errors import InvalidFilePath
from steelyard_server.limits import LIMITS

LONGEST = "/".join(["d" * 255] * 4)


@pytest.mark.parametrize(
    "path",
    [
        "model.onnx",
        "weights/part-00001-of-00002.safetensors",
        ".hidden",
        "a b/c (1).txt",
        "日本語/é.bin",
        "console.txt",
        "...a",
        "x" * 255,
        LONGEST,
    ],
)
def test_a_path_may_be(path: str) -> None:
    assert paths.check(path, field="path") == path


@pytest.mark.parametrize(
    ("why", "path"),
    [
        ("is empty", ""),
        ("not a relative path", "/etc/passwd"),
        ("not a relative path", "//host/share"),
        ("not a relative path", "a\\b"),
        ("not a relative path", "..\\a"),
        ("'..'", "../a"),
        ("'..'", "a/../../b"),
        ("'..'", "a/.."),
        ("'.'", "./a"),
        ("'.'", "a/./b"),
        ("''", "a//b"),
        ("''", "a/"),
        ("control characters", "a\0b"),
        ("control characters", "a\nb"),
        ("control characters", "a\u2028b"),
        ("normalization form C", "e\u0301.bin"),
        ("space or a dot", "a /b"),
        ("space or a dot", "a."),
        ("device on Windows", "C:/a"),
        ("device on Windows", "a/NUL"),
        ("device on Windows", "com1.txt"),
        ("part of more than 255 bytes", "x" * 256),
        ("part of more than 255 bytes", "é" * 128),
        ("more than 1024 bytes", LONGEST + "/x"),
    ],
)
def test_a_path_may_not_be(why: str, path: str) -> None:
    with pytest.raises(InvalidFilePath) as refused:
        paths.check(path, field="content.files.path")
    assert why in refused.value.message
    assert refused.value.field == "content.files.path"
    assert refused.value.metadata["path"].isprintable()


@pytest.mark.parametrize(
    ("why", "together"),
    [
        ("twice", ["a.bin", "a.bin"]),
        ("twice", ["a.bin", "b", "A.BIN"]),
        ("twice", ["straße", "STRASSE"]),
        ("twice", ["Data/x", "data/X"]),
        ("a file and a directory", ["a", "a/b"]),
        ("a file and a directory", ["a/b/c", "A/B"]),
        ("''", ["a", "b/"]),
    ],
)
def test_paths_that_would_meet_on_some_file_system_are_refused(why: str, together: list[str]) -> None:
    with pytest.raises(InvalidFilePath) as refused:
        paths.check_all(together, field="path")
    assert why in refused.value.message


def test_paths_that_only_begin_alike_go_together() -> None:
    paths.check_all(["a", "ab/c", "ab/d", "b/a", "a.b"], field="path")


def test_the_longest_path_is_as_long_as_the_limits_say() -> None:
    assert len(LONGEST) == LIMITS.file_path_bytes - 1
