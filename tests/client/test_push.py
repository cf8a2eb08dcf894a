"""A push carries everything that a version has, and sends only what the server has not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import steelyard
from steelyard import content, errors, reasons
from tests.client.trees import MODEL, large_file, tree_of, write_tree

DIGEST = "sha256:" + "ab" * 32
METRICS = {
    "precision": 0.1 + 0.2,
    "precision@holdout": -0.0,
    "precision@holdout[region=EU, age≥40]": 5e-324,
    '"top@5"@holdout': 1.7976931348623157e308,
    "verlust ß 損失": -1e-7,
    "up": math.inf,
    "down": -math.inf,
    "nothing": math.nan,
}
PARAMETERS: dict[str, content.ParameterValue] = {
    "smallest": -(2**63),
    "largest": 2**63 - 1,
    "yes": True,
    "no": False,
    "zero": 0,
    "third": 1 / 3,
    "minus zero": -0.0,
    "none": math.nan,
    "text": 'Grüße 🎉 "quoted" \\ 日本語\n\u2028',
    "empty": "",
    "looks like a number": "1",
}


def pushed_with(
    client: steelyard.Client, directory: Path, parts: dict[str, object]
) -> tuple[steelyard.Version, steelyard.Version]:
    """Push *parts*; return the version as create and as a later read answer it."""
    made: steelyard.Version = client.push("fraud", directory, **parts).version  # type: ignore[arg-type]
    return made, client.get("fraud:1")


def test_metrics_come_back_to_the_last_bit(client: steelyard.Client, tmp_path: Path) -> None:
    for found in pushed_with(client, write_tree(tmp_path / "m", MODEL), {"metrics": METRICS}):
        assert {name: repr(value) for name, value in found.metrics.items()} == {
            name: repr(value) for name, value in METRICS.items()
        }


def test_parameters_come_back_with_their_types_and_to_the_last_bit(
    client: steelyard.Client, tmp_path: Path
) -> None:
    for found in pushed_with(client, write_tree(tmp_path / "m", MODEL), {"parameters": PARAMETERS}):
        assert {name: repr(value) for name, value in found.parameters.items()} == {
            name: repr(value) for name, value in PARAMETERS.items()
        }


def test_datasets_parents_source_and_framework_come_back(client: steelyard.Client, tmp_path: Path) -> None:
    parts = {
        "datasets": (
            steelyard.Dataset("träning", role="train", uri="s3://data/train", version="2026-10"),
            steelyard.Dataset("holdout", digest=DIGEST),
        ),
        "parents": (
            steelyard.Parent("fine-tuned-from", digest=DIGEST),
            steelyard.Parent("quantized-from", uri="hf://org/model"),
        ),
        "source": steelyard.Source(
            "https://example.org/r.git", "c0ffee", dirty=False, run="run-1", pipeline="nightly", user="ada"
        ),
        "framework": steelyard.Framework("onnx", "1.19"),
    }
    for found in pushed_with(client, write_tree(tmp_path / "m", MODEL), parts):
        assert {name: getattr(found, name) for name in parts} == parts


def test_a_source_keeps_apart_clean_dirty_and_not_known(client: steelyard.Client, tmp_path: Path) -> None:
    for number, dirty in enumerate((None, True, False), start=1):
        directory = write_tree(tmp_path / str(number), MODEL)
        pushed = client.push("fraud", directory, source=steelyard.Source(commit="c0ffee", dirty=dirty))
        assert pushed.version.number == number
        assert pushed.version.source is not None
        assert pushed.version.source.dirty is dirty


def test_the_schema_comes_back(client: steelyard.Client, tmp_path: Path) -> None:
    schema = steelyard.Schema(
        inputs=(steelyard.SchemaField("x", "float32", (-1, 30)), steelyard.SchemaField("note", "string")),
        outputs=(steelyard.SchemaField("ŷ", "int64", (-1,), optional=True),),
    )
    made, read = pushed_with(client, write_tree(tmp_path / "m", MODEL), {"schema": schema})
    for found in (made.message.content.schema, read.message.content.schema):
        inputs = [(each.name, each.type, tuple(each.shape), each.optional) for each in found.inputs]
        assert inputs == [("x", "float32", (-1, 30), False), ("note", "string", (), False)]
        assert (found.outputs[0].name, tuple(found.outputs[0].shape)) == ("ŷ", (-1,))
        assert found.outputs[0].optional


def test_what_stands_around_the_content_comes_back(client: steelyard.Client, tmp_path: Path) -> None:
    parts: dict[str, object] = {
        "description": "Erste Fassung ✓",
        "labels": {"team": "risk", "größe": "klein"},
        "semantic_version": "1.4.0-rc.1",
        "idempotency_key": "build 7",
    }
    for found in pushed_with(client, write_tree(tmp_path / "m", MODEL), parts):
        assert {name: getattr(found, name) for name in parts} == parts
        assert found.creator.id == "ada"
        assert not found.creator.authenticated


def test_files_have_the_roles_that_their_names_suggest_or_the_caller_gives(
    client: steelyard.Client, tmp_path: Path
) -> None:
    directory = write_tree(tmp_path / "m", MODEL | {"data.bin2": b"x", "requirements.txt": b"onnx\n"})
    pushed = client.push("fraud", directory, roles={"data.bin2": "warm-up"})
    assert {file.path: file.role for file in pushed.version.files} == {
        "config.json": "config",
        "data.bin2": "warm-up",
        "docs/README.md": "doc",
        "requirements.txt": "lock",
        "weights.onnx": "weights",
    }


def test_one_file_is_a_version_of_its_name(client: steelyard.Client, tmp_path: Path) -> None:
    write_tree(tmp_path, {"model.onnx": b"weights"})
    client.push("fraud", tmp_path / "model.onnx")
    assert client.read("fraud", "model.onnx") == b"weights"


def test_an_empty_file_is_kept(client: steelyard.Client, tmp_path: Path) -> None:
    client.push("fraud", write_tree(tmp_path / "m", {"empty": b"", "full": b"1"}))
    client.pull("fraud", tmp_path / "copy")
    assert tree_of(tmp_path / "copy") == {"empty": b"", "full": b"1"}


def test_what_tools_write_and_the_ignore_file_names_stays_out(
    client: steelyard.Client, tmp_path: Path
) -> None:
    files = {
        ".git/config": b"",
        "__pycache__/a.pyc": b"",
        ".DS_Store": b"",
        ".steelyardignore": b"# mine\n*.log\n!keep.log\n/data/\n",
        "train.log": b"",
        "keep.log": b"",
        "data/raw": b"",
        "deep/data/raw": b"",
        "a.onnx": b"a",
    }
    pushed = client.push("fraud", write_tree(tmp_path / "m", files))
    assert [file.path for file in pushed.version.files] == ["a.onnx", "deep/data/raw", "keep.log"]
    expected = (".DS_Store", ".git/", ".steelyardignore", "__pycache__/", "data/", "train.log")
    assert pushed.excluded == expected


def test_the_first_push_makes_the_model_and_the_second_does_not(
    client: steelyard.Client, tmp_path: Path
) -> None:
    directory = write_tree(tmp_path / "m", MODEL)
    assert client.push("fraud", directory).model_created
    write_tree(directory, {"config.json": b"{}"})
    pushed = client.push("fraud", directory)
    assert (pushed.version.number, pushed.created, pushed.model_created) == (2, True, False)


def test_the_same_content_again_is_the_same_version_and_sends_nothing(
    client: steelyard.Client, tmp_path: Path
) -> None:
    directory = write_tree(tmp_path / "m", MODEL)
    large_file(directory / "large.bin", size_mib=3)
    first = client.push("fraud", directory)
    assert first.uploaded_bytes == sum(map(len, MODEL.values())) + 3 * 1024 * 1024
    again = client.push("fraud", write_tree(tmp_path / "copy", tree_of(directory)))
    assert (again.created, again.uploaded_bytes) == (False, 0)
    assert (again.version.number, again.version.digest) == (1, first.version.digest)


def test_equal_files_are_sent_once(client: steelyard.Client, tmp_path: Path) -> None:
    pushed = client.push("fraud", write_tree(tmp_path / "m", {"a": b"12345", "b/c": b"12345"}))
    assert pushed.uploaded_bytes == 5
    client.pull("fraud", tmp_path / "copy")
    assert tree_of(tmp_path / "copy") == {"a": b"12345", "b/c": b"12345"}


def test_a_change_of_one_file_sends_that_file_only(client: steelyard.Client, tmp_path: Path) -> None:
    directory = write_tree(tmp_path / "m", MODEL)
    client.push("fraud", directory)
    write_tree(directory, {"config.json": b"{}"})
    assert client.push("fraud", directory).uploaded_bytes == 2


def test_hundreds_of_small_files_go_and_come_back(client: steelyard.Client, tmp_path: Path) -> None:
    files = {f"shard-{number % 7}/{number}.bin": number.to_bytes(2) * 500 for number in range(700)}
    client.push("fraud", write_tree(tmp_path / "m", files))
    client.pull("fraud", tmp_path / "copy")
    assert tree_of(tmp_path / "copy") == files


def test_a_push_points_the_alias_to_its_version(client: steelyard.Client, tmp_path: Path) -> None:
    pushed = client.push("fraud", write_tree(tmp_path / "m", MODEL), alias="champion")
    assert pushed.version.aliases == ("champion",)
    assert client.get("fraud@champion").number == 1
    assert client.push("fraud", tmp_path / "m", alias=None).version.number == 1


def test_the_same_idempotency_key_is_the_same_version_and_other_content_is_refused(
    client: steelyard.Client, tmp_path: Path
) -> None:
    directory = write_tree(tmp_path / "m", MODEL)
    client.push("fraud", directory, idempotency_key="build-7")
    assert not client.push("fraud", directory, idempotency_key="build-7").created
    write_tree(directory, {"config.json": b"{}"})
    with pytest.raises(reasons.IdempotencyKeyReused):
        client.push("fraud", directory, idempotency_key="build-7")
    assert [version.number for version in client.versions.list("fraud")] == [1]


def test_a_reference_is_part_of_the_version_and_stays_where_it_is(
    client: steelyard.Client, tmp_path: Path
) -> None:
    reference = steelyard.Reference("shards/0.bin", "s3://bucket/0.bin", 7 << 40, DIGEST, role="weights")
    pushed = client.push("fraud", write_tree(tmp_path / "m", MODEL), references=[reference])
    found = next(file for file in pushed.version.files if file.path == reference.path)
    assert (found.uri, found.size_bytes, found.digest, found.role) == (
        reference.uri,
        reference.size_bytes,
        reference.digest,
        "weights",
    )
    pulled = client.pull("fraud", tmp_path / "copy")
    assert pulled.skipped_references == ("shards/0.bin",)
    assert tree_of(tmp_path / "copy") == MODEL
    with pytest.raises(reasons.FileIsExternal, match="s3://bucket"):
        client.read("fraud", reference.path)


def test_another_namespace_must_send_the_bytes_too(client: steelyard.Client, tmp_path: Path) -> None:
    directory = write_tree(tmp_path / "m", MODEL)
    client.push("fraud", directory)
    other = client.get("fraud").model.replace("/", "-other/")
    client.namespaces.create(other.partition("/")[0])
    pushed = client.push(other, directory)
    assert pushed.uploaded_bytes == sum(map(len, MODEL.values()))


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"parameters": {"seed": 2**63}}, "64 bits"),
        ({"parameters": {"layers": [1, 2]}}, "list"),
        ({"metrics": {"precision": "good"}}, "no number"),
        ({"metrics": {"precision": 10**400}}, "no number"),
        ({"metrics": {"a@b@c": 1.0}}, "names no metric"),
        ({"roles": {"missing.bin": "weights"}}, "missing.bin"),
        ({"roles": {"config.json": "wights"}}, "wights"),
        ({"parents": [steelyard.Parent("child-of", digest=DIGEST)]}, "child-of"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_a_sentence_that_names_it(
    client: steelyard.Client, tmp_path: Path, parts: dict[str, object], named: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=named):
        client.push("fraud", write_tree(tmp_path / "m", MODEL), **parts)  # type: ignore[arg-type]
    assert not list(client.models.list())


def test_a_push_into_a_namespace_that_is_not_there_is_refused(
    client: steelyard.Client, tmp_path: Path
) -> None:
    with pytest.raises(reasons.NamespaceNotFound):
        client.push("nowhere/fraud", write_tree(tmp_path / "m", MODEL))


MISTAKES: dict[str, tuple[dict[str, object], str]] = {
    "a semantic version": ({"semantic_version": "1.0"}, "SEMANTIC_VERSION_INVALID"),
    "an alias": ({"alias": "v3"}, "INVALID_NAME"),
    "a label": ({"labels": {"k" * 300: ""}}, "LIMIT_EXCEEDED"),
    "a metric": ({"metrics": {"m" * 300: 1.0}}, "TOO_LONG"),
    "a reason": ({"reason": "r" * 10_000}, "TOO_LONG"),
    "an idempotency key": ({"idempotency_key": "build\n7"}, "CONTROL_CHARACTERS"),
}


@pytest.mark.parametrize(("options", "reason"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("exists", [True, False], ids=["model", "no model"])
def test_a_mistake_is_refused_before_any_byte_is_sent(
    client: steelyard.Client,
    tmp_path: Path,
    options: dict[str, object],
    reason: str,
    exists: bool,  # noqa: FBT001  a case
) -> None:
    if exists:
        client.models.create("fraud")
    steps: list[steelyard.Progress] = []
    with pytest.raises(errors.InvalidArgument) as refused:
        client.push("fraud", write_tree(tmp_path / "model", MODEL), progress=steps.append, **options)  # type: ignore[arg-type]
    assert (refused.value.reason, steps) == (reason, [])
    assert len(list(client.models.list())) == exists


def test_the_schema_of_a_version_comes_back(client: steelyard.Client, tmp_path: Path) -> None:
    schema = steelyard.Schema(
        inputs=(steelyard.SchemaField("x", "float32", shape=(-1, 30)),),
        outputs=(
            steelyard.SchemaField("label", "int64"),
            steelyard.SchemaField("p", "float32", (-1, 2), optional=True),
        ),
    )
    pushed = client.push("fraud", write_tree(tmp_path / "model", MODEL), schema=schema)
    assert client.get(pushed.version).schema == schema
