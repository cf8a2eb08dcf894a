"""Version files, and files of metrics and parameters: each mistake is named by its place."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import steelyard
from steelyard.cli import version_file
from steelyard.errors import FileUnreadable, InvalidArgument
from tests.client.trees import write_tree

ERRORS: dict[str, tuple[str, list[str]]] = {
    "an unknown key": ("mertics: {}", ["mertics is no known key", "did you mean 'metrics'"]),
    "a key like none": ("x: 1", ["x is no known key; there are aliases, datasets, description"]),
    "a key of an argument that is written otherwise": ("alias: a", ["did you mean 'aliases'"]),
    "an unknown key of an entry": (
        "datasets: [{name: a}, {name: b, rolle: train}]",
        ["datasets[1].rolle", "did you mean 'role'"],
    ),
    "an unknown key of the source": ("source: {comit: a}", ["source.comit", "did you mean 'commit'"]),
    "an unknown key of a field": (
        "schema: {inputs: [{name: x, type: a, shpae: [1]}]}",
        ["schema.inputs[0].shpae", "did you mean 'shape'"],
    ),
    "an unknown key beside a path": (
        "datasets: [{path: data, digest: x}]",
        ["datasets[0].digest", "no known key"],
    ),
    "what an entry must have": ("references: [{path: a}]", ["references[0] has no uri."]),
    "a list where a mapping belongs": ("metrics: [1]", ["metrics is no mapping"]),
    "a mapping where a list belongs": ("datasets: {train: a}", ["datasets is no list", "dash"]),
    "a text where a mapping belongs": ("framework: onnx", ["framework is no mapping"]),
    "a metric that is a text": ("metrics: {a: high}", ["metrics.a is no number"]),
    "a metric that is a truth value": ("metrics: {a: true}", ["metrics.a is no number"]),
    "a metric that is nothing": ("metrics: {a: }", ["metrics.a is no number"]),
    "a metric that is a list": ("metrics: {a: [1]}", ["metrics.a is no number"]),
    "a metric twice": ("metrics: {a.b: 1, a: {b: 2}}", ["metrics.a.b is there twice"]),
    "a key twice": ("labels:\n  a: x\n  a: y\n", ["line 3: 'a' is there twice"]),
    "a text that is a truth value": ("description: true", ["description is no text", "quotes"]),
    "a truth value that is a text": ("source: {dirty: maybe}", ["source.dirty is neither true nor false"]),
    "a size that is no whole number": (
        "references: [{path: a, uri: b, size_bytes: 1.5}]",
        ["references[0].size_bytes is no whole number"],
    ),
    "a shape with a name": (
        "schema: {inputs: [{name: x, type: a, shape: [batch]}]}",
        ["schema.inputs[0].shape[0] is no whole number"],
    ),
    "a number of 5,000 digits": (f"parameters: {{seed: {'1' * 5000}}}", ["bad.yaml", "digits"]),
    "no YAML": ("a:\n  - [1", ["bad.yaml: line 2"]),
    "a tab": ("a:\n\tb: 1", ["bad.yaml: line 2"]),
    "two documents": ("---\nreason: a\n---\nreason: b\n", ["bad.yaml: line"]),
    "a list at the top": ("- a\n", ["the document is no mapping"]),
    "an alias": ("labels: &x {a: b}\nroles: *x\n", ["line 2: an alias is used"]),
    "a bomb of aliases": (
        "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in ("ab", "bc", "cd", "de")),
        ["an alias is used"],
    ),
    "an object of Python": ("description: !!python/object/apply:os.getcwd []", ["bad.yaml: line 1"]),
    "a mapping as a key": ("{a: b}: c\n", ["line 1: a key is no text"]),
    "nothing but brackets": ("[" * 20_000, ["bad.yaml"]),
}  # fmt: skip


@pytest.fixture
def client(tmp_path: Path) -> Iterator[steelyard.Client]:
    """Make a client that is asked for nothing."""
    with steelyard.Client("127.0.0.1:9", cache_dir=tmp_path / "cache") as made:
        yield made


@pytest.mark.parametrize(("text", "words"), ERRORS.values(), ids=ERRORS)
def test_a_mistake_in_a_version_file_names_its_place(
    client: steelyard.Client, tmp_path: Path, text: str, words: list[str]
) -> None:
    write_tree(tmp_path, {"bad.yaml": text.encode()})
    with pytest.raises(InvalidArgument) as refused:
        version_file.read(tmp_path / "bad.yaml", client=client)
    assert str(refused.value).startswith(str(tmp_path / "bad.yaml"))
    assert [word for word in words if word not in str(refused.value)] == [], str(refused.value)


FILES: dict[str, tuple[str, bytes, type[Exception], str]] = {
    "no JSON": ("a.json", b"{'a': 1}", InvalidArgument, "line 1"),
    "a key twice": ("a.json", b'{"a": 1, "a": 2}', InvalidArgument, "'a' is there twice"),
    "a list": ("a.json", b"[1]", InvalidArgument, "no mapping"),
    "no UTF-8": ("a.yaml", b"a: \xff\xfe", InvalidArgument, "utf-8"),
    "control characters": ("a.yaml", b"a: \x00", InvalidArgument, "special characters"),
    "more than a megabyte": ("a.yaml", b"#" * (1 << 20) + b"\n", FileUnreadable, "more than 1 MiB"),
    "deep JSON": ("a.json", b'{"a":' * 100_000, InvalidArgument, "nested too deeply"),
    "a directory": ("a.yaml/b", b"", FileUnreadable, "directory"),
    "nothing there": ("b.yaml", b"", FileUnreadable, "No such file"),
}


@pytest.mark.parametrize(("name", "data", "kind", "words"), FILES.values(), ids=FILES)
def test_a_file_that_cannot_be_used_is_a_sentence(
    tmp_path: Path, name: str, data: bytes, kind: type[Exception], words: str
) -> None:
    write_tree(tmp_path, {name: data})
    path = tmp_path / ("a.json" if name == "a.json" else "a.yaml")
    with pytest.raises(kind, match=words):
        version_file.parameters(path)


def test_a_dataset_that_is_not_there_is_a_sentence(client: steelyard.Client, tmp_path: Path) -> None:
    write_tree(tmp_path, {"a.yaml": b"datasets: [{path: gone.csv}]"})
    with pytest.raises(FileUnreadable, match=r"gone.csv cannot be read"):
        version_file.read(tmp_path / "a.yaml", client=client)


def test_an_empty_file_says_nothing(client: steelyard.Client, tmp_path: Path) -> None:
    write_tree(tmp_path, {"a.yaml": b"# nothing\n"})
    assert version_file.read(tmp_path / "a.yaml", client=client) == {"alias": []}


def test_every_argument_of_a_push_has_a_key_and_one_without_a_value_says_nothing(
    client: steelyard.Client, tmp_path: Path
) -> None:
    keys = set(inspect.signature(steelyard.Client.push).parameters) | {"aliases"}
    keys -= {"self", "model", "path", "capture", "environment", "progress", "stop", "alias"}
    write_tree(tmp_path, {"a.yaml": "".join(f"{name}:\n" for name in keys).encode()})
    assert version_file.read(tmp_path / "a.yaml", client=client) == {"alias": []}
