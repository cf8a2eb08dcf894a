"""With --json every result is the protobuf JSON of its message, and nothing else is on standard output."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from steelyard.v1 import (
    alias_pb2,
    alias_service_pb2,
    content_pb2,
    environment_pb2,
    environment_service_pb2,
    model_pb2,
    namespace_pb2,
    namespace_service_pb2,
    server_service_pb2,
    version_pb2,
)
from tests.cli.shell import Shell

ONE: list[tuple[str, type[Message], dict[str, Any]]] = [
    ("push fraud model -m loss=NaN -p seed=9223372036854775807", version_pb2.Version, {"number": 2}),
    ("pull fraud:1 copy", version_pb2.Version, {"number": 1}),
    ("verify fraud:1", version_pb2.Version, {"number": 1}),
    ("alias rm fraud champion", alias_service_pb2.DeleteAliasResponse, {}),
    ("status", server_service_pb2.GetServerInfoResponse, {}),
    ("models show fraud", model_pb2.Model, {"latest_number": 1}),
    ("versions show fraud:1", version_pb2.Version, {"number": 1, "aliases": ["champion"]}),
    ("namespaces show default", namespace_pb2.Namespace, {"name": "default"}),
]
MANY: list[tuple[str, type[Message], dict[str, Any]]] = [
    ("files fraud", content_pb2.File, {"path": "config.json"}),
    ("models ls", model_pb2.Model, {"latest_number": 1}),
    ("versions ls fraud", version_pb2.Version, {"number": 1}),
    ("alias ls fraud", alias_pb2.Alias, {"name": "champion", "number": 1}),
    ("alias log fraud", alias_pb2.AliasMove, {"alias": "champion", "to_number": 1}),
    ("namespaces ls", namespace_pb2.Namespace, {}),
]


def check(found: Any, kind: type[Message], expected: dict[str, Any]) -> None:
    message = json_format.ParseDict(found, kind())
    assert message.ByteSize() > 0
    for name, value in expected.items():
        stated = getattr(message, name)
        assert (list(stated) if isinstance(value, list) else stated) == value


@pytest.mark.parametrize(("command", "kind", "expected"), ONE, ids=[each[0] for each in ONE])
def test_a_result_is_one_message(
    pushed: Shell, command: str, kind: type[Message], expected: dict[str, Any]
) -> None:
    check(json.loads(pushed.ok(*command.split(), "--json").out), kind, expected)


@pytest.mark.parametrize(("command", "kind", "expected"), MANY, ids=[each[0] for each in MANY])
def test_a_list_is_an_array_of_messages(
    pushed: Shell, command: str, kind: type[Message], expected: dict[str, Any]
) -> None:
    found = json.loads(pushed.ok(*command.split(), "--json").out)
    assert isinstance(found, list)
    check(found[0], kind, expected)


def test_a_namespace_that_is_removed_is_told_by_its_event(pushed: Shell) -> None:
    pushed.ok("namespaces", "create", "short-lived")
    found = json.loads(pushed.ok("namespaces", "rm", "short-lived", "--json").out)
    check(found, namespace_service_pb2.DeleteNamespaceResponse, {})


def test_environments_are_messages_and_one_that_is_removed_is_told_by_its_event(pushed: Shell) -> None:
    name = pushed.variables["STEELYARD_NAMESPACE"] + "-eu"
    expected = {"name": name, "accepts": ["production"]}
    made = pushed.ok("environments", "create", name, "--accept", "production", "--json")
    for done in (made, pushed.ok("environments", "show", name, "--json")):
        check(json.loads(done.out), environment_pb2.Environment, expected)
    changed = pushed.ok("environments", "edit", name, "-d", "x", "--json")
    check(json.loads(changed.out), environment_pb2.Environment, expected | {"description": "x"})
    listed = json.loads(pushed.ok("environments", "ls", "--json").out)
    check(next(each for each in listed if each["name"] == name), environment_pb2.Environment, expected)
    found = json.loads(pushed.ok("environments", "rm", name, "--json").out)
    check(found, environment_service_pb2.DeleteEnvironmentResponse, {})


def test_numbers_of_64_bits_and_those_that_are_none_keep_their_value(pushed: Shell) -> None:
    arguments = ("-m", "loss=-inf", "-p", "seed=-9223372036854775808", "-p", "tiny=5e-324")
    found = json.loads(pushed.ok("push", "fraud", "model", *arguments, "--json").out)
    content = json_format.ParseDict(found, version_pb2.Version()).content
    assert content.metrics[0].value == float("-inf")
    assert {each.name: each.integer or each.real for each in content.parameters} == {
        "seed": -(2**63),
        "tiny": 5e-324,
    }
