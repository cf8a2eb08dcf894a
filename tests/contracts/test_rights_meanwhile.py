"""Rights that go after a call was let in and before it is served, on both databases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf import json_format, message_factory

from steelyard_server.api.logins import Logins
from steelyard_server.db.database import Database, Transaction
from tests.api.calls import METHODS, Refused, request_class
from tests.api.logins import People, bearer
from tests.api.test_second_tenant import content, upload, version
from tests.servers import running_server

SECONDS = 20
FIRST, BATCH = {"version": version("own/model")}, {"namespace": "own", "versions": [version("own/model")]}
# Reads that find rows by key; on SQLite nothing can come between, for they run on the event loop at once.
HOT: dict[str, dict[str, Any]] = {
    "GetNamespace": {"name": "own"},
    "GetEnvironment": {"name": "own-eu"},
    "GetModel": {"name": "own/model"},
    "GetVersion": FIRST,
    "GetAlias": {"model": "own/model", "alias": "champion"},
    "ReadFile": FIRST | {"path": "w.bin"},
    "WhoAmI": {},
}
# Others, which wait for a thread.
COLD: dict[str, dict[str, Any]] = {
    "ListModels": {"namespace": "own"},
    "BatchGetVersions": BATCH,
    "CompareVersions": {"namespace": "own", "versions": [version("own/model"), version("own/model", 2)]},
    "ListVersions": {"model": "own/model"},
    "GetManifest": FIRST,
    "ListFiles": FIRST,
    "ListEvaluations": FIRST,
    "ReadFiles": FIRST | {"paths": ["w.bin"]},
    "ListAliases": {"model": "own/model"},
    "ListAliasMoves": {"model": "own/model", "alias": "champion"},
    "ListEvents": {"scope": "own"},
    "WatchEvents": {"scope": "own"},
    "GetPolicy": {"namespace": "own", "name": "careful"},
    "ListPolicies": {"namespace": "own"},
    "GetPromotion": {"scope": "own", "number": 1},
    "ListPromotions": {"scope": "own"},
    "ListGrants": {},
    "ListGroups": {},
    "GetStorageUsage": {},
    "ListNamespaces": {},
    "ListEnvironments": {},
    "ListTokens": {},
}
# What anybody may ask who logged in, and is answered by what they may see.
OF_ALL = {"WhoAmI", "ListNamespaces", "ListEnvironments", "ListTokens"}
# Changes, and what goes on by itself, of which no transaction asks who began it.
CHANGES: dict[str, dict[str, Any]] = {
    "CreateModel": {"name": "own/late"},
    "FindMissingBlobs": {"namespace": "own"},
    "CollectGarbage": {},
    "VerifyStorage": {},
    "Backup": {"name": "late"},
}

Noted = asyncio.Queue[Any]


@pytest.fixture
def let_in(monkeypatch: pytest.MonkeyPatch) -> Noted:
    """Note who was found out to call, each time that a server finds it out."""
    noted: Noted = asyncio.Queue()
    find_out = Logins.caller

    async def caller(logins: Logins, metadata: Any) -> Any:
        found = await find_out(logins, metadata)
        noted.put_nowait(found.id)
        return found

    monkeypatch.setattr(Logins, "caller", caller)
    return noted


@pytest.fixture
async def people(let_in: Noted, location: str | Path, tmp_path: Path) -> AsyncIterator[People]:
    """Run a server on each database in turn, where ada may do what an admin may."""
    database = "" if isinstance(location, Path) else location
    settings = {"database": database, "backup_dir": str(tmp_path / "backups")}
    (tmp_path / "backups").mkdir()
    async with running_server(tmp_path / "data", auth="tokens", **settings) as running:
        found = People(running)
        await found.ask("admin", "CreateNamespace", {"name": "own"})
        await found.ask("admin", "CreateEnvironment", {"name": "own-eu"})
        await found.add("ada", admin="")
        await found.add("tom", approver="own")
        await upload(found, "ada", "own")
        await found.ask("ada", "CreateModel", {"name": "own/model"})
        for name in ("first", "second"):
            await found.ask("ada", "CreateVersion", content("own/model", parameter=name))
        await found.ask("ada", "SetAlias", FIRST | {"alias": "champion"})
        policy = {"namespace": "own", "name": "careful", "target": {"stage": "production"}}
        policy |= {"approvals": {"count": 1}}
        await found.ask("ada", "SetPolicy", {"policy": policy})
        approval = {"scope": "own", "number": 1, "verdict": "VERDICT_APPROVE"}
        await found.ask("tom", "ReviewPromotion", approval)
        yield found


class Held:
    """A call that has begun, and whose request has not been sent yet."""

    def __init__(self, people: People, rpc: str, fields: dict[str, Any]) -> None:
        method = METHODS[rpc]
        raw: Any = people.running.channel
        kind = raw.stream_stream if method.server_streaming else raw.stream_unary
        parse = message_factory.GetMessageClass(method.output_type).FromString
        path = f"/{method.containing_service.full_name}/{rpc}"
        metadata = bearer(people.tokens["ada"])
        self._streams = method.server_streaming
        self._call = kind(path, response_deserializer=parse)(metadata=metadata, timeout=SECONDS)
        self._request = json_format.ParseDict(fields, request_class(rpc)()).SerializeToString()

    async def go_on(self) -> Any:
        """Send the request; return the answer, of a stream its first message.

        Raises:
            Refused: with the status that came instead.
        """
        try:
            await self._call.write(self._request)
            await self._call.done_writing()
            return await (self._call.read() if self._streams else self._call)
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from None


async def hold(people: People, let_in: Noted, rpcs: dict[str, dict[str, Any]]) -> dict[str, Held]:
    """Begin calls of ada, and wait until the server knows of each who makes it."""
    while not let_in.empty():
        let_in.get_nowait()
    held = {rpc: Held(people, rpc, fields) for rpc, fields in rpcs.items()}
    for _ in held:
        assert await asyncio.wait_for(let_in.get(), SECONDS) == "user:ada"
    return held


async def reason_of(answer: Any) -> str:
    """Return why a call was refused; empty when it was not."""
    try:
        await answer
    except Refused as refused:
        return refused.reason
    return ""


async def take_role(people: People) -> None:
    await people.grant("ada", "admin", "", rpc="RevokeRole")


async def take_token(people: People) -> None:
    await people.ask("admin", "RevokeToken", {"uid": people.tokens["ada"].split("_")[1]})


def test_every_read_is_here() -> None:
    reads = {
        name
        for name, method in METHODS.items()
        if "minimum_sequence" in method.input_type.fields_by_name or name.startswith(("Get", "List", "Watch"))
    }
    assert reads - {"GetServerInfo"} <= HOT.keys() | COLD.keys()


@pytest.mark.parametrize(
    ("take", "wanted"),
    [(take_role, "PERMISSION_MISSING"), (take_token, "TOKEN_REVOKED")],
    ids=["role", "token"],
)
async def test_a_request_that_comes_after_the_right_has_gone_is_refused(
    people: People, let_in: Noted, take: Callable[[People], Any], wanted: str
) -> None:
    # Somebody has asked before, so that there is an answer to remember.
    assert await reason_of(people.ask("ada", "GetVersion", FIRST)) == ""
    rpcs = HOT | COLD | CHANGES
    held = await hold(people, let_in, rpcs)

    await take(people)

    for rpc, each in held.items():
        expected = "" if rpc in OF_ALL and wanted == "PERMISSION_MISSING" else wanted
        assert await reason_of(each.go_on()) == expected, rpc


async def test_who_lost_a_role_sees_in_lists_of_all_what_is_theirs_still(
    people: People, let_in: Noted
) -> None:
    held = await hold(people, let_in, {rpc: {} for rpc in OF_ALL})

    await take_role(people)

    assert list((await held["ListNamespaces"].go_on()).namespaces) == []
    assert list((await held["ListEnvironments"].go_on()).environments) == []
    assert list((await held["WhoAmI"].go_on()).grants) == []
    assert {each.principal for each in (await held["ListTokens"].go_on()).tokens} == {"user:ada"}


@asynccontextmanager
async def busy(database: Database, *, reads: int = 0, writes: int = 0) -> AsyncIterator[None]:
    """Keep as many threads of the database busy until the block ends."""
    begun, over = threading.Semaphore(0), threading.Event()

    def wait(_: Transaction) -> None:
        begun.release()
        assert over.wait(SECONDS)

    tasks = [asyncio.create_task(database.read(wait)) for _ in range(reads)]
    tasks += [asyncio.create_task(database.write(wait)) for _ in range(writes)]
    for _ in tasks:
        assert await asyncio.to_thread(begun.acquire, timeout=SECONDS)
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*tasks)


def noting(database: Database, monkeypatch: pytest.MonkeyPatch, *names: str) -> Noted:
    """Note each time that something begins to wait for the database."""
    noted: Noted = asyncio.Queue()
    kind: Any = type(database)

    def noted_before(work: Any) -> Any:
        def begin(*arguments: Any, **options: Any) -> Any:
            noted.put_nowait(None)
            return work(*arguments, **options)

        return begin

    for name in names:
        monkeypatch.setattr(kind, name, noted_before(getattr(kind, name)))
    return noted


async def test_a_read_that_waited_for_the_database_while_the_right_went_is_refused(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = people.running.server.database
    hot = {} if database.name.startswith("sqlite") else HOT
    rpcs = {rpc: fields for rpc, fields in (COLD | hot).items() if rpc not in OF_ALL}
    for who in ("ada", "admin"):
        # Known from now on, so that nobody waits for the database to be let in.
        await people.ask(who, "WhoAmI")
    async with busy(database, reads=2):
        waiting = noting(database, monkeypatch, *(["read", "read_hot"] if hot else ["read"]))
        calls = {rpc: asyncio.create_task(first(people, rpc, fields)) for rpc, fields in rpcs.items()}
        for _ in calls:
            await asyncio.wait_for(waiting.get(), SECONDS)
        await take_role(people)

    for rpc, each in calls.items():
        assert await reason_of(each) == "PERMISSION_MISSING", rpc


async def first(people: People, rpc: str, fields: dict[str, Any]) -> Any:
    """Call as ada; return the answer, of a stream its first message."""
    return await Held(people, rpc, fields).go_on()


async def test_a_change_that_waited_behind_the_end_of_the_right_is_refused(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = people.running.server.database
    if not database.name.startswith("sqlite"):
        pytest.skip("Several threads write, so nothing says who of two that wait comes first.")
    async with busy(database, writes=1):
        waiting = noting(database, monkeypatch, "write")
        taking = asyncio.create_task(take_role(people))
        await asyncio.wait_for(waiting.get(), SECONDS)
        rpcs = ("CreateModel", "FindMissingBlobs")
        calls = {rpc: asyncio.create_task(first(people, rpc, CHANGES[rpc])) for rpc in rpcs}
        for _ in calls:
            await asyncio.wait_for(waiting.get(), SECONDS)

    await taking
    for rpc, each in calls.items():
        assert await reason_of(each) == "PERMISSION_MISSING", rpc
