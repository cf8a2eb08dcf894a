"""What must hold on PostgreSQL, where several servers write at once and the network can break."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import bindparam, func, select, text, update

from steelyard_server import errors
from steelyard_server.api.logins import Logins
from steelyard_server.core import access, tokens
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction, WaitLimits, open_database
from steelyard_server.db.work import Unsure
from steelyard_server.history.act import Act
from tests.api.calls import Refused
from tests.api.logins import People, bearer
from tests.api.watches import Watch
from tests.contracts.blob_rows import ADD_BLOB, blob
from tests.contracts.registry import act
from tests.databases import Cluster
from tests.servers import running_server

Open = Callable[..., Awaitable[Database]]

WAIT_SECONDS = 20

HEAD = select(tables.registry.c.sequence).with_for_update()
ADVANCE = update(tables.registry).values(sequence=bindparam("new"))
BLOB = select(tables.blobs.c.size_bytes).where(tables.blobs.c.digest == bindparam("digest"))
BLOBS = select(tables.blobs.c.digest).order_by(tables.blobs.c.digest)
RESIZE = (
    update(tables.blobs).where(tables.blobs.c.digest == bindparam("of")).values(size_bytes=bindparam("to"))
)
BACKEND = select(func.pg_backend_pid().label("pid"))


def advance(tx: Transaction) -> int:
    head = tx.one(HEAD)
    assert head is not None
    number: int = head.sequence + 1
    tx.run(ADVANCE, {"new": number})
    tx.after_commit(number)
    return number


def digests(tx: Transaction) -> list[str]:
    return [row.digest for row in tx.all(BLOBS)]


def backend(tx: Transaction) -> int:
    row = tx.one(BACKEND)
    assert row is not None
    pid: int = row.pid
    return pid


def kill(url: str, pid: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])


async def test_two_servers_on_one_database_number_without_gap(postgresql_url: str, opened: Open) -> None:
    servers = [await opened(postgresql_url) for _ in range(2)]
    numbers = await asyncio.gather(*(servers[each % 2].write(advance) for each in range(100)))
    assert sorted(numbers) == list(range(1, 101))


async def test_a_unique_violation_runs_the_use_case_again(postgresql_url: str, opened: Open) -> None:
    database = await opened(postgresql_url)
    both_looked = threading.Barrier(2)
    runs: list[str] = []

    def get_or_create(tx: Transaction, name: str) -> str:
        runs.append(name)
        if tx.one(BLOB, digest="same") is not None:
            return "found"
        if len(runs) <= 2:
            both_looked.wait(WAIT_SECONDS)
        tx.run(ADD_BLOB, blob("same"))
        return "created"

    results = await asyncio.gather(*(database.write(get_or_create, name) for name in ("a", "b")))
    assert sorted(results) == ["created", "found"]
    assert len(runs) == 3


async def test_a_deadlock_runs_one_use_case_again(
    cluster: Cluster, postgresql_url: str, opened: Open
) -> None:
    name = postgresql_url.partition("@/")[2].partition("?")[0]
    cluster.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '50ms'")
    database = await opened(postgresql_url)
    await database.write(lambda tx: tx.run(ADD_BLOB, [blob("a"), blob("b")]))
    both_hold_one = threading.Barrier(2)
    runs: list[str] = []

    def resize_both(tx: Transaction, first: str, second: str) -> None:
        runs.append(first)
        tx.run(RESIZE, {"of": first, "to": 2})
        if len(runs) <= 2:
            both_hold_one.wait(WAIT_SECONDS)
        tx.run(RESIZE, {"of": second, "to": 2})

    await asyncio.gather(database.write(resize_both, "a", "b"), database.write(resize_both, "b", "a"))
    # One ran again. On a busy machine it may take its first row before the other wakes up, and they collide
    # once more; of the four runs that each has, the last of one is enough.
    assert 3 <= len(runs) <= 7


async def test_what_collides_every_time_is_a_conflict_after_four_runs(
    postgresql_url: str, opened: Open
) -> None:
    database = await opened(postgresql_url)
    runs: list[int] = []

    def collide(tx: Transaction) -> None:
        runs.append(1)
        tx.run(ADD_BLOB, [blob("same"), blob("same")])

    with pytest.raises(errors.Conflict):
        await database.write(collide)
    assert len(runs) == 4


async def test_a_lock_that_stays_taken_is_reported_as_busy(postgresql_url: str, opened: Open) -> None:
    database = await opened(postgresql_url, limits=WaitLimits(wait_seconds=0.2))
    with psycopg.connect(postgresql_url) as other:
        other.execute("SELECT 1 FROM registry FOR UPDATE")
        with pytest.raises(errors.DatabaseBusy):
            await database.write(advance)
    assert await database.write(advance) == 1


async def test_a_connection_lost_before_the_commit_is_replaced_and_the_use_case_runs_again(
    postgresql_url: str, opened: Open
) -> None:
    database = await opened(postgresql_url)
    killed: list[int] = []

    def lose_once(tx: Transaction) -> int:
        if not killed:
            killed.append(backend(tx))
            kill(postgresql_url, killed[0])
        return advance(tx)

    assert await database.write(lose_once) == 1
    assert len(killed) == 1


async def test_connections_lost_again_and_again_are_unavailable(postgresql_url: str, opened: Open) -> None:
    database = await opened(postgresql_url)

    def lose(tx: Transaction) -> int:
        kill(postgresql_url, backend(tx))
        return advance(tx)

    with pytest.raises(errors.StorageUnavailable):
        await database.write(lose)
    assert await database.write(advance) == 1


def slow_down_commits(url: str, *, when: str) -> None:
    """Let each transaction that does something to a table, as `INSERT ON blobs`, sleep in its COMMIT."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$"
        )
        connection.execute(
            f"CREATE CONSTRAINT TRIGGER slow_commit AFTER {when}"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()"
        )


async def test_a_connection_lost_during_the_commit_leaves_the_outcome_unknown(
    postgresql_url: str, opened: Open
) -> None:
    slow_down_commits(postgresql_url, when="INSERT ON blobs")
    told: list[object] = []
    database = await opened(postgresql_url, on_commit=told.extend)
    pids: list[int] = []

    def commit_slowly(tx: Transaction) -> None:
        pids.append(backend(tx))
        tx.run(ADD_BLOB, blob("unknown"))
        tx.after_commit("a fact")

    write = asyncio.create_task(database.write(commit_slowly))
    await asyncio.to_thread(kill_when_committing, postgresql_url, pids)
    with pytest.raises(errors.OutcomeUnknown):
        await write
    assert told == [Unsure(("a fact",))]
    assert await database.write(advance) == 1
    assert not database.sealed


async def test_a_token_whose_revocation_may_have_been_committed_is_looked_up_again(
    postgresql_url: str, opened: Open
) -> None:
    logins = Logins()
    database = logins.database = await opened(postgresql_url, on_commit=logins.on_commit)
    secret = tokens.make()
    names = {"uid": secret.uid, "digest": secret.digest}
    await database.write(tokens.create, act(), principal="user:ada", **names)
    metadata = [("authorization", f"Bearer {secret.text}")]
    assert await logins.caller(metadata) is await logins.caller(metadata)
    slow_down_commits(postgresql_url, when="UPDATE ON tokens")
    pids: list[int] = []

    def revoke(tx: Transaction) -> None:
        pids.append(backend(tx))
        tokens.revoke(tx, Act(access.UNLIMITED), uid=secret.uid)

    write = asyncio.create_task(database.write(revoke))
    await asyncio.to_thread(kill_when_committing, postgresql_url, pids)
    with pytest.raises(errors.OutcomeUnknown):
        await write

    # As if the connection was lost behind the commit.
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("DROP TRIGGER slow_commit ON tokens")
        connection.execute("UPDATE tokens SET revoke_time = 1")
    with pytest.raises(errors.TokenRevoked):
        await logins.caller(metadata)


async def test_calls_and_watches_go_on_after_a_change_of_access_that_may_have_been_committed(
    postgresql_url: str, tmp_path: Path
) -> None:
    settings = {"database": postgresql_url, "auth": "tokens"}
    async with running_server(tmp_path / "data", **settings) as running:
        people = People(running)
        await people.ask("admin", "CreateNamespace", {"name": "own"})
        await people.add("ada", reader="own")
        stream = Watch(running.channel, metadata=bearer(people.tokens["ada"]), scope="own")
        await stream.read()
        slow_down_commits(postgresql_url, when="INSERT ON grants")
        granting = asyncio.create_task(people.grant("grace", "reader", "own"))
        await asyncio.to_thread(kill_when_committing, postgresql_url)
        with pytest.raises(Refused) as refused:
            await granting
        assert refused.value.reason == "OUTCOME_UNKNOWN"

        # Nobody knows whether it was, so all are looked up again, once for each call and event.
        assert (await people.ask("ada", "WhoAmI")).actor.id == "user:ada"
        sequence = (await people.ask("admin", "CreateModel", {"name": "own/model"})).sequence
        assert await stream.until(sequence) == [sequence]


def kill_when_committing(url: str, pids: Sequence[int] = ()) -> None:
    """Wait until a backend sleeps in its COMMIT, one of *pids* if there are any, then end it."""
    asleep = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    with psycopg.connect(url, autocommit=True) as connection:
        deadline = time.monotonic() + WAIT_SECONDS
        while (found := connection.execute(asleep).fetchone()) is None or (pids and found[0] not in pids):
            assert time.monotonic() < deadline
    kill(url, found[0])


async def test_a_use_case_that_goes_on_after_an_error_is_not_committed(
    postgresql_url: str, opened: Open
) -> None:
    database = await opened(postgresql_url)

    def swallow(tx: Transaction) -> None:
        tx.run(ADD_BLOB, blob("a"))
        try:
            tx.run(ADD_BLOB, blob("a"))
        except psycopg.Error:
            return

    with pytest.raises(RuntimeError, match="went on"):
        await database.write(swallow)
    assert await database.read(digests) == []


async def test_a_server_that_is_away_is_unavailable() -> None:
    with pytest.raises(errors.StorageUnavailable):
        await open_database("postgresql+psycopg://nobody@127.0.0.1:1/none")


async def test_a_database_without_utf8_is_refused(cluster: Cluster, opened: Open) -> None:
    cluster.execute("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII'")
    with pytest.raises(errors.StorageUnavailable, match="UTF-8"):
        await opened(cluster.conninfo("ascii"))


async def test_commits_are_durable_whatever_the_server_defaults_to(
    cluster: Cluster, postgresql_url: str, opened: Open
) -> None:
    name = postgresql_url.partition("@/")[2].partition("?")[0]
    cluster.execute(f"ALTER DATABASE {name} SET synchronous_commit = 'off'")
    database = await opened(postgresql_url)
    row = await database.write(lambda tx: tx.one(text("SHOW synchronous_commit")))
    assert row is not None
    assert row.synchronous_commit == "on"


async def test_every_text_column_is_ordered_by_bytes(postgresql_url: str) -> None:
    with psycopg.connect(postgresql_url) as connection:
        found = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
        ).fetchall()
    assert found == []
