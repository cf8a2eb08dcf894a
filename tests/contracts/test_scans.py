"""Long queries: one snapshot, as long as it takes, ended with their caller, few rows in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from steelyard_server import errors
from steelyard_server.db.database import Database, Transaction, WaitLimits
from tests.contracts.blob_rows import BLOBS, add, digests

Open = Callable[..., Awaitable[Database]]

WAIT_SECONDS = 20
FOR_EVER = (
    "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) SELECT {} FROM numbers"
)
COUNT_FOR_EVER = text(FOR_EVER.format("count(*)"))
YIELD_FOR_EVER = text(FOR_EVER.format("n"))
BROKEN = text("SELECT number FROM nowhere")


async def test_a_scan_sees_one_moment_while_others_write(database: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def twice(tx: Transaction) -> tuple[list[str], list[str]]:
        first = digests(tx)
        begun.set()
        assert go_on.wait(WAIT_SECONDS)
        return first, [row.digest for row in tx.each(BLOBS)]

    await database.write(add, "before")
    scan = asyncio.create_task(database.scan(twice))
    assert await asyncio.to_thread(begun.wait, WAIT_SECONDS)
    await database.write(add, "meanwhile")
    go_on.set()
    assert await scan == (["before"], ["before"])
    assert await database.scan(digests) == ["before", "meanwhile"]


async def test_a_scan_may_take_longer_than_a_read(location: Any, opened: Open) -> None:
    database = await opened(location, limits=WaitLimits(read_seconds=0.05))
    waited = threading.Event()

    def dawdle(tx: Transaction) -> list[str]:
        digests(tx)
        waited.wait(0.3)
        return digests(tx)

    with pytest.raises(errors.QueryTooExpensive):
        await database.read(lambda tx: tx.one(COUNT_FOR_EVER))
    assert await database.scan(dawdle) == []


async def test_rows_come_before_the_last_is_there(database: Database) -> None:
    def few(tx: Transaction) -> list[int]:
        return [row.n for row in islice(tx.each(YIELD_FOR_EVER), 100)]

    assert await database.scan(few) == list(range(1, 101))


@pytest.mark.parametrize(
    "query",
    [
        lambda tx: tx.one(COUNT_FOR_EVER),
        lambda tx: sum(1 for _ in tx.each(YIELD_FOR_EVER)),
        lambda tx: [digests(tx) for _ in iter(int, 1)],
    ],
    ids=["in a statement", "between rows", "between statements"],
)
async def test_a_scan_ends_with_its_caller(location: Any, opened: Open, query: Any) -> None:
    database = await opened(location, limits=WaitLimits(scans=1))
    begun = threading.Event()
    ended: list[BaseException] = []

    def for_ever(tx: Transaction) -> None:
        begun.set()
        try:
            query(tx)
        except BaseException as error:
            ended.append(error)
            raise

    scan = asyncio.create_task(database.scan(for_ever))
    assert await asyncio.to_thread(begun.wait, WAIT_SECONDS)
    with pytest.raises(errors.Overloaded):
        await database.scan(digests)
    scan.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scan
    async with asyncio.timeout(WAIT_SECONDS):
        while not ended:
            await asyncio.sleep(0.01)
    await database.write(add, "after")


async def test_closing_the_database_ends_a_scan_and_waits_for_its_end(location: Any, opened: Open) -> None:
    database = await opened(location)
    begun = threading.Event()

    def for_ever(tx: Transaction) -> None:
        begun.set()
        tx.one(COUNT_FOR_EVER)

    scan = asyncio.create_task(database.scan(for_ever))
    assert await asyncio.to_thread(begun.wait, WAIT_SECONDS)
    await database.close()
    with pytest.raises(errors.Draining):
        await scan
    with pytest.raises(errors.Draining):
        await database.scan(digests)


async def test_a_scan_changes_nothing(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)read.?only"):
        await database.scan(add, "x")
    assert await database.scan(digests) == []


async def test_a_fault_in_a_scan_reaches_its_caller(database: Database) -> None:
    with pytest.raises(Exception, match="nowhere"):
        await database.scan(lambda tx: list(tx.each(BROKEN)))


async def test_writes_do_not_wait_for_a_scan_to_let_the_log_go(
    sqlite_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    database: Any = await opened(sqlite_path, limits=WaitLimits(log_bytes=1))
    modes: list[str] = []
    monkeypatch.setattr(database._writer, "_checkpoint", modes.append)
    begun, go_on = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        digests(tx)
        begun.set()
        assert go_on.wait(WAIT_SECONDS)

    await database.write(add, "before")
    scan = asyncio.create_task(database.scan(hold))
    assert await asyncio.to_thread(begun.wait, WAIT_SECONDS)
    modes.clear()
    for number in range(5):
        await database.write(add, f"meanwhile {number}")
    await database.write(digests)
    assert modes == []
    go_on.set()
    await scan
    await database.write(add, "after")
    await database.write(digests)
    assert set(modes) == {"RESTART"}
