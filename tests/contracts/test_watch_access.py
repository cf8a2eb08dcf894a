"""Who may read and watch which events, and that a watch ends with the right to it, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from steelyard_server.api import feeds
from tests.api.calls import Refused
from tests.api.logins import People, bearer
from tests.api.watches import Watch
from tests.servers import running_server

CHANGES, LARGE = 60, 60_000 * "a"


@pytest.fixture
async def people(location: str | Path, tmp_path: Path) -> AsyncIterator[People]:
    """Run a server that wants logins on a database of each kind, with two namespaces."""
    settings = {"database": location} if isinstance(location, str) else {}
    async with running_server(tmp_path / "data", auth="tokens", **settings) as running:
        found = People(running)
        for space in ("own", "foreign"):
            await found.ask("admin", "CreateNamespace", {"name": space})
            await change(found, space)
        await found.add("ada", reader="own")
        yield found


async def change(people: People, space: str = "own", name: str = "model") -> int:
    """Make a model, and return the sequence of its event."""
    return int((await people.ask("admin", "CreateModel", {"name": f"{space}/{name}"})).sequence)


def watch(people: People, who: str, **fields: Any) -> Watch:
    return Watch(people.running.channel, metadata=bearer(people.tokens[who]), **fields)


async def refusal(people: People, who: str, scope: str) -> list[str]:
    """Return the reasons for which somebody may neither list nor watch a scope."""
    with pytest.raises(Refused) as listing:
        await people.ask(who, "ListEvents", {"scope": scope})
    with pytest.raises(Refused) as watching:
        await watch(people, who, scope=scope).read()
    assert listing.value.message == watching.value.message
    return [listing.value.reason, watching.value.reason]


async def test_a_scope_needs_read_and_the_whole_registry_audit(people: People) -> None:
    await people.add("grace", reader="own/model")
    await people.add("wide", writer="")
    await people.add("narrow", auditor="own")
    await people.add("auditor", auditor="")
    denied = 2 * ["PERMISSION_MISSING"]
    may = {
        "ada": {"own", "own/model"},
        "grace": {"own/model"},
        "wide": {"own", "own/model", "foreign"},
        "narrow": {"own", "own/model"},
        "auditor": {"", "own", "own/model", "foreign"},
        "admin": {"", "own", "own/model", "foreign"},
    }
    for who, allowed in may.items():
        for scope in ("", "own", "own/model", "foreign"):
            if scope not in allowed:
                assert await refusal(people, who, scope) == denied, (who, scope)
                continue
            listed = (await people.ask(who, "ListEvents", {"scope": scope})).events
            stream = watch(people, who, scope=scope, after_sequence=0)
            assert await stream.until(listed[-1].sequence) == [event.sequence for event in listed]
            stream.cancel()


async def test_who_may_audit_reads_every_change_of_access_and_no_secret(people: People) -> None:
    await people.add("auditor", auditor="")
    await people.ask("admin", "CreateGroup", {"name": "team", "members": ["user:ada"]})
    await people.ask("admin", "UpdateGroup", {"group": {"name": "team"}, "updateMask": "members"})
    await people.ask("admin", "DeleteGroup", {"name": "team"})
    await people.grant("ada", "reader", "own", rpc="RevokeRole")
    uid = (await people.ask("admin", "CreateToken", {"principal": "service:ci"})).token.uid
    await people.ask("admin", "RevokeToken", {"uid": uid, "reason": "left"})

    fields = {"filter": 'action = "token.*" OR action = "role.*" OR action = "group.*"', "pageSize": 1000}
    listed = (await people.ask("auditor", "ListEvents", fields)).events

    assert [event.action for event in listed][-8:] == [
        *("token.create", "role.grant"),
        *("group.create", "group.update", "group.delete", "role.revoke", "token.create", "token.revoke"),
    ]
    secrets = [token.split("_")[2][:32] for token in people.tokens.values()]
    for event in listed:
        assert not any(secret.encode() in event.SerializeToString() for secret in secrets)
    of_token = {"filter": f'resource = "token/{uid}"'}
    made, revoked = (await people.ask("auditor", "ListEvents", of_token)).events
    assert (made.action, revoked.action) == ("token.create", "token.revoke")
    assert [(text.name, text.text) for text in revoked.texts if text.name == "reason"] == [("reason", "left")]


async def test_a_revoked_token_ends_its_watch_and_no_other(people: People) -> None:
    made = await people.ask("ada", "CreateToken")
    metadata = bearer(made.secret)
    own = Watch(people.running.channel, metadata=metadata, scope="own", heartbeat_seconds=120)
    other = watch(people, "ada", scope="own")
    for each in (own, other):
        await each.read()

    await people.ask("ada", "RevokeToken", {"uid": made.token.uid})

    # At once, and not with the next event or heartbeat.
    refused = await own.refusal()
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    sequence = await change(people, name="later")
    assert await other.until(sequence) == [sequence]


@pytest.mark.parametrize("through", ["role", "group", "members"])
async def test_who_loses_the_permission_gets_nothing_that_is_committed_later(
    people: People, through: str
) -> None:
    await people.add("grace")
    await people.ask("admin", "CreateGroup", {"name": "team", "members": ["user:grace"]})
    subject = "user:grace" if through == "role" else "group:team"
    grant = {"subject": subject, "role": "ROLE_VIEWER", "scope": "own/model"}
    await people.ask("admin", "GrantRole", grant)
    stream = watch(people, "grace", scope="own/model")
    await stream.read()

    if through == "role":
        await people.ask("admin", "RevokeRole", grant)
    elif through == "group":
        await people.ask("admin", "DeleteGroup", {"name": "team"})
    else:
        await people.ask("admin", "UpdateGroup", {"group": {"name": "team"}, "updateMask": "members"})
    model = {"model": {"name": "own/model", "description": "later"}, "updateMask": "description"}
    await people.ask("admin", "UpdateModel", model)

    refused = await stream.refusal()
    assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "PERMISSION_MISSING")


async def test_a_watch_goes_on_while_any_role_gives_what_it_needs(people: People) -> None:
    await people.add("grace", viewer="own/model")
    streams = [watch(people, "ada", scope="own"), watch(people, "grace", scope="own/model")]
    for stream in streams:
        await stream.read()
    await people.grant("ada", "viewer", "own")
    await people.grant("ada", "reader", "own", rpc="RevokeRole")
    renamed = await people.ask("admin", "RenameModel", {"name": "own/model", "newName": "own/renamed"})

    for stream in streams:
        assert await stream.until(renamed.sequence) == [renamed.sequence]


async def test_a_login_that_expires_ends_its_watch_with_a_heartbeat(people: People) -> None:
    fields = {"principal": "user:ada", "lifetime": "2s"}
    made = await people.ask("admin", "CreateToken", fields)
    metadata = bearer(made.secret)
    stream = Watch(people.running.channel, metadata=metadata, scope="own", heartbeat_seconds=1)

    found, refused = await stream.end()

    assert (found, refused.code, refused.reason) == ([], "UNAUTHENTICATED", "TOKEN_EXPIRED")


async def test_a_slow_watcher_gets_nothing_more_once_it_lost_the_permission(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads on from the database, and there too the permission counts that it has then."""
    monkeypatch.setattr(feeds, "RING_EVENTS", 4)
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 64 * 1024)]
    options.append(("grpc.use_local_subchannel_pool", 1))
    channel = grpc.aio.insecure_channel(people.running.address, options=options)
    stream = Watch(channel, metadata=bearer(people.tokens["ada"]), scope="own")
    begin = (await stream.read()).sequence
    for number in range(CHANGES):
        model = {"name": "own/model", "description": f"{number} {LARGE}"}
        await people.ask("admin", "UpdateModel", {"model": model, "updateMask": "description"})

    await people.grant("ada", "reader", "own", rpc="RevokeRole")

    found, refused = await stream.end()
    assert refused.reason == "PERMISSION_MISSING"
    # What was under way when the permission went has come; the rest has not.
    assert found == list(range(begin + 1, begin + 1 + len(found)))
    assert len(found) < CHANGES
    await channel.close()
