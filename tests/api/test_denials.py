"""Who was refused is in the history: some rows a minute for each caller, and a count of the rest."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from steelyard_server.api import denials
from steelyard_server.api.denials import Denials
from steelyard_server.core import tokens
from steelyard_server.core.denials import Denial
from steelyard_server.history.caller import Caller
from tests.api.calls import Refused, call
from tests.api.logins import People, bearer
from tests.contracts.fold import Fold
from tests.servers import running_server, server_process

pytestmark = pytest.mark.asyncio
HOURS = 3600.0


@pytest_asyncio.fixture
async def people(tmp_path: Path) -> AsyncIterator[People]:
    async with running_server(tmp_path / "data", auth="tokens") as running:
        yield People(running)


async def denied(people: People, who: str, rpc: str, fields: dict[str, Any]) -> str:
    with pytest.raises(Refused) as refused:
        await people.ask(who, rpc, fields)
    return refused.value.reason


async def noted(people: People, count: int = 1, **filters: str) -> list[Any]:
    """Wait for events about denials and return them with what they say."""
    while True:
        found = await people.ask(
            "admin", "ListEvents", {"filter": 'action = "call.deny" OR action = "login.fail"'}
        )
        if len(found.events) >= count:
            return list(found.events)


def told(event: Any) -> dict[str, Any]:
    content = json.loads(event.content)
    [change] = content["changes"]
    texts = {each.name: each.text for each in event.texts}
    fields = {name: texts.get(f"changes.0.{name}", value) for name, value in change["after"].items()}
    return fields | {"resource": change["resource"], "actor": content["actor"]["id"]}


async def test_a_denial_says_who_wanted_what_where(people: People) -> None:
    await people.add("ada", reader="default")
    assert await denied(people, "ada", "CreateModel", {"name": "default/no"}) == "PERMISSION_MISSING"

    [event] = await noted(people)

    found = told(event)
    assert (event.action, event.actor.id, event.actor.authenticated) == ("call.deny", "user:ada", True)
    assert found["resource"] == "denial/ModelService/CreateModel"
    assert (found["reason"], found["permission"]) == ("PERMISSION_MISSING", "write")
    assert (found["target"], found["peer"], found["count"]) == ("default/no", "127.0.0.1", "1")


async def test_a_failed_login_is_one_too_and_nothing_of_a_secret_is_in_it(people: People) -> None:
    uid = await people.add("grace")
    await people.ask("admin", "RevokeToken", {"uid": uid})
    secret = people.tokens["grace"]
    for text in (secret, secret[:-1], tokens.make().text):
        with pytest.raises(Refused):
            await call(people.running.channel, "WhoAmI", metadata=bearer(text))
    with pytest.raises(Refused):
        await call(people.running.channel, "WhoAmI")

    events = await noted(people, 4)

    assert sorted(told(each)["reason"] for each in events) == [
        "TOKEN_MALFORMED", "TOKEN_REQUIRED", "TOKEN_REVOKED", "TOKEN_UNKNOWN"
    ]  # fmt: skip
    assert {each.action for each in events} == {"login.fail"}
    assert {told(each).get("token_uid") for each in events} == {None, uid}
    assert all(secret.split("_")[2][:16].encode() not in each.SerializeToString() for each in events)


async def test_only_who_may_audit_sees_them(people: People) -> None:
    await people.add("auditor", auditor="")
    await people.add("reader", reader="")
    await denied(people, "reader", "CreateModel", {"name": "default/no"})
    await noted(people)

    seen = await people.ask("auditor", "ListEvents", {"filter": "action = 'call.deny'"})
    assert [each.actor.id for each in seen.events] == ["user:reader"]
    assert await denied(people, "reader", "ListEvents", {}) == "PERMISSION_MISSING"
    within = await people.ask("reader", "ListEvents", {"scope": "default"})
    assert not [each for each in within.events if each.action == "call.deny"]


async def test_many_are_some_rows_and_a_count_and_the_fold_is_as_before(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data", auth="tokens") as running:
        people = People(running)
        await people.add("ada", reader="default")
        for number in range(37):
            await denied(people, "ada", "CreateModel", {"name": f"default/m{number}"})
    with closing(sqlite3.connect(tmp_path / "data" / "registry.db")) as database:
        rows = database.execute("SELECT content FROM events ORDER BY sequence").fetchall()
        texts = database.execute("SELECT sequence, name, salt, content FROM event_texts").fetchall()
    fold = Fold({(sequence, name): (salt, content) for sequence, name, salt, content in texts})
    for (content,) in rows:
        fold.add(content)
    fold.end()
    assert not fold.of_kind("denial")
    counts = [
        int(change["after"]["count"])
        for (content,) in rows
        for change in json.loads(content)["changes"]
        if change["resource"].startswith("denial/")
    ]
    assert len(counts) == denials.ROWS_MAXIMUM + 1
    assert sum(counts) == 37


async def test_they_are_written_before_the_server_has_stopped(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", "--auth", "tokens") as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            for _ in range(3):
                with pytest.raises(Refused):
                    await call(channel, "WhoAmI")
        server.stop()
    with closing(sqlite3.connect(tmp_path / "data" / "registry.db")) as database:
        [(count,)] = database.execute("SELECT count(*) FROM events WHERE action = 'login.fail'").fetchall()
    assert count == 3


class Broken:
    """A database that takes nothing until it is mended; no part of ours can be told to fail."""

    def __init__(self) -> None:
        self.rows: list[Denial] = []
        self.broken = True

    async def write(self, use_case: Any, batch: list[Denial]) -> None:
        if self.broken:
            raise OSError("disk is full")
        self.rows += batch


def denial(name: str, *, peer: str = "") -> Denial:
    caller = Caller(name) if peer else Caller(name, kind="person", authenticated=True)
    return Denial(caller, method="M/Do", reason="R", time=time.time_ns() // 1000, peer=peer)


async def test_none_is_lost_while_the_database_takes_nothing_and_memory_is_bounded() -> None:
    database: Any = Broken()
    noted = Denials(database)
    sent = 0
    for turn in range(40):
        for number in range(600):
            noted.add(denial(f"user:u{number}"), now=turn * HOURS)
            noted.add(denial("anonymous", peer=f"10.0.{number // 256}.{number % 256}"), now=turn * HOURS)
            sent += 2
        assert not await noted.flush(now=turn * HOURS)
    assert len(noted._waiting) == denials.WAITING_MAXIMUM
    database.broken = False

    assert await noted.flush(now=float("inf"))

    assert sum(each.count for each in database.rows) == sent


async def test_what_cannot_be_written_at_the_stop_is_in_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database: Any = Broken()
    noted = Denials(database)
    noted.add(denial("user:ada"), now=0.0)
    await noted.close()
    said = capsys.readouterr()
    assert "A denial is in no event." in said.out + said.err
    assert "user:ada" in said.out + said.err
    assert "disk is full" in said.out + said.err
