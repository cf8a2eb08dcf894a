"""While blobs are on a local disk, a database has one server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from steelyard_server import server
from steelyard_server.db.postgresql_connection import ONE_SERVER_KEY, Hold, conninfo_of
from steelyard_server.directory import DirectoryInUse
from steelyard_server.errors import Draining
from tests.api.calls import Refused, call
from tests.servers import Running, running_server


async def test_a_second_server_on_a_postgresql_database_refuses_to_start(
    tmp_path: Path, postgresql_url: str
) -> None:
    async with running_server(tmp_path / "one", database=postgresql_url) as one:
        with pytest.raises(DirectoryInUse, match="Another Steelyard server runs on this database"):
            async with running_server(tmp_path / "two", database=postgresql_url):
                pass
        await call(one.channel, "GetServerInfo")
    async with running_server(tmp_path / "two", database=postgresql_url) as two:
        await call(two.channel, "GetServerInfo")


async def test_a_second_server_on_a_data_directory_refuses_to_start(tmp_path: Path) -> None:
    async with running_server(tmp_path / "one"):
        with pytest.raises(DirectoryInUse, match="stop it, or choose another --data-dir"):
            async with running_server(tmp_path / "one"):
                pass


def disconnect(url: str) -> None:
    """End the connection that holds the database, as a restart of its server does."""
    with psycopg.connect(conninfo_of(url), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"
            " AND (classid::bigint << 32) + objid::bigint = %s",
            (ONE_SERVER_KEY,),
        )


def test_a_hold_that_was_lost_is_taken_again_unless_another_has_it(postgresql_url: str) -> None:
    first, second = Hold(conninfo_of(postgresql_url)), Hold(conninfo_of(postgresql_url))
    assert (first.take(), second.take(), first.keep()) == (True, False, True)
    disconnect(postgresql_url)
    assert (first.keep(), second.take()) == (True, False)
    disconnect(postgresql_url)
    assert (second.take(), first.keep(), second.keep()) == (True, False, True)
    # A connection that is closed from here lets go of its lock a little later; one that is ended there has.
    disconnect(postgresql_url)
    assert first.keep()
    second.close()
    first.close()


async def test_a_server_that_lost_its_database_to_another_takes_no_more_calls(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HOLD_CHECK_SECONDS", 0.5)
    async with running_server(tmp_path / "one", database=postgresql_url) as one:
        await call(one.channel, "GetServerInfo")
        thief = Hold(conninfo_of(postgresql_url))
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(steal, thief, postgresql_url):
                pass
            while not await refuses(one):
                pass
        # Nothing collects what belongs to the other one now.
        with pytest.raises(Draining):
            one.server._maintenance.storage.stop.check()
        thief.close()


async def refuses(running: Running) -> bool:
    try:
        await call(running.channel, "GetServerInfo")
    except Refused as refused:
        return refused.reason == "DRAINING"
    return False


def steal(thief: Hold, url: str) -> bool:
    disconnect(url)
    return thief.take()
