"""Environments over the wire: what is answered, what happens once, and who sees which of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from tests.api.calls import Refused, call
from tests.api.logins import People
from tests.api.test_second_tenant import content, upload, version
from tests.servers import running_server

EU = "production-eu"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[grpc.aio.Channel]:
    async with running_server(tmp_path_factory.mktemp("places") / "data") as running:
        yield running.channel


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[People]:
    """Let two tenants log in, each with an environment and a namespace."""
    async with running_server(tmp_path_factory.mktemp("tenants") / "data", auth="tokens") as running:
        found = People(running)
        for name in ("first", "second"):
            await found.ask("admin", "CreateNamespace", {"name": name})
            await found.ask("admin", "CreateEnvironment", {"name": f"{name}-eu"})
            await found.add(name, writer=name)
            await found.grant(name, "deployer", f"environment:{name}-eu")
        await upload(found, "first", "first")
        await found.ask("first", "CreateModel", {"name": "first/model"})
        await found.ask("first", "CreateVersion", content("first/model", parameter="x"))
        yield found


async def sequence(channel: grpc.aio.Channel) -> int:
    found: int = (await call(channel, "GetServerInfo")).sequence
    return found


async def refused(people: People, who: str, rpc: str, fields: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(Refused) as error:
        await people.ask(who, rpc, fields)
    return error.value.reason, error.value.message


async def test_answers_say_what_stands_and_which_event_made_it(channel: grpc.aio.Channel) -> None:
    fields = {
        "name": EU,
        "description": "x",
        "labels": {"region": "eu"},
        "accepts": ["staging", "production"],
    }
    made = await call(channel, "CreateEnvironment", fields)
    found = made.environment
    assert (found.name, found.description, dict(found.labels)) == (EU, "x", {"region": "eu"})
    assert (list(found.accepts), found.creator.id) == (["staging", "production"], "anonymous")
    assert (found.etag, found.create_time) == (str(made.sequence), found.update_time)
    assert uuid.UUID(found.uid).version
    got = await call(channel, "GetEnvironment", {"name": EU, "minimumSequence": made.sequence})
    assert (got.environment, got.sequence) == (found, made.sequence)
    assert list((await call(channel, "ListEnvironments")).environments) == [found]

    wish = {
        "environment": {"name": EU, "labels": {"a": "b"}},
        "updateMask": "accepts,labels",
        "etag": found.etag,
    }
    changed = await call(channel, "UpdateEnvironment", wish)
    assert (list(changed.environment.accepts), dict(changed.environment.labels)) == ([], {"a": "b"})
    assert (changed.environment.description, changed.environment.uid) == ("x", found.uid)
    assert changed.environment.etag == str(changed.sequence) != found.etag
    with pytest.raises(Refused) as stale:
        await call(channel, "UpdateEnvironment", wish)
    assert (stale.value.code, stale.value.reason) == ("ABORTED", "ETAG_MISMATCH")
    with pytest.raises(Refused) as taken:
        await call(channel, "CreateEnvironment", fields)
    assert (taken.value.code, taken.value.reason) == ("ALREADY_EXISTS", "ENVIRONMENT_ALREADY_EXISTS")
    assert dict(taken.value.info.metadata) == {"environment": EU}
    gone = await call(channel, "DeleteEnvironment", {"name": EU, "etag": changed.environment.etag})
    assert gone.sequence == changed.sequence + 1
    assert not (await call(channel, "ListEnvironments")).environments


async def test_a_rehearsed_deletion_is_refused_as_the_act_would_be_and_changes_nothing(
    channel: grpc.aio.Channel,
) -> None:
    made = await call(channel, "CreateEnvironment", {"name": "kept"})
    fields = {"name": "kept", "validateOnly": True, "requestId": str(uuid.uuid4())}
    assert (await call(channel, "DeleteEnvironment", fields)).sequence == 0
    with pytest.raises(Refused) as stale:
        await call(channel, "DeleteEnvironment", {"name": "kept", "validateOnly": True, "etag": "1"})
    assert stale.value.reason == "ETAG_MISMATCH"
    assert await sequence(channel) == made.sequence
    assert (await call(channel, "GetEnvironment", {"name": "kept"})).environment == made.environment
    await call(channel, "DeleteEnvironment", {"name": "kept"})


@pytest.mark.parametrize(
    ("rpc", "fields"),
    [
        ("CreateEnvironment", {"name": "fresh"}),
        ("UpdateEnvironment", {"environment": {"name": "once", "description": "x"}}),
        ("DeleteEnvironment", {"name": "once"}),
    ],
)
async def test_many_calls_with_one_request_id_happen_once(
    channel: grpc.aio.Channel, rpc: str, fields: dict[str, Any]
) -> None:
    if rpc != "CreateEnvironment":
        await call(channel, "CreateEnvironment", {"name": "once"})
    begin = await sequence(channel)
    wish = fields | {"requestId": str(uuid.uuid4()), "reason": "why"}
    answers = await asyncio.gather(*(call(channel, rpc, wish) for _ in range(30)))

    assert all(answer == answers[0] for answer in (*answers, await call(channel, rpc, wish)))
    assert await sequence(channel) == answers[0].sequence == begin + 1
    with pytest.raises(Refused) as other:
        await call(channel, rpc, wish | {"reason": "another"})
    assert other.value.reason == "REQUEST_ID_REUSED"
    if rpc == "UpdateEnvironment":
        await call(channel, "DeleteEnvironment", {"name": "once"})


async def test_pages_follow_each_other_and_a_token_is_of_this_list(channel: grpc.aio.Channel) -> None:
    names = [f"page-{number}" for number in range(5)]
    for name in reversed(names):
        await call(channel, "CreateEnvironment", {"name": name})
    found, token = [], ""
    for _ in range(10):
        page = await call(channel, "ListEnvironments", {"pageSize": 2, "pageToken": token})
        found += [each.name for each in page.environments]
        if not (token := page.next_page_token):
            break
    assert [name for name in found if name.startswith("page-")] == names
    first = await call(channel, "ListEnvironments", {"pageSize": 1})
    with pytest.raises(Refused) as other:
        await call(channel, "ListNamespaces", {"pageToken": first.next_page_token})
    assert other.value.reason == "PAGE_TOKEN_INVALID"


async def test_a_deployer_of_one_environment_sees_that_one_and_changes_nothing_of_it(people: People) -> None:
    seen = (await people.ask("first", "ListEnvironments")).environments
    assert [each.name for each in seen] == ["first-eu"]
    assert (await people.ask("first", "GetEnvironment", {"name": "first-eu"})).environment == seen[0]
    for rpc, fields in (
        ("UpdateEnvironment", {"environment": {"name": "first-eu", "description": "x"}}),
        ("DeleteEnvironment", {"name": "first-eu"}),
        ("CreateEnvironment", {"name": "first-us"}),
    ):
        assert (await refused(people, "first", rpc, fields))[0] == "PERMISSION_MISSING"


async def test_another_tenant_learns_nothing_of_it(people: People) -> None:
    told = []
    for name in ("first-eu", "absent"):
        reason, message = await refused(people, "second", "GetEnvironment", {"name": name})
        told.append((reason, message.replace(name, "")))
    assert told[0] == told[1]
    assert told[0][0] == "PERMISSION_MISSING"
    listed = await people.ask("admin", "ListEnvironments", {"pageSize": 1})
    assert [each.name for each in listed.environments] == ["first-eu"]
    rest = await people.ask("second", "ListEnvironments", {"pageToken": listed.next_page_token})
    assert [each.name for each in rest.environments] == ["second-eu"]


async def test_a_promotion_tells_of_an_environment_only_who_may_read_it(people: People) -> None:
    def promoted(name: str) -> dict[str, Any]:
        return {"version": version("first/model"), "target": {"environment": name}}

    told = []
    for name in ("second-eu", "absent"):
        reason, message = await refused(people, "first", "CreatePromotion", promoted(name))
        told.append((reason, message.replace(name, "")))
    assert told[0] == told[1]
    assert told[0][0] == "ENVIRONMENT_NOT_FOUND"
    reason, message = await refused(people, "first", "CreatePromotion", promoted("first-eu"))
    assert (reason, "deployments come with a later version" in message) == ("ENVIRONMENT_NOT_FOUND", True)


async def test_who_administers_a_name_makes_it_what_it_is_and_gives_roles_on_it(people: People) -> None:
    await people.add("owner")
    await people.grant("owner", "admin", "environment:owned")
    await people.ask("owner", "CreateEnvironment", {"name": "owned", "accepts": ["production"]})
    grant = {"subject": "user:second", "role": "ROLE_VIEWER", "scope": "environment:owned"}
    await people.ask("owner", "GrantRole", grant)
    listed = await people.ask("owner", "ListGrants", {"scope": "environment:owned"})
    assert [each.subject for each in listed.grants] == ["user:owner", "user:second"]
    assert "owned" in [each.name for each in (await people.ask("second", "ListEnvironments")).environments]

    await people.ask("owner", "DeleteEnvironment", {"name": "owned"})

    # The role by which it was deleted ended with it.
    assert (await refused(people, "owner", "CreateEnvironment", {"name": "owned"}))[0] == "PERMISSION_MISSING"
    await people.ask("admin", "CreateEnvironment", {"name": "owned"})
    assert (await refused(people, "second", "GetEnvironment", {"name": "owned"}))[0] == "PERMISSION_MISSING"
    listed = await people.ask("second", "ListEnvironments")
    assert [each.name for each in listed.environments] == ["second-eu"]
