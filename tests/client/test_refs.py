"""References in text become references on the wire, and what is none is refused by a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

import steelyard
from steelyard import errors
from steelyard.refs import References
from tests.client.trees import MODEL, write_tree

DIGEST = "sha256:" + "0f" * 32
REFERENCES = References("risk")
NAMES = st.text(st.characters(exclude_characters="/:@\\", exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fraud", {"model": "risk/fraud", "alias": "latest"}),
        ("team/fraud", {"model": "team/fraud", "alias": "latest"}),
        ("fraud:3", {"model": "risk/fraud", "number": 3}),
        ("fraud:003", {"model": "risk/fraud", "number": 3}),
        ("fraud:9223372036854775807", {"model": "risk/fraud", "number": 2**63 - 1}),
        ("team/fraud:1.4.0", {"model": "team/fraud", "semantic_version": "1.4.0"}),
        ("fraud:1.4.0-rc.1+build.5", {"model": "risk/fraud", "semantic_version": "1.4.0-rc.1+build.5"}),
        ("fraud@champion", {"model": "risk/fraud", "alias": "champion"}),
        (f"fraud@{DIGEST}", {"model": "risk/fraud", "digest": DIGEST}),
        ("größe 2:1", {"model": "risk/größe 2", "number": 1}),
        ("a@b:c", {"model": "risk/a", "alias": "b:c"}),
        ("a:٣", {"model": "risk/a", "semantic_version": "٣"}),
    ],
)
def test_text_names_one_version(text: str, expected: dict[str, Any]) -> None:
    found = json_format.MessageToDict(REFERENCES.version(text), preserving_proto_field_name=True)
    assert {**found, **({"number": int(found["number"])} if "number" in found else {})} == expected


@pytest.mark.parametrize(
    "text",
    ["", ":3", "@champion", "fraud:", "fraud@", "fraud:0", "fraud:9223372036854775808", "f:" + "9" * 5000],
)
def test_text_that_names_no_version_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        REFERENCES.version(text)


@pytest.mark.parametrize("text", ["fraud:3", "fraud@champion", "team/fraud:", "fraud@"])
def test_a_version_where_a_model_is_needed_is_refused_by_the_name_of_the_model(text: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="name the model alone"):
        REFERENCES.model(text)


@given(NAMES, st.integers(1, 2**63 - 1))
def test_any_name_and_number_are_found_again(name: str, number: int) -> None:
    found = REFERENCES.version(f"{name}:{number}")
    assert (found.model, found.number) == (f"risk/{name}", number)
    assert REFERENCES.model(f"team/{name}") == f"team/{name}"


def test_a_version_is_a_reference_to_itself(client: steelyard.Client, tmp_path: Path) -> None:
    version = client.push("fraud", write_tree(tmp_path / "model", MODEL)).version
    assert client.get(version) == client.get(str(version)) == version


def test_the_wire_refuses_what_only_looks_like_a_reference(client: steelyard.Client, tmp_path: Path) -> None:
    client.push("fraud", write_tree(tmp_path / "model", MODEL))
    for text in ("fraud:1.4", "fraud@sha256:12", "fraud@-", "a/b/c:1", "fraud@v3"):
        with pytest.raises(errors.InvalidArgument):
            client.get(text)


def test_an_address_is_a_host_and_perhaps_a_port() -> None:
    for address in ("localhost", "localhost:7433", "10.0.0.1:1", "[::1]:65535", "registry.example.org:443"):
        steelyard.Client(address).close()


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:7433",
        "localhost:",
        "localhost:port",
        "a b",
        "::1",
        "host:0",
        "host:65536",
        ":7433",
        "a/b",
    ],
)
def test_what_is_no_address_is_refused_before_any_call(address: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="is no address"):
        steelyard.Client(address)


@pytest.mark.parametrize("actor", ["añа", "two\nlines", " ada", "\x7f"])
def test_what_cannot_name_a_caller_is_refused_before_any_call(actor: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="ASCII"):
        steelyard.Client(actor=actor)


def test_a_bare_model_is_refused_where_a_version_is_changed() -> None:
    references = References("default")
    assert references.version("fraud").alias == "latest"
    assert references.version("fraud@latest", exact=True).alias == "latest"
    with pytest.raises(errors.InvalidArgument, match="names no version; write fraud:3 or fraud@latest"):
        references.version("fraud", exact=True)


@pytest.mark.parametrize("reference", [None, 3, b"fraud", ["fraud"]])
def test_what_is_no_text_is_no_reference(reference: Any) -> None:
    references = References("default")
    for read in (references.version, references.model):
        with pytest.raises(errors.InvalidArgument, match="is no reference; write text like fraud"):
            read(reference)


@pytest.mark.parametrize("labels", [{"team": 1}, {1: "risk"}, {"team": None}])
def test_labels_are_text(labels: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="keys and values are text"):
        steelyard.Client().models.create("fraud", labels=labels)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_time_limit_is_above_zero(seconds: float) -> None:
    with pytest.raises(errors.InvalidArgument, match="timeout_seconds"):
        steelyard.Client(timeout_seconds=seconds)
