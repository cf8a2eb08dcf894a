"""Every call that changes something names the change, so that a retry of gRPC makes it once."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory

import steelyard
from steelyard.v1 import (
    alias_service_pb2,
    content_pb2,
    environment_service_pb2,
    model_service_pb2,
    namespace_service_pb2,
    version_service_pb2,
)
from tests.client.hostile import Hostile, hostile_server

FILES = (
    alias_service_pb2,
    environment_service_pb2,
    model_service_pb2,
    namespace_service_pb2,
    version_service_pb2,
)
CALLS: dict[str, Callable[[steelyard.Client], object]] = {
    "CreateNamespace": lambda client: client.namespaces.create("risk"),
    "UpdateNamespace": lambda client: client.namespaces.update("risk", description="x"),
    "DeleteNamespace": lambda client: client.namespaces.delete("risk"),
    "CreateEnvironment": lambda client: client.environments.create("production-eu"),
    "UpdateEnvironment": lambda client: client.environments.update("production-eu", description="x"),
    "DeleteEnvironment": lambda client: client.environments.delete("production-eu"),
    "CreateModel": lambda client: client.models.create("fraud"),
    "UpdateModel": lambda client: client.models.update("fraud", description="x"),
    "RenameModel": lambda client: client.models.rename("fraud", "scam"),
    "DeleteModel": lambda client: client.models.delete("fraud"),
    "UndeleteModel": lambda client: client.models.undelete("fraud"),
    "PurgeModel": lambda client: client.models.purge("fraud"),
    "CreateVersion": lambda client: client.versions.create("fraud", content_pb2.Content()),
    "BatchCreateVersions": lambda client: client.versions.batch_create("fraud", []),
    "UpdateVersion": lambda client: client.versions.update("fraud:1", description="x"),
    "DeleteVersion": lambda client: client.versions.delete("fraud:1"),
    "UndeleteVersion": lambda client: client.versions.undelete("fraud:1"),
    "PurgeVersion": lambda client: client.versions.purge("fraud:1"),
    "CopyVersion": lambda client: client.versions.copy("fraud:1", "scam"),
    "RecordEvaluation": lambda client: client.evaluations.record("fraud:1", {"recall": 0.9}),
    "SetAlias": lambda client: client.aliases.set("fraud:1", "champion"),
    "DeleteAlias": lambda client: client.aliases.delete("fraud", "champion"),
    "RollbackAlias": lambda client: client.aliases.rollback("fraud", "champion"),
}


def requests_with_an_id() -> dict[str, Any]:
    """Return the requests of all methods that take an id, by the name of the method."""
    methods = (
        method
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    )
    return {
        method.name: message_factory.GetMessageClass(method.input_type)
        for method in methods
        if "request_id" in method.input_type.fields_by_name
    }


@pytest.fixture
def evil() -> Iterator[Hostile]:
    with hostile_server() as service:
        yield service


def test_every_method_that_takes_an_id_is_in_the_table() -> None:
    assert set(CALLS) == set(requests_with_an_id())


@pytest.mark.parametrize("method", CALLS)
def test_a_change_has_an_id_of_its_own_which_its_retry_repeats(evil: Hostile, method: str) -> None:
    came: defaultdict[str, int] = defaultdict(int)

    def fail_once(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        request = requests_with_an_id()[method].FromString(next(requests))
        came[request.request_id] += 1
        if came[request.request_id] == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Not now.")
        yield b""

    evil.raw[method] = fail_once
    with steelyard.Client(evil.address) as client:
        for _ in range(2):
            CALLS[method](client)
    assert sorted(came.values()) == [2, 2]
    assert all(uuid.UUID(each).version for each in came)
