"""Every method of every service is described, ruled and served; every reason has its class, code and line."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import h2.settings
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import steelyard_server.login_errors  # noqa: F401 -- its classes are reasons too
from steelyard import v1
from steelyard.v1 import actor_pb2, error_reason_pb2, rule_pb2
from steelyard_server import errors
from steelyard_server.api import errors as wire
from steelyard_server.api.guard import EdgeLimits, Guard
from tests.api.calls import METHODS, Refused, call, call_raw
from tests.api.uploads import SECONDS, UploadStream, digest_of
from tests.faults.raw_http2 import frame, raw_connection
from tests.servers import Running, running_server

ROOT = Path(__file__).parent.parent.parent
MODULES = [
    importlib.import_module(f"steelyard.v1.{module.name}")
    for module in pkgutil.iter_modules(v1.__path__)
    if module.name.endswith("_pb2")
]
SERVICES = [service for module in MODULES for service in module.DESCRIPTOR.services_by_name.values()]
ALL = [method for service in SERVICES for method in service.methods]
REASONS = {
    name.removeprefix("ERROR_REASON_")
    for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    if name != "ERROR_REASON_UNSPECIFIED"
}
# Whose scope is the whole registry.
WITHOUT_SCOPE = {rule_pb2.PERMISSION_PUBLIC, rule_pb2.PERMISSION_CALLER}
# What makes streams end that go on by themselves as long as the caller stays.
REFUSED = {"WatchEvents": b"\x28\xad\x02"}
WITHOUT_SCOPE_METHODS = {
    *("CollectGarbage", "VerifyStorage", "GetStorageUsage", "Backup"),
    *("CreateGroup", "UpdateGroup", "DeleteGroup", "ListGroups"),
}
REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
STANDARD = {"grpc.health.v1.Health", *REFLECTIONS}

DIGEST_OF_AB = digest_of(b"ab")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running_server(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running


def rule(method: MethodDescriptor) -> rule_pb2.Rule:
    found: rule_pb2.Rule = method.GetOptions().Extensions[rule_pb2.rule]
    return found


async def test_the_services_of_the_package_are_found() -> None:
    assert len(ALL) >= 31
    assert {method.name for method in ALL} == set(METHODS)


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
async def test_every_method_has_a_permission_and_its_request_names_the_scope(
    method: MethodDescriptor,
) -> None:
    found = rule(method)

    assert found.permission != rule_pb2.PERMISSION_UNSPECIFIED
    whole = found.permission in WITHOUT_SCOPE or method.name in WITHOUT_SCOPE_METHODS
    assert bool(found.scope_field) or whole
    if found.scope_field:
        field = field_of(method.input_type, found.scope_field)
        assert (field.type, field.is_repeated) == (FieldDescriptor.TYPE_STRING, False)


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
async def test_every_method_is_served(shared: Running, method: MethodDescriptor) -> None:
    request = REFUSED.get(method.name, b"")
    [answer] = await asyncio.gather(call_raw(shared.channel, method.name, request), return_exceptions=True)

    refused_by_us = isinstance(answer, Refused) and answer.reason in REASONS
    assert refused_by_us or not isinstance(answer, Exception)


async def test_a_method_without_a_rule_is_never_served() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="unruled.proto", package="unruled")
    file.message_type.add(name="Nothing")
    service = file.service.add(name="Service")
    service.method.add(name="Do", input_type=".unruled.Nothing", output_type=".unruled.Nothing")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)

    with pytest.raises(ValueError, match=r"unruled\.Service\.Do has no rule"):
        Guard(EdgeLimits()).handlers(pool.FindServiceByName("unruled.Service"), object())


def classes() -> Iterator[type[errors.RegistryError]]:
    """List the classes below the branches; RegistryError itself stands for INTERNAL."""
    waiting = [errors.RegistryError]
    while waiting:
        each = waiting.pop()
        waiting += each.__subclasses__()
        if each not in wire.CODES:
            yield each


def commented_codes() -> dict[str, str]:
    """Read the status code that begins the comment of each reason."""
    text = (ROOT / "protos" / "steelyard" / "v1" / "error_reason.proto").read_text()
    return {
        reason: comment.strip().removeprefix("//").split(":")[0].strip()
        for comment, reason in re.findall(r"((?:^ *//.*\n)+) *ERROR_REASON_(\w+) =", text, re.MULTILINE)
    }


def documented_codes() -> dict[str, str]:
    """Read the table of docs/errors.md."""
    return dict(
        re.findall(r"^\| `(\w+)` \| (\w+) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    )


async def test_every_reason_has_exactly_one_class_and_every_class_its_reason() -> None:
    assert sorted(each.reason for each in classes()) == sorted(REASONS)


async def test_every_class_is_below_a_branch_that_has_a_code() -> None:
    branches = set(wire.CODES)

    assert all(branches & set(each.__mro__) for each in classes() if each is not errors.RegistryError)


@pytest.mark.parametrize("reason", sorted(REASONS))
async def test_a_reason_has_the_same_code_in_contract_server_and_documents(reason: str) -> None:
    [found] = [each for each in classes() if each.reason == reason]

    assert wire.code(found("")).name == commented_codes()[reason] == documented_codes()[reason]


async def test_the_documents_name_no_reason_that_does_not_exist() -> None:
    assert set(documented_codes()) == REASONS


async def test_health_tells_of_each_service_and_of_the_whole(shared: Running) -> None:
    for name in ["", *(service.full_name for service in SERVICES)]:
        assert await check(shared, name) == health_pb2.HealthCheckResponse.SERVING


async def test_health_of_an_unknown_service_is_not_found(shared: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await check(shared, "steelyard.v1.None")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND

    watching = watch(shared, "steelyard.v1.None")
    assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watching.cancel()


async def test_health_lists_all_services(shared: Running) -> None:
    method = shared.channel.unary_unary(
        "/grpc.health.v1.Health/List", response_deserializer=health_pb2.HealthListResponse.FromString
    )

    answer = await method(b"", timeout=SECONDS)

    assert set(answer.statuses) == {"", *(service.full_name for service in SERVICES)}


async def test_a_draining_server_says_so_refuses_new_calls_and_lets_an_upload_end(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data") as running:
        upload = UploadStream(running.channel)
        await upload.begin(size_bytes=2, upload_id="last")
        assert (await upload.answer()).ready.offset == 0
        watching = watch(running, "")
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING

        stopping = asyncio.create_task(running.server.stop(grace_seconds=SECONDS))

        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await watching.code() is grpc.StatusCode.UNAVAILABLE
        assert await check(running, "") == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(Refused) as refused:
            await call(running.channel, "GetServerInfo")
        assert (refused.value.code, refused.value.reason) == ("UNAVAILABLE", "DRAINING")
        assert int(refused.value.metadata["grpc-retry-pushback-ms"]) > 0
        await upload.send(data=b"ab", finish={"digest": DIGEST_OF_AB})
        assert (await upload.answer()).finished.digest == DIGEST_OF_AB
        await upload.half_close()
        await stopping


async def test_a_watcher_of_health_that_does_not_read_delays_neither_others_nor_the_shutdown(
    tmp_path: Path,
) -> None:
    async with running_server(tmp_path / "data") as running, raw_connection(running.address) as connection:
        window = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0}
        connection.http.update_settings(window)
        stream = await connection.open("/grpc.health.v1.Health/Watch")
        await connection.send(stream, frame(b""))
        watching = watch(running, "")
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING

        async with asyncio.timeout(SECONDS):
            await running.server.stop(grace_seconds=0.1)

        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("service", REFLECTIONS)
async def test_reflection_lists_all_services(shared: Running, service: str) -> None:
    answer = await reflect(shared, service, list_services="")

    names = {each.name for each in answer.list_services_response.service}
    assert names == {each.full_name for each in SERVICES} | STANDARD


@pytest.mark.parametrize("service", REFLECTIONS)
@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("steelyard.v1.ModelService", "steelyard/v1/model_service.proto"),
        ("steelyard.v1.ModelService.GetModel", "steelyard/v1/model_service.proto"),
        ("steelyard.v1.Model", "steelyard/v1/model.proto"),
        ("steelyard.v1.ErrorReason", "steelyard/v1/error_reason.proto"),
        ("grpc.health.v1.Health", "grpc_health/v1/health.proto"),
    ],
)
async def test_reflection_finds_the_file_of_a_symbol(
    shared: Running, service: str, symbol: str, file: str
) -> None:
    answer = await reflect(shared, service, file_containing_symbol=symbol)

    files = answer.file_descriptor_response.file_descriptor_proto
    assert file in {descriptor_pb2.FileDescriptorProto.FromString(each).name for each in files}


@pytest.mark.parametrize("service", REFLECTIONS)
async def test_reflection_knows_no_other_symbol_and_says_so(shared: Running, service: str) -> None:
    answer = await reflect(shared, service, file_containing_symbol="steelyard.v1.None")

    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_a_stated_name_is_shown_as_stated_and_not_as_verified(shared: Running) -> None:
    for metadata, name in (((("steelyard-actor", "user:ada"),), "user:ada"), ((), "anonymous")):
        actor = (await call(shared.channel, "WhoAmI", metadata=metadata)).actor

        assert (actor.id, actor.kind, actor.authenticated) == (name, actor_pb2.ACTOR_KIND_STATED, False)


async def test_the_history_of_a_model_names_who_stated_to_create_it(shared: Running) -> None:
    metadata = (("steelyard-actor", "service:training"),)

    made = await call(shared.channel, "CreateModel", {"name": "default/stated"}, metadata=metadata)

    creator = made.model.creator
    assert (creator.id, creator.kind) == ("service:training", actor_pb2.ACTOR_KIND_STATED)
    assert not creator.authenticated


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((" ",), "FIELD_REQUIRED"),
        (("",), "FIELD_REQUIRED"),
        (("a" * 257,), "TOO_LONG"),
        (("ada", "bob"), "FIELD_REQUIRED"),
    ],
)
async def test_a_bad_name_is_refused(shared: Running, names: tuple[str, ...], reason: str) -> None:
    metadata = tuple(("steelyard-actor", name) for name in names)

    with pytest.raises(Refused) as refused:
        await call(shared.channel, "WhoAmI", metadata=metadata)

    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", reason)
    assert refused.value.fields == ["steelyard-actor"]


def field_of(message: Descriptor, path: str) -> FieldDescriptor:
    """Follow *path* through messages to its last field."""
    first, _, rest = path.partition(".")
    field: FieldDescriptor = message.fields_by_name[first]
    return field_of(field.message_type, rest) if rest else field


async def check(running: Running, service: str) -> int:
    method = running.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    answer = await method(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
    return int(answer.status)


def watch(running: Running, service: str) -> grpc.aio.UnaryStreamCall[Any, Any]:
    method = running.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    return method(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)


async def reflect(running: Running, service: str, **request: str) -> reflection_pb2.ServerReflectionResponse:
    """Ask one question and half-close."""
    method = running.channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    [answer] = [
        each async for each in method([reflection_pb2.ServerReflectionRequest(**request)], timeout=SECONDS)
    ]
    return answer
