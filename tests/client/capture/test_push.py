"""A push that captures: the same again is the same version, what is stated outranks it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

import steelyard
from steelyard import Framework, Schema, SchemaField, Source
from steelyard.capture import environment, git
from steelyard.content import ParameterValue
from tests.client.capture import formats
from tests.client.repositories import IDENTITY, ORIGIN, commit, repository
from tests.client.trees import MODEL, tree_of, write_tree
from tests.servers import ServerProcess

LOCK = "steelyard.lock"
SCHEMA = Schema((SchemaField("x", "float32", (-1, 30)),), (SchemaField("y", "float32", (-1, 30)),))
FACTS: dict[str, ParameterValue] = {"onnx.opset": 21, "onnx.producer": "tests 1.0"}


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in no run of an orchestrator, and without settings of git."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    for name in ("GITHUB_RUN_ID", "CI_PIPELINE_URL", "WANDB_RUN_ID", "AIRFLOW_CTX_DAG_ID", "KFP_POD_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_RUN_ID", "0a1b2c")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """Make a repository with a model in it that is not tracked."""
    repository(tmp_path / "code")
    write_tree(tmp_path / "code" / "model", {"model.onnx": formats.onnx_model(), "config.json": b"{}"})
    return tmp_path / "code"


def captured(pushed: steelyard.PushResult) -> steelyard.Capture:
    assert pushed.captured is not None
    return pushed.captured


def test_a_push_records_commit_packages_run_and_schema(client: steelyard.Client, code: Path) -> None:
    pushed = client.push("fraud", code / "model", capture=True)
    head = git.source(code, note=pytest.fail).commit
    version = client.get(pushed.version)
    assert version.source == Source(ORIGIN, head, dirty=False, run="mlflow:0a1b2c")
    assert version.framework == Framework("onnx")
    assert version.schema == SCHEMA
    assert version.parameters == FACTS
    assert {file.path: file.role for file in version.files} == {
        "config.json": "config",
        "model.onnx": "weights",
        LOCK: "lock",
    }
    found = environment.lock(None, note=pytest.fail)
    assert found is not None
    assert client.read(version, LOCK).decode() == found.text
    taken = captured(pushed)
    assert (taken.source, taken.framework, taken.schema) == (
        version.source,
        version.framework,
        version.schema,
    )
    assert taken.lock is not None
    assert (taken.lock.packages_count, taken.lock.python) == (found.packages_count, found.python)
    assert taken.notes == ()


def test_a_push_that_does_not_capture_has_what_is_stated_and_nothing_else(
    client: steelyard.Client, code: Path
) -> None:
    pushed = client.push("fraud", code / "model")
    assert pushed.captured is None
    assert pushed.version.file_count == 2
    assert (pushed.version.source, pushed.version.framework, pushed.version.schema) == (None, None, None)
    assert pushed.version.parameters == {}


def test_the_same_files_from_the_same_commit_environment_and_run_are_the_same_version(
    client: steelyard.Client, code: Path
) -> None:
    first = client.push("fraud", code / "model", capture=True)
    again = client.push("fraud", code / "model", capture=True)
    assert (again.created, again.uploaded_bytes) == (False, 0)
    assert again.version.digest == first.version.digest
    write_tree(code / "copy", tree_of(code / "model"))
    assert not client.push("fraud", code / "copy", capture=True).created


def other_commit(code: Path, _: pytest.MonkeyPatch) -> None:
    (code / "train.py").write_text("print('other')\n")
    commit(code)


def other_tree(code: Path, _: pytest.MonkeyPatch) -> None:
    (code / "train.py").write_text("print('other')\n")


def other_run(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "ffff")


def other_packages(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = write_tree(code / "site", {"new-1.dist-info/METADATA": b"Name: new\nVersion: 1\n"})
    monkeypatch.syspath_prepend(site)
    monkeypatch.syspath_prepend("first")


@pytest.mark.parametrize("change", [other_commit, other_tree, other_run, other_packages])
def test_another_commit_environment_or_run_makes_another_version(
    client: steelyard.Client,
    code: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    client.push("fraud", code / "model", capture=True)
    change(code, monkeypatch)
    assert client.push("fraud", code / "model", capture=True).created


HEAD = "a commit of the repository"
# What is stated of the source, and what the version then has; HEAD stands for the commit that is found.
PRECEDENCE: dict[str, tuple[Source, Source]] = {
    "nothing": (Source(), Source(ORIGIN, HEAD, dirty=False, run="mlflow:0a1b2c")),
    "a run": (Source(run="own"), Source(ORIGIN, HEAD, dirty=False, run="own")),
    "a user": (Source(user="ada"), Source(ORIGIN, HEAD, dirty=False, run="mlflow:0a1b2c", user="ada")),
    "a pipeline": (
        Source(pipeline="own"),
        Source(ORIGIN, HEAD, dirty=False, run="mlflow:0a1b2c", pipeline="own"),
    ),
    "a repository": (
        Source(repository="https://example.org/own"),
        Source("https://example.org/own", HEAD, dirty=False, run="mlflow:0a1b2c"),
    ),
    "that it is dirty": (Source(dirty=True), Source(ORIGIN, HEAD, dirty=True, run="mlflow:0a1b2c")),
    "the same commit": (Source(commit=HEAD), Source(ORIGIN, HEAD, dirty=False, run="mlflow:0a1b2c")),
    "another commit, of which the repository here says nothing": (
        Source(commit="c0ffee"),
        Source(commit="c0ffee", run="mlflow:0a1b2c"),
    ),
}


@pytest.mark.parametrize(("stated", "expected"), PRECEDENCE.values(), ids=PRECEDENCE)
def test_what_is_stated_of_the_source_outranks_what_is_found(
    client: steelyard.Client, code: Path, stated: Source, expected: Source
) -> None:
    head = git.source(code, note=pytest.fail).commit
    stated, expected = (
        replace(each, commit=head) if each.commit == HEAD else each for each in (stated, expected)
    )
    pushed = client.push("fraud", code / "model", source=stated, capture=True)
    assert pushed.version.source == expected


STATED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the framework": (
        {"framework": Framework("onnxruntime", "1.32")},
        {"framework": Framework("onnxruntime", "1.32"), "schema": SCHEMA, "parameters": FACTS},
    ),
    "the schema": (
        {"schema": Schema((SchemaField("a", "string"),))},
        {
            "framework": Framework("onnx"),
            "schema": Schema((SchemaField("a", "string"),)),
            "parameters": FACTS,
        },
    ),
    "a parameter": (
        {"parameters": {"onnx.opset": 7, "depth": 4}},
        {
            "framework": Framework("onnx"),
            "schema": SCHEMA,
            "parameters": {**FACTS, "onnx.opset": 7, "depth": 4},
        },
    ),
}


@pytest.mark.parametrize(("stated", "expected"), STATED.values(), ids=STATED)
def test_what_is_stated_of_the_model_outranks_what_its_files_say(
    client: steelyard.Client, code: Path, stated: dict[str, Any], expected: dict[str, Any]
) -> None:
    pushed = client.push("fraud", code / "model", capture=True, **stated)
    assert {name: getattr(pushed.version, name) for name in expected} == expected
    assert all(getattr(captured(pushed), name) is None for name in stated if name != "parameters")


@pytest.mark.parametrize("path", [LOCK, "Steelyard.LOCK", f"{LOCK}/inner"])
@pytest.mark.parametrize("kind", ["file", "reference"])
def test_a_file_of_the_caller_is_never_replaced(
    client: steelyard.Client, code: Path, path: str, kind: str
) -> None:
    references = [steelyard.Reference(path, "s3://bucket/lock")] if kind == "reference" else []
    if kind == "file":
        write_tree(code / "model", {path: b"mine"})
    pushed = client.push("fraud", code / "model", references=references, capture=True)
    assert captured(pushed).lock is None
    assert captured(pushed).notes == (
        "packages: there is a steelyard.lock among the files, and it is kept as it is",
    )
    assert [file.path for file in pushed.version.files] == sorted(["config.json", "model.onnx", path])


def test_a_version_has_no_more_files_than_are_allowed(
    client: steelyard.Client, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = [steelyard.Reference(f"r/{number}", "s3://bucket/r") for number in range(9_998)]
    pushed = client.push("fraud", code / "model", references=references, capture=True)
    assert pushed.version.file_count == 10_000
    assert captured(pushed).notes == ("packages: there are as many files as a version may have",)


def test_a_version_has_no_more_parameters_than_are_allowed(client: steelyard.Client, code: Path) -> None:
    parameters = {f"p{number}": number for number in range(1_999)}
    pushed = client.push("fraud", code / "model", parameters=parameters, capture=True)
    assert len(pushed.version.parameters) == 1_999
    assert captured(pushed).notes == ("headers: there are as many parameters as a version may have",)


def value(name: str, shape: list[int] | None = None) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1] if shape is None else shape)


SCHEMAS = {
    "a name with a control character": [value("a\x00b")],
    "a name that is too long": [value("n" * 3000)],
    "no name": [value("")],
    "a name twice": [value("x"), value("x")],
    "too many": [value(f"x{number}") for number in range(1001)],
    "too many dimensions": [value("x", [1] * 65)],
    "too large in sum": [value(f"{number}" + "n" * 2000) for number in range(100)],
}


@pytest.mark.parametrize("inputs", SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_that_no_server_takes_is_left_out_and_said(
    client: steelyard.Client, code: Path, inputs: list[Any]
) -> None:
    write_tree(code / "model", {"model.onnx": formats.onnx_model(inputs)})
    pushed = client.push("fraud", code / "model", capture=True)
    assert pushed.version.schema is None
    assert captured(pushed).notes == ("schema: it is too large, or has names that cannot be kept",)


@pytest.mark.parametrize("run", ["a\x07b", "n" * 3000, "\udcff"])
def test_a_run_that_no_server_takes_is_left_out_and_said(
    client: steelyard.Client, code: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", run)
    pushed = client.push("fraud", code / "model", capture=True)
    assert pushed.version.source is not None
    assert pushed.version.source.run == ""
    assert captured(pushed).notes == ("run: it is too long, or has characters that cannot be kept",)


def test_a_fact_that_no_server_takes_is_left_out_and_said(client: steelyard.Client, tmp_path: Path) -> None:
    name = ("general.name", "text", "a\nb")
    path = write_tree(tmp_path, {"m.gguf": formats.gguf(("general.architecture", "text", "llama"), name)})
    pushed = client.push("fraud", path / "m.gguf", capture=True)
    assert pushed.version.parameters == {"gguf.architecture": "llama"}
    assert captured(pushed).notes == ("gguf.name: it is too large, or has characters that cannot be kept",)


def test_a_number_that_no_server_takes_is_left_out_and_said(client: steelyard.Client, code: Path) -> None:
    write_tree(code / "model", {"model.onnx": formats.onnx_model(opset=-1)})
    pushed = client.push("fraud", code / "model", capture=True)
    assert pushed.version.parameters == {"onnx.producer": "tests 1.0"}
    assert captured(pushed).notes == ("onnx.opset: it is too large, or has characters that cannot be kept",)


def test_weights_that_are_none_are_pushed_all_the_same(client: steelyard.Client, code: Path) -> None:
    write_tree(code / "model", {"model.onnx": MODEL["weights.onnx"]})
    pushed = client.push("fraud", code / "model", capture=True)
    assert pushed.version.framework is None
    assert len(captured(pushed).notes) == 1
    assert captured(pushed).notes[0].startswith("header of model.onnx: ")


def test_a_machine_without_room_for_temporary_files_costs_commit_and_packages_only(
    client: steelyard.Client, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(code / "missing"))
    pushed = client.push("fraud", code / "model", capture=True)
    assert pushed.version.source == Source(run="mlflow:0a1b2c")
    assert pushed.version.schema == SCHEMA
    assert [note.partition(":")[0] for note in captured(pushed).notes] == ["git commit", "packages"]


def test_the_packages_of_another_environment_can_be_recorded(
    client: steelyard.Client, code: Path, tmp_path: Path
) -> None:
    site = "lib/python3.11/site-packages/torch-2.9.dist-info/METADATA"
    files = {"pyvenv.cfg": b"version = 3.11.7\n", site: b"Name: torch\nVersion: 2.9\n"}
    client.push("fraud", code / "model", capture=True, environment=write_tree(tmp_path / "env", files))
    assert client.read("fraud", LOCK) == b"# CPython 3.11.7\ntorch==2.9\n"


async def test_the_client_for_asyncio_captures_too(
    client: steelyard.Client, shared: ServerProcess, code: Path
) -> None:
    namespace = client.push("fraud", code / "model", capture=True).version.model.partition("/")[0]
    async with steelyard.AsyncClient(shared.address, namespace=namespace) as other:
        again = await other.push("fraud", code / "model", capture=True)
    assert not again.created
    assert captured(again).schema == SCHEMA
