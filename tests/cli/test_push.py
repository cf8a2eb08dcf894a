"""``push`` with what files say of a version, and with what it finds around the files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from steelyard.v1 import version_pb2
from tests.cli.shell import Shell
from tests.client.capture import formats
from tests.client.repositories import IDENTITY, ORIGIN, repository
from tests.client.trees import write_tree

DIGEST = "sha256:" + "ab" * 32
VERSION_FILE = f"""\
# All that a push can say.
description: |
  Second try,
  with more data.
semantic_version: 1.10.0
idempotency_key: 2026-11-24
reason: nightly
labels: {{team: risk, country: no, release: 1.10}}
aliases: [candidate, nightly]
metrics:
  precision@holdout: 0.93
  precision@holdout[region=EU]: 1e-3
  loss: .inf
  auc: NaN
parameters:
  depth: 6
  eta: 1e-3
  seed: -9223372036854775808
  on: true
  word: yes
  text: "7"
  none: null
  layers: [1, 2.5, a]
  optimizer: {{name: adam, beta: {{one: 0.9}}}}
datasets:
  - {{name: train, role: train, path: data/train.csv}}
  - {{name: holdout, role: holdout, uri: "s3://data/holdout", version: 2026-10, digest: "{DIGEST}"}}
parents:
  - {{relation: fine-tuned-from, version: "base:1"}}
  - {{relation: distilled-from, digest: "{DIGEST}", uri: hf://org/model}}
references:
  - {{path: shards/0.bin, uri: "s3://bucket/0.bin", size_bytes: 7, digest: "{DIGEST}", role: weights}}
roles: {{config.json: serving-config}}
source:
  repository: https://git.example.org/own.git
  commit: 1234567
  dirty: false
  run: 17
  pipeline: nightly
  user: ada
framework: {{name: onnx, version: 1.10}}
schema:
  inputs:
    - {{name: x, type: float32, shape: [-1, 30]}}
  outputs:
    - {{name: y, type: int64, shape: [-1], optional: true}}
"""


@pytest.fixture
def user(shell: Shell, model: Path) -> Shell:
    """Run commands beside a model, a version file and a repository without a commit above them."""
    write_tree(
        shell.directory,
        {
            "files/version.yaml": VERSION_FILE.encode(),
            "files/data/train.csv": b"a,b\n",
            "metrics.json": b'{"accuracy": 0.5, "loss": Infinity, "per class": {"spam": {"f1": 1e-3}}}',
            "params.yaml": b"train: {eta: 0.2, layers: [1, 2]}\ndepth: 7\n",
            "params.json": b'{"train": {"eta": 0.2, "layers": [1, 2]}, "depth": 7}',
        },
    )
    variables = IDENTITY | {"GIT_CEILING_DIRECTORIES": str(shell.directory.parent)}
    return Shell(shell.directory, shell.variables | variables)


def pushed(user: Shell, *arguments: str) -> version_pb2.Version:
    """Push `model` as `fraud`; return what the registry then has."""
    user.ok("push", "fraud", "model", *arguments)
    return json_format.ParseDict(
        json.loads(user.ok("versions", "show", "fraud", "--json").out), version_pb2.Version()
    )


def test_a_version_file_says_all_that_a_push_can_say(user: Shell) -> None:
    user.ok("push", "base", "model", "--no-capture")
    made = pushed(user, "-f", "files/version.yaml", "--no-capture")
    facts = user.ok("versions", "show", "fraud").facts
    assert made.description == "Second try,\nwith more data.\n"
    assert facts["metrics"] == (
        "auc=nan, loss=inf, precision@holdout=0.93, precision@holdout[region=EU]=0.001"
    )
    parameters = {
        each.name: getattr(each, each.WhichOneof("value") or "") for each in made.content.parameters
    }
    assert parameters == {
        "depth": 6,
        "eta": 0.001,
        "seed": -(2**63),
        "on": True,
        "word": "yes",
        "text": "7",
        "none": "null",
        "layers": '[1, 2.5, "a"]',
        "optimizer.name": "adam",
        "optimizer.beta.one": 0.9,
    }
    assert facts["labels"] == "country=no, release=1.10, team=risk"
    assert (facts["semantic version"], facts["idempotency key"]) == ("1.10.0", "2026-11-24")
    assert (facts["framework"], facts["aliases"]) == ("onnx 1.10", "candidate, nightly")
    assert facts["references"] == "shards/0.bin at s3://bucket/0.bin"
    train, holdout = made.content.datasets
    assert (train.name, train.role) == ("train", "train")
    assert train.digest == "sha256:" + hashlib.sha256(b"a,b\n").hexdigest()
    assert (holdout.uri, holdout.version, holdout.digest) == ("s3://data/holdout", "2026-10", DIGEST)
    base = f"{user.variables['STEELYARD_NAMESPACE']}/base:1"
    assert [(each.uri, each.digest) for each in made.content.parents][1:] == [("hf://org/model", DIGEST)]
    assert made.content.parents[0].uri == base
    source = made.content.source
    assert (source.repository, source.commit, source.run) == (
        "https://git.example.org/own.git",
        "1234567",
        "17",
    )
    assert (source.HasField("dirty"), source.dirty) == (True, False)
    assert (facts["inputs"], facts["outputs"]) == ("x: float32[-1, 30]", "y: int64[-1]")
    assert {file.path: file.role for file in made.content.files}["config.json"] == 5


def test_options_outrank_files_and_metrics_of_their_own_file_those_of_the_version(user: Shell) -> None:
    write_tree(
        user.directory,
        {
            "v.yaml": b"metrics: {a: 1, accuracy: 1, b: 1}\nparameters: {depth: 1, own: 1}\n"
            b"description: file\nsemantic_version: 1.0.0\nlabels: {x: file, y: file}\naliases: [one]\n"
            b"datasets: [{name: train, role: train, uri: file}, {name: other, role: train, uri: file}]\n",
        },
    )
    made = pushed(
        user,
        *("--no-capture", "-f", "v.yaml", "--metrics", "metrics.json", "--params", "params.yaml"),
        *("-m", "b=3", "-p", "depth=9", "-d", "option", "-l", "y=option", "--alias", "two"),
        *("--dataset", "train=s3://option"),
    )
    facts = user.ok("versions", "show", "fraud").facts
    assert facts["metrics"] == "a=1.0, accuracy=0.5, b=3.0, loss=inf, per class.spam.f1=0.001"
    assert facts["parameters"] == "depth=9, own=1, train.eta=0.2, train.layers=[1, 2]"
    assert (made.description, made.semantic_version) == ("option", "1.0.0")
    assert facts["labels"] == "x=file, y=option"
    assert facts["aliases"] == "one, two"
    assert sorted((each.name, each.uri) for each in made.content.datasets) == [
        ("other", "file"),
        ("train", "s3://option"),
    ]


def test_parameters_are_the_same_from_json_and_yaml(user: Shell) -> None:
    user.ok("push", "fraud", "model", "--no-capture", "--params", "params.yaml")
    again = user.ok("push", "fraud", "model", "--no-capture", "--params", "params.json")
    assert "has this content already" in again.err


LATE: dict[str, tuple[list[str], bytes, int, str]] = {
    "an unknown key": (
        ["-f", "bad.yaml"],
        b"mertics: {}",
        2,
        "bad.yaml: mertics is no known key; did you mean 'metrics'?",
    ),
    "a number of more than 64 bits": (
        ["-f", "bad.yaml"],
        b"parameters: {seed: 9223372036854775808}",
        2,
        "64 bits",
    ),
    "a role that is none": (["-f", "bad.yaml"], b"roles: {config.json: wights}", 2, "wights"),
    "a relation that is none": (
        ["-f", "bad.yaml"],
        b"parents: [{relation: child-of, uri: x}]",
        2,
        "child-of",
    ),
    "a parent that is not there": (
        ["-f", "bad.yaml"],
        b"parents: [{relation: distilled-from, version: 'gone:1'}]",
        5,
        "MODEL_NOT_FOUND",
    ),
    "a file that is not there": (["-f", "missing.yaml"], b"", 2, "missing.yaml cannot be read"),
    "metrics with a text": (["--metrics", "bad.yaml"], b"{a: {b: x}}", 2, "a.b is no number"),
    "parameters that are a list": (["--params", "bad.yaml"], b"[1]", 2, "no mapping"),
}


@pytest.mark.parametrize(("arguments", "data", "code", "words"), LATE.values(), ids=LATE)
def test_a_mistake_in_a_file_is_a_sentence_and_nothing_is_made(
    user: Shell, arguments: list[str], data: bytes, code: int, words: str
) -> None:
    write_tree(user.directory, {"bad.yaml": data})
    done = user.run("push", "fraud", "model", *arguments)
    assert done.code == code, done.err
    assert words in done.err
    assert "Traceback" not in done.err
    assert user.ok("models", "ls").out == ""


def test_a_push_says_what_it_recorded(user: Shell, model: Path) -> None:
    head = repository(write_tree(model, {"weights.onnx": formats.onnx_model()}))
    tracker = Shell(user.directory, user.variables | {"MLFLOW_RUN_ID": "0a1b2c"})
    said = tracker.ok("push", "fraud", "model").err.splitlines()
    assert {
        f"recorded the commit {head[:12]}, the repository {ORIGIN}, the working tree: clean",
        "recorded the run mlflow:0a1b2c",
        "recorded the framework onnx",
        "recorded the schema: 1 input, 1 output",
        "recorded onnx.opset=21",
    } <= set(said)
    assert any(line.startswith("recorded ") and line.endswith(" as steelyard.lock") for line in said)
    assert not any(line.startswith("not recorded") for line in said)


def test_what_was_recorded_is_in_the_json(user: Shell, model: Path) -> None:
    head = repository(write_tree(model, {"weights.onnx": formats.onnx_model()}))
    found = json.loads(user.ok("push", "fraud", "model", "--json").out)
    content = json_format.ParseDict(found, version_pb2.Version()).content
    assert (content.source.commit, content.framework.name) == (head, "onnx")
    assert len(content.schema.inputs) == 1
    assert "steelyard.lock" in {file.path for file in content.files}


def test_what_could_not_be_recorded_is_said(user: Shell, model: Path) -> None:
    said = user.ok("push", "fraud", "model").err
    assert "not recorded: header of weights.onnx: it is no ONNX file" in said


def test_without_capture_nothing_is_recorded_and_nothing_said(user: Shell, model: Path) -> None:
    repository(model)
    made = pushed(user, "--no-capture")
    assert not made.content.HasField("source")
    assert made.file_count == 4
    assert "recorded" not in user.run("push", "fraud", "model", "--no-capture").err


def test_the_same_push_again_is_the_same_version_also_with_capture(user: Shell) -> None:
    user.ok("push", "fraud", "model")
    assert "has this content already" in user.ok("push", "fraud", "model").err
