"""Tokens over the wire: which are taken, which are not and why, and that their secrets stay nowhere."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2

from steelyard_server.core import tokens
from tests.api.calls import Refused, call
from tests.api.logins import Metadata, People, bearer
from tests.servers import ServerProcess, running_server, server_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGE = tokens.make().text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[People]:
    async with running_server(tmp_path_factory.mktemp("logins") / "data", auth="tokens") as running:
        found = People(running)
        await found.add("ada", reader="default")
        yield found


async def refusal(people: People, metadata: Metadata) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        await call(people.running.channel, "WhoAmI", metadata=metadata)
    return refused.value.code, refused.value.reason


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "TOKEN_REQUIRED"),
        ((("steelyard-actor", "user:admin"),), "TOKEN_REQUIRED"),
        ((("authorization", "Bearer "),), "TOKEN_MALFORMED"),
        ((("authorization", STRANGE),), "TOKEN_MALFORMED"),
        ((("authorization", f"Basic {STRANGE}"),), "TOKEN_MALFORMED"),
        (bearer(STRANGE) + bearer(STRANGE), "TOKEN_MALFORMED"),
        (bearer(STRANGE[:-1]), "TOKEN_MALFORMED"),
        (bearer(STRANGE[:30] + ("1" if STRANGE[30] == "0" else "0") + STRANGE[31:]), "TOKEN_MALFORMED"),
        (bearer(f"{STRANGE} "), "TOKEN_MALFORMED"),
        (bearer("steelyard_" + 4096 * "0"), "TOKEN_MALFORMED"),
        (bearer("steelyard_" + 9000 * "0"), "TOKEN_MALFORMED"),
        (bearer("steelyard_" + 12_000 * "0"), "TOKEN_MALFORMED"),
        (bearer(STRANGE), "TOKEN_UNKNOWN"),
    ],
)
async def test_what_is_no_good_token_is_refused(people: People, metadata: Metadata, reason: str) -> None:
    assert await refusal(people, metadata) == ("UNAUTHENTICATED", reason)


async def test_a_cut_altered_or_doubled_token_of_somebody_is_refused(people: People) -> None:
    good = people.tokens["ada"]
    await people.ask("ada", "WhoAmI")
    for text in (
        good[:-1],
        good[:-9],
        good.upper(),
        good + "0",
        good[:-1] + ("1" if good[-1] == "0" else "0"),
    ):
        assert (await refusal(people, bearer(text)))[1] == "TOKEN_MALFORMED"
    assert (await refusal(people, bearer(good) + bearer(good)))[1] == "TOKEN_MALFORMED"
    # A word of the same length in place of `Bearer`.
    assert (await refusal(people, (("authorization", f"Digest {good}"),)))[1] == "TOKEN_MALFORMED"


async def test_a_wrong_secret_is_told_like_an_unknown_uid_whatever_became_of_the_token(
    people: People,
) -> None:
    """Who has no secret learns neither that there is a token nor that it was revoked or is over."""
    revoked = await people.add("ended")
    await people.ask("admin", "RevokeToken", {"uid": revoked})
    fields = {"principal": "user:past", "lifetime": "1s"}
    past = (await people.ask("admin", "CreateToken", fields)).token
    while time.time_ns() <= past.expire_time.ToNanoseconds():
        await call(people.running.channel, "GetServerInfo")
    told = []
    for uid in ("", tokens.uid_of(people.tokens["ada"]), revoked, past.uid):
        text = with_uid(STRANGE, uid) if uid else STRANGE
        with pytest.raises(Refused) as refused:
            await call(people.running.channel, "WhoAmI", metadata=bearer(text))
        told.append((refused.value.code, refused.value.reason, refused.value.message, refused.value.info))
    assert all(each == told[0] for each in told)
    assert told[0][:2] == ("UNAUTHENTICATED", "TOKEN_UNKNOWN")


def with_uid(text: str, uid: str) -> str:
    """Put another uid into a token, with the checksum that it then needs."""
    body = f"steelyard_{uid}_{text.split('_')[2][: -tokens.CHECK_DIGITS]}"
    return body + tokens._checksum(body)


async def test_a_revoked_token_is_refused_at_once_and_says_why(people: People) -> None:
    uid = await people.add("grace", reader="default")
    await people.ask("grace", "GetNamespace", {"name": "default"})

    revoked = await people.ask("grace", "RevokeToken", {"uid": uid})

    assert revoked.token.revoke_time.seconds > 0
    assert await refusal(people, bearer(people.tokens["grace"])) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    again = await people.ask("admin", "RevokeToken", {"uid": uid})
    assert again.token.revoke_time == revoked.token.revoke_time


async def test_an_expired_token_is_refused_also_when_it_was_remembered(people: People) -> None:
    fields = {"principal": "user:brief", "lifetime": "1s"}
    made = await people.ask("admin", "CreateToken", fields)
    metadata = bearer(made.secret)
    await call(people.running.channel, "WhoAmI", metadata=metadata)
    end_ns = made.token.expire_time.ToNanoseconds()
    while time.time_ns() <= end_ns:
        await call(people.running.channel, "GetServerInfo")

    assert await refusal(people, metadata) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
    assert await refusal(people, metadata) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")


async def test_a_role_that_is_taken_away_is_gone_at_once(people: People) -> None:
    await people.add("linus", reader="default")
    await people.ask("linus", "GetNamespace", {"name": "default"})

    await people.grant("linus", "reader", "default", rpc="RevokeRole")

    with pytest.raises(Refused) as refused:
        await people.ask("linus", "GetNamespace", {"name": "default"})
    assert refused.value.reason == "PERMISSION_MISSING"
    assert dict(refused.value.info.metadata) == {
        "permission": "read",
        "scope": "default",
        "roles": "viewer reader approver auditor break-glass evaluator writer deployer admin",
    }


async def test_groups_give_their_roles_and_whoami_tells_them(people: People) -> None:
    await people.add("joan")
    await people.ask("admin", "CreateGroup", {"name": "team", "members": ["user:joan"]})
    fields = {"subject": "group:team", "role": "ROLE_WRITER", "scope": "default"}
    await people.ask("admin", "GrantRole", fields)

    told = await people.ask("joan", "WhoAmI")
    assert (list(told.groups), list(told.actor.groups)) == (["group:team"], ["group:team"])
    assert [(each.subject, each.scope) for each in told.grants] == [("group:team", "default")]
    await people.ask("joan", "CreateModel", {"name": "default/joined"})

    group = {"name": "team", "members": []}
    await people.ask("admin", "UpdateGroup", {"group": group, "updateMask": "members"})
    with pytest.raises(Refused) as refused:
        await people.ask("joan", "CreateModel", {"name": "default/left"})
    assert refused.value.reason == "PERMISSION_MISSING"


async def test_who_is_in_a_new_group_that_was_granted_a_role_before_has_it_at_once(people: People) -> None:
    await people.add("lise")
    fields = {"subject": "group:later", "role": "ROLE_WRITER", "scope": "default"}
    await people.ask("admin", "GrantRole", fields)
    made = {"name": "default/later"}
    with pytest.raises(Refused) as refused:
        await people.ask("lise", "CreateModel", made)
    assert refused.value.reason == "PERMISSION_MISSING"

    await people.ask("admin", "CreateGroup", {"name": "later", "members": ["user:lise"]})

    await people.ask("lise", "CreateModel", made)


async def test_everybody_makes_sees_and_revokes_tokens_of_their_own_only(people: People) -> None:
    mine = await people.ask("ada", "CreateToken", {"description": "laptop"})
    assert mine.token.principal == "user:ada"
    listed = await people.ask("ada", "ListTokens")
    assert {each.principal for each in listed.tokens} == {"user:ada"}
    assert mine.token.uid in {each.uid for each in listed.tokens}
    assert {"user:ada", "user:admin"} <= {
        each.principal for each in (await people.ask("admin", "ListTokens")).tokens
    }
    for rpc, fields in (
        ("CreateToken", {"principal": "user:admin"}),
        ("ListTokens", {"principal": "user:admin"}),
    ):
        with pytest.raises(Refused) as refused:
            await people.ask("ada", rpc, fields)
        assert refused.value.reason == "PERMISSION_MISSING"
    told = []
    for uid in (tokens.uid_of(people.tokens["admin"]), "0" * 16):
        with pytest.raises(Refused) as refused:
            await people.ask("ada", "RevokeToken", {"uid": uid})
        told.append((refused.value.reason, refused.value.message.replace(uid, "")))
    assert told[0] == told[1]
    assert told[0][0] == "TOKEN_NOT_FOUND"


async def test_a_repeated_call_answers_the_token_without_its_secret(people: People) -> None:
    fields = {"request_id": str(uuid.uuid4())}
    first = await people.ask("ada", "CreateToken", fields)
    again = await people.ask("ada", "CreateToken", fields)

    assert first.secret.startswith("steelyard_")
    assert (again.token, again.secret) == (first.token, "")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"principal": "ada"}, "INVALID_NAME"),
        ({"principal": "user:Ada"}, "INVALID_NAME"),
        ({"principal": "group:team"}, "INVALID_NAME"),
        ({"principal": "user:" + 200 * "a"}, "TOO_LONG"),
        ({"lifetime": "0s"}, "OUT_OF_BOUNDS"),
        ({"lifetime": "-1s"}, "OUT_OF_BOUNDS"),
        ({"lifetime": "1.5s"}, "OUT_OF_BOUNDS"),
        ({"lifetime": "31622401s"}, "OUT_OF_BOUNDS"),
        ({"description": "x" * 3000}, "TOO_LONG"),
    ],
)
async def test_a_bad_wish_for_a_token_is_refused(people: People, fields: dict[str, str], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        await people.ask("admin", "CreateToken", fields)
    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", reason)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"subject": "ada", "role": "ROLE_READER"}, "INVALID_NAME"),
        ({"subject": "group:", "role": "ROLE_READER"}, "FIELD_REQUIRED"),
        ({"subject": "user:ada"}, "ENUM_INVALID"),
        ({"subject": "user:ada", "role": 99}, "ENUM_INVALID"),
        ({"subject": "user:ada", "role": "ROLE_READER", "scope": "Risk"}, "INVALID_NAME"),
        ({"subject": "user:ada", "role": "ROLE_READER", "scope": "risk/-"}, "RESERVED_NAME"),
        ({"subject": "user:ada", "role": "ROLE_READER", "scope": "risk/a/b"}, "INVALID_RESOURCE_NAME"),
        ({"subject": "user:ada", "role": "ROLE_READER", "scope": "group:risk"}, "INVALID_NAME"),
        ({"subject": "user:ada", "role": "ROLE_READER", "scope": "environment:"}, "FIELD_REQUIRED"),
    ],
)
async def test_a_bad_grant_is_refused(people: People, fields: dict[str, str], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        await people.ask("admin", "GrantRole", fields)
    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", reason)


async def test_health_and_server_info_need_no_login(people: People) -> None:
    assert (await call(people.running.channel, "GetServerInfo", metadata=bearer("junk"))).authentication
    method = people.running.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    answer = await method(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_events_say_by_which_token_and_nothing_of_its_secret(people: People) -> None:
    await people.add("writer", writer="default")
    made = await people.ask("writer", "CreateModel", {"name": "default/told"})

    [event] = (await people.ask("writer", "ListEvents", {"scope": "default/told"})).events

    uid = tokens.uid_of(people.tokens["writer"])
    assert (event.actor.id, event.actor.token_uid, event.actor.authenticated) == ("user:writer", uid, True)
    assert made.model.creator.token_uid == uid


async def test_who_administers_a_namespace_sees_and_gives_the_grants_in_it_and_no_others(
    people: People,
) -> None:
    for name in ("mine", "others"):
        await people.ask("admin", "CreateNamespace", {"name": name})
        await people.grant("joan-of-ops", "reader", f"{name}/fraud")
    await people.add("owner", admin="mine")
    grant = {"subject": "user:lise", "role": "ROLE_WRITER", "scope": "mine/fraud"}
    await people.ask("owner", "GrantRole", grant)

    listed = await people.ask("owner", "ListGrants", {"scope": "mine"})

    assert {(each.subject, each.scope) for each in listed.grants} == {
        ("user:owner", "mine"),
        ("user:joan-of-ops", "mine/fraud"),
        ("user:lise", "mine/fraud"),
    }
    one = await people.ask("owner", "ListGrants", {"scope": "mine/Fraud", "subject": "user:lise"})
    assert [each.scope for each in one.grants] == ["mine/fraud"]
    await people.ask("owner", "RevokeRole", grant)
    for rpc, fields in (
        ("ListGrants", {}),
        ("ListGrants", {"scope": "others"}),
        ("ListGrants", {"scope": "environment:mine"}),
        ("GrantRole", grant | {"scope": "others/fraud"}),
        ("GrantRole", grant | {"scope": ""}),
        ("ListGroups", {}),
    ):
        with pytest.raises(Refused) as refused:
            await people.ask("owner", rpc, fields)
        assert (refused.value.code, refused.value.reason) == ("PERMISSION_DENIED", "PERMISSION_MISSING")


async def test_a_call_for_everybody_looks_at_no_login_so_its_line_in_the_log_names_nobody(
    tmp_path: Path,
) -> None:
    import grpc.aio

    with server_process(tmp_path / "data", "--auth", "tokens", "--log-format", "json") as server:
        token = bearer(server.first_token())
        async with grpc.aio.insecure_channel(server.address) as channel:
            await call(channel, "WhoAmI", metadata=token)
            for metadata in (token, bearer("junk"), ()):
                await call(channel, "GetServerInfo", metadata=metadata)
        server.stop()
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    actors = [(each["method"].rpartition("/")[2], each["actor"]) for each in lines if "actor" in each]
    assert actors == [("WhoAmI", "user:admin"), *3 * [("GetServerInfo", "anonymous")]]


async def test_a_server_whose_tokens_cross_a_network_in_plain_text_says_so(tmp_path: Path) -> None:
    arguments = ("--auth", "tokens", "--allow-remote-without-tls")
    for address, is_said in (("0.0.0.0:0", True), ("127.0.0.1:0", False)):
        directory = tmp_path / address.replace(":", "-")
        server = ServerProcess(directory, arguments, address)
        server.start()
        try:
            server.first_token()
        finally:
            server.stop()
        assert ("warning: without TLS their tokens" in server.log()) == is_said


async def test_the_first_token_is_made_while_nobody_can_administer(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data", auth="tokens") as running:
        first = People(running)
        assert (await first.ask("admin", "WhoAmI")).actor.id == "user:admin"
    async with running_server(tmp_path / "data", auth="tokens") as running:
        assert running.server.first_token == ""
        metadata = bearer(first.tokens["admin"])
        fields = {"uid": tokens.uid_of(first.tokens["admin"])}
        await call(running.channel, "RevokeToken", fields, metadata=metadata)
    async with running_server(tmp_path / "data", auth="tokens") as running:
        second = People(running)
        assert second.tokens["admin"] not in {"", first.tokens["admin"]}
        assert len((await second.ask("admin", "ListGrants")).grants) == 1


async def test_without_logins_everybody_may_do_everything_and_a_token_is_not_looked_at(
    tmp_path: Path,
) -> None:
    async with running_server(tmp_path / "data") as running:
        assert running.server.first_token == ""
        made = await call(running.channel, "CreateToken", {"principal": "user:ada"})
        answer = await call(running.channel, "WhoAmI", metadata=bearer(STRANGE))
        assert (answer.actor.id, len(answer.grants)) == ("anonymous", 0)
        assert not (await call(running.channel, "GetServerInfo")).authentication
    async with running_server(tmp_path / "data", auth="tokens") as running:
        assert (await call(running.channel, "WhoAmI", metadata=bearer(made.secret))).actor.id == "user:ada"


async def test_secrets_are_in_no_file_and_no_log(tmp_path: Path) -> None:
    import grpc.aio

    with server_process(tmp_path / "data", "--auth", "tokens", "--log-level", "debug") as server:
        shown = server.first_token()
        async with grpc.aio.insecure_channel(server.address) as channel:
            request = {"principal": "user:ada", "request_id": str(uuid.uuid4()), "reason": "work"}
            made = await call(channel, "CreateToken", request, metadata=bearer(shown))
            await call(channel, "WhoAmI", metadata=bearer(made.secret))
            with pytest.raises(Refused):
                await call(channel, "WhoAmI", metadata=bearer(made.secret[:-1]))
        server.stop()
        log = server.log() + "".join(server.output)
    files = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert log.count(shown) == 1
    for secret in (shown, made.secret):
        part = secret.split("_")[2][:32]
        assert part not in log.replace(shown, "")
        assert part.encode() not in files
    with closing(sqlite3.connect(tmp_path / "data" / "registry.db")) as database:
        [(answer,)] = database.execute("SELECT answer FROM requests").fetchall()
    assert b"steelyard_" not in answer
