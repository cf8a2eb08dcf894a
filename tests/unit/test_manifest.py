"""The manifest of a version: one text for one content, the same in every language."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from google.protobuf import json_format

from steelyard.v1 import content_pb2
from steelyard_server.api import convert_content
from steelyard_server.core import content, manifest
from steelyard_server.core.content import Content, Dataset, File, Metric, Parameter, Source
from steelyard_server.errors import DuplicateKey, EmptyArtifact, InvalidText, LimitExceeded
from steelyard_server.limits import LIMITS

VECTORS = Path(__file__).parents[2] / "protos" / "testdata" / "manifests.json"
DIGEST = "sha256:" + "a" * 64
FILE = File("model.onnx", DIGEST, 7)
MEMBERS = {
    "format", "files", "parameters", "metrics", "datasets", "source", "parents", "framework", "schema"
}  # fmt: skip


def vectors() -> list[Any]:
    found: list[Any] = json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]
    return [pytest.param(vector, id=vector["name"]) for vector in found]


def message_of(vector: dict[str, Any]) -> content_pb2.Content:
    return json_format.ParseDict(vector["content"], content_pb2.Content())


def no_number(text: str) -> None:
    raise AssertionError(f"The number {text} stands in a manifest.")


def test_keys_of_several_parts_are_the_same_only_when_all_their_parts_are() -> None:
    metrics = (Metric("recall@10", "", "", 1), Metric("recall", "10", "", 2), Metric("recall", "10", "x", 3))
    datasets = (Dataset("a (test)"), Dataset("a", role="test"))
    content.check(Content(files=(FILE,), metrics=metrics, datasets=datasets))
    with pytest.raises(DuplicateKey, match="'recall 10 x' twice"):
        content.check(Content(files=(FILE,), metrics=(*metrics, metrics[-1])))


@pytest.mark.parametrize("vector", vectors())
def test_content_gives_the_bytes_and_digest_of_its_vector(vector: dict[str, Any]) -> None:
    built = manifest.build(convert_content.from_message(message_of(vector)))

    assert built.encoded.decode() == vector["manifest"]
    assert built.digest == vector["digest"]
    assert built.digest == f"sha256:{hashlib.sha256(built.encoded).hexdigest()}"


@pytest.mark.parametrize("vector", vectors())
def test_a_vector_is_canonical_by_another_library_and_has_no_json_numbers(vector: dict[str, Any]) -> None:
    parsed = json.loads(
        vector["manifest"], parse_int=no_number, parse_float=no_number, parse_constant=no_number
    )

    assert rfc8785.dumps(parsed).decode() == vector["manifest"]
    assert parsed["format"] == "1"
    assert set(parsed) <= MEMBERS


@pytest.mark.parametrize("vector", vectors())
def test_what_is_stored_reads_back_as_the_content_that_came(vector: dict[str, Any]) -> None:
    built = manifest.build(convert_content.from_message(message_of(vector)))
    read = manifest.parse(built.summary, built.details, files=built.content.files)

    # Compared as messages, for in them NaN is equal to itself and zero has its sign.
    expected, found = (convert_content.to_message(each) for each in (built.content, read))
    assert found.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


def test_the_vectors_hold_every_extreme() -> None:
    values = {each["name"]: each for each in json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]}
    reals = [metric.value for metric in message_of(values["doubles"]).metrics]
    integers = {parameter.integer for parameter in message_of(values["integers"]).parameters}
    bits = {struct.pack(">d", value) for value in reals}

    wanted = (-0.0, 5e-324, 1.7976931348623157e308, float("nan"), float("inf"), float("-inf"))
    assert {struct.pack(">d", value) for value in wanted} <= bits
    assert {-(2**63), 2**63 - 1} <= integers


def test_the_order_of_files_parameters_and_metrics_is_not_content() -> None:
    one = Content(
        files=(File("a", DIGEST, 1), File("b", DIGEST, 2)),
        parameters=(Parameter("a", 1), Parameter("b", 2)),
        metrics=(Metric("a", "", "", 1.0), Metric("a", "test", "", 2.0)),
    )
    other = replace(one, files=one.files[::-1], parameters=one.parameters[::-1], metrics=one.metrics[::-1])

    assert manifest.build(one).encoded == manifest.build(other).encoded


def test_a_type_a_sign_and_the_order_of_datasets_are_content() -> None:
    different = [
        Content(files=(FILE,)),
        Content(files=(FILE,), parameters=(Parameter("x", 1),)),
        Content(files=(FILE,), parameters=(Parameter("x", 1.0),)),
        Content(files=(FILE,), parameters=(Parameter("x", "1"),)),
        Content(files=(FILE,), parameters=(Parameter("x", value=True),)),
        Content(files=(FILE,), metrics=(Metric("x", "", "", 0.0),)),
        Content(files=(FILE,), metrics=(Metric("x", "", "", -0.0),)),
        Content(files=(FILE,), datasets=(Dataset("a"), Dataset("b"))),
        Content(files=(FILE,), datasets=(Dataset("b"), Dataset("a"))),
        Content(files=(FILE,), source=Source(dirty=False)),
        Content(files=(FILE,), source=Source(dirty=True)),
    ]

    assert len({manifest.build(each).digest for each in different}) == len(different)


def test_sizes_add_up_over_external_files_too() -> None:
    external = File("corpus", "", 1000, uri="s3://bucket/corpus")
    assert manifest.build(Content(files=(FILE, external))).size_bytes == 1007


def test_a_version_has_a_file() -> None:
    with pytest.raises(EmptyArtifact):
        manifest.build(Content())


def test_content_without_files_is_at_most_so_large() -> None:
    text = "x" * LIMITS.parameter_bytes
    count = LIMITS.content_bytes // LIMITS.parameter_bytes
    fits, too_large = (
        Content(files=(FILE,), parameters=tuple(Parameter(f"p{number}", text) for number in range(length)))
        for length in (count - 1, count)
    )
    assert len(manifest.build(fits).encoded) > LIMITS.content_bytes - 2 * LIMITS.parameter_bytes
    with pytest.raises(LimitExceeded):
        manifest.build(too_large)


@pytest.mark.parametrize(
    "repository", ["https://ada:secret@example.com/x", "https://token@example.com/x", "ssh://git:pw@host/x"]
)
def test_a_secret_in_an_address_never_becomes_content(repository: str) -> None:
    with pytest.raises(InvalidText) as refused:
        content.check(Content(files=(FILE,), source=Source(repository=repository)))
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("repository", ["git@example.com:team/x.git", "ssh://git@host/x", "https://h/@x", ""])
def test_an_address_without_a_secret_is_content(repository: str) -> None:
    content.check(Content(files=(FILE,), source=Source(repository=repository)))
