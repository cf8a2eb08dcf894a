"""What each role may call, where: every RPC, with every role, on what is theirs, another's, or not there."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor

from steelyard.v1 import rule_pb2
from steelyard_server.core import roles
from tests.api.calls import METHODS, Refused, call, call_raw, request_class
from tests.api.logins import People
from tests.servers import running_server

OWN, FOREIGN, MISSING = "own", "foreign", "missing"
PLACES = (OWN, FOREIGN, MISSING)
# Roles by their names in Python; each has an owner on the namespace `own`, one on the environment `own`, and
# one on the registry.
ROLES = {role.replace("-", "_"): role for role in roles.ROLES}
RULED = [
    method
    for method in METHODS.values()
    if method.GetOptions().Extensions[rule_pb2.rule].permission
    not in {rule_pb2.PERMISSION_PUBLIC, rule_pb2.PERMISSION_CALLER}
]
SCOPED = [each for each in RULED if each.GetOptions().Extensions[rule_pb2.rule].scope_field]
# Those whose scope is an environment.
PLACED = [each for each in SCOPED if each.GetOptions().Extensions[rule_pb2.rule].scope_prefix]
WHOLE = [each for each in RULED if each not in SCOPED]
# Those of which an empty scope asks something else.
OTHERWISE = [each for each in SCOPED if each.GetOptions().Extensions[rule_pb2.rule].registry_permission]

# What is refused only once a permission was found; a watch would go on for ever otherwise.
WRONG = {"request_id": "none", "heartbeat_seconds": -1}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[People]:
    async with running_server(tmp_path_factory.mktemp("roles") / "data", auth="tokens") as running:
        found = People(running)
        for space in (OWN, FOREIGN):
            await found.ask("admin", "CreateNamespace", {"name": space})
            await found.ask("admin", "CreateModel", {"name": f"{space}/model"})
            await found.ask("admin", "CreateEnvironment", {"name": space})
        for name in ROLES:
            await found.add(f"own_{name}", **{name: OWN})
            await found.add(f"placed_{name}", **{name: f"environment:{OWN}"})
            await found.add(f"all_{name}", **{name: ""})
        await found.add("nobody")
        yield found


def permission(method: MethodDescriptor, *, of: str = "permission") -> str:
    number = getattr(method.GetOptions().Extensions[rule_pb2.rule], of)
    return rule_pb2.Permission.Name(number).removeprefix("PERMISSION_").lower().replace("_", "-")


def request_of(method: MethodDescriptor, place: str) -> bytes:
    """Make a request in a scope that would be refused later, for a field that is wrong."""
    message = request_class(method.name)()
    path = method.GetOptions().Extensions[rule_pb2.rule].scope_field
    if path:
        owner: Any = message
        *outer, field = path.split(".")
        for name in outer:
            owner = getattr(owner, name)
        whole = field == "namespace" or method.containing_service.name in {
            "NamespaceService",
            "AccessService",
            "EnvironmentService",
        }
        setattr(owner, field, place if whole or not place else f"{place}/model")
    for field, wrong in WRONG.items():
        if field in message.DESCRIPTOR.fields_by_name:
            setattr(message, field, wrong)
    return bytes(message.SerializeToString())


async def reason_of(people: People, who: str, method: MethodDescriptor, place: str) -> str:
    """Call, and return why it was refused; empty when it was not."""
    try:
        await people.send(who, method.name, request_of(method, place))
    except Refused as refused:
        return refused.reason
    return ""


@pytest.mark.parametrize("method", SCOPED, ids=lambda method: method.name)
async def test_a_role_in_a_namespace_allows_there_what_the_table_says_and_nothing_elsewhere(
    people: People, method: MethodDescriptor
) -> None:
    for who, role in ROLES.items():
        for place in PLACES:
            may = place == OWN and method not in PLACED and permission(method) in roles.ROLES[role]
            reason = await reason_of(people, f"own_{who}", method, place)
            assert (reason != "PERMISSION_MISSING") == may, (who, place, reason)


@pytest.mark.parametrize("method", SCOPED, ids=lambda method: method.name)
async def test_a_role_on_an_environment_allows_what_is_about_it_and_nothing_elsewhere(
    people: People, method: MethodDescriptor
) -> None:
    assert PLACED
    for who, role in ROLES.items():
        for place in PLACES:
            may = place == OWN and method in PLACED and permission(method) in roles.ROLES[role]
            reason = await reason_of(people, f"placed_{who}", method, place)
            assert (reason != "PERMISSION_MISSING") == may, (who, place, reason)


@pytest.mark.parametrize("method", RULED, ids=lambda method: method.name)
async def test_a_role_on_the_registry_allows_what_the_table_says_everywhere(
    people: People, method: MethodDescriptor
) -> None:
    for who, role in ROLES.items():
        may = permission(method) in roles.ROLES[role]
        if may and method in WHOLE and method.server_streaming:
            continue  # It would begin a run; that it may is tested where runs are.
        for place in PLACES:
            reason = await reason_of(people, f"all_{who}", method, place)
            assert (reason != "PERMISSION_MISSING") == may, (who, place, reason)


@pytest.mark.parametrize("method", WHOLE, ids=lambda method: method.name)
async def test_what_concerns_the_whole_registry_needs_a_role_on_it(
    people: People, method: MethodDescriptor
) -> None:
    for who in ROLES:
        assert await reason_of(people, f"own_{who}", method, OWN) == "PERMISSION_MISSING", who


@pytest.mark.parametrize("method", RULED, ids=lambda method: method.name)
async def test_a_refusal_does_not_say_whether_anything_is_there(
    people: People, method: MethodDescriptor
) -> None:
    told = []
    for place in (FOREIGN, MISSING):
        with pytest.raises(Refused) as refused:
            await people.send("nobody", method.name, request_of(method, place))
        error = refused.value
        assert (error.code, error.reason) == ("PERMISSION_DENIED", "PERMISSION_MISSING")
        facts = json_format.MessageToJson(error.info)
        told.append((error.message.replace(place, ""), facts.replace(place, "")))
    assert told[0] == told[1]


@pytest.mark.parametrize("method", list(METHODS.values()), ids=lambda method: method.name)
async def test_nothing_but_what_is_public_is_served_without_a_login(
    people: People, method: MethodDescriptor
) -> None:
    public = method.GetOptions().Extensions[rule_pb2.rule].permission == rule_pb2.PERMISSION_PUBLIC
    try:
        await call_raw(people.running.channel, method.name, request_of(method, OWN))
        reason = ""
    except Refused as refused:
        reason = f"{refused.code} {refused.reason}"
    assert reason == ("" if public else "UNAUTHENTICATED TOKEN_REQUIRED")


@pytest.mark.parametrize("method", OTHERWISE, ids=lambda method: method.name)
async def test_the_whole_registry_may_need_another_permission_than_what_is_in_it(
    people: People, method: MethodDescriptor
) -> None:
    for who, role in ROLES.items():
        may = permission(method, of="registry_permission") in roles.ROLES[role]
        assert (await reason_of(people, f"all_{who}", method, "") != "PERMISSION_MISSING") == may, who
        assert await reason_of(people, f"own_{who}", method, "") == "PERMISSION_MISSING", who


async def test_an_auditor_sees_who_may_do_what_where_they_audit_and_changes_nothing(people: People) -> None:
    await people.ask("admin", "CreateGroup", {"name": "seen", "members": ["user:ada"]})
    of_all = (await people.ask("all_auditor", "ListGrants")).grants
    assert len(of_all) == len((await people.ask("admin", "ListGrants")).grants)
    assert {each.scope for each in of_all} >= {"", OWN}
    assert [each.name for each in (await people.ask("all_auditor", "ListGroups")).groups] == ["seen"]
    there = (await people.ask("own_auditor", "ListGrants", {"scope": OWN})).grants
    assert there
    assert {each.scope for each in there} == {OWN}
    grant = {"subject": "user:own_auditor", "role": "ROLE_ADMIN", "scope": OWN}
    for who, rpc, fields in (
        ("own_auditor", "ListGrants", {"scope": FOREIGN}),
        ("own_auditor", "ListGrants", {}),
        ("own_auditor", "ListGroups", {}),
        ("own_viewer", "ListGrants", {"scope": OWN}),
        ("own_auditor", "GrantRole", grant),
        ("all_auditor", "GrantRole", grant),
        ("all_auditor", "DeleteGroup", {"name": "seen"}),
    ):
        with pytest.raises(Refused) as refused:
            await people.ask(who, rpc, fields)
        assert refused.value.reason == "PERMISSION_MISSING", (who, rpc)


async def test_a_stated_name_gives_no_right_and_is_not_taken(people: People) -> None:
    metadata = (("authorization", f"Bearer {people.tokens['own_reader']}"), ("steelyard-actor", "user:admin"))
    answer = await call(people.running.channel, "WhoAmI", metadata=metadata)

    assert (answer.actor.id, answer.actor.authenticated, answer.actor.method) == (
        "user:own_reader",
        True,
        "token",
    )
    assert [(each.scope, each.role) for each in answer.grants] == [(OWN, 2)]


async def test_a_request_id_is_of_one_principal(people: People) -> None:
    fields = {"name": "own/once", "request_id": str(uuid.uuid4())}
    first = await people.ask("own_writer", "CreateModel", fields)
    assert (await people.ask("own_writer", "CreateModel", fields)).model.uid == first.model.uid

    with pytest.raises(Refused) as refused:
        await people.ask("admin", "CreateModel", fields)
    assert refused.value.reason == "MODEL_ALREADY_EXISTS"
