"""What every database promises of transactions, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import bindparam, select, text, update

from steelyard_server import errors
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction, WaitLimits
from tests.contracts.blob_rows import ADD_BLOB, BLOB, BLOBS, RESIZE, add, blob, digests

Open = Callable[..., Awaitable[Database]]

WAIT_SECONDS = 20
HEAD = select(tables.registry.c.sequence).with_for_update()
ADVANCE = update(tables.registry).values(sequence=bindparam("new"))
FOR_EVER = text(
    "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) SELECT count(*) FROM numbers"
)


def advance(tx: Transaction) -> int:
    """Take the next number, by reading the head row and writing it."""
    head = tx.one(HEAD)
    assert head is not None
    number: int = head.sequence + 1
    tx.run(ADVANCE, {"new": number})
    tx.after_commit(number)
    return number


def add_then_fail(tx: Transaction, digest: str) -> None:
    add(tx, digest)
    tx.after_commit(f"never {digest}")
    raise errors.ModelNotFound(f"No model for {digest}.")


@dataclass
class Gate:
    """A use case that holds the thread it runs on, until the test lets it go on."""

    begun: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def pass_through(self, tx: Transaction, digest: str) -> str:
        self.begun.set()
        assert self.opened.wait(WAIT_SECONDS)
        return add(tx, digest)

    def hold(self, _: Transaction) -> bool:
        self.begun.set()
        return self.opened.wait(WAIT_SECONDS)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, WAIT_SECONDS)


async def test_a_hundred_concurrent_writers_get_consecutive_numbers(database: Database) -> None:
    numbers = await asyncio.gather(*(database.write(advance) for _ in range(100)))
    assert sorted(numbers) == list(range(1, 101))


async def test_facts_arrive_in_commit_order_before_their_writers_go_on(location: Any, opened: Open) -> None:
    log: list[tuple[str, int]] = []
    loop_thread = threading.get_ident()

    def on_commit(facts: list[object]) -> None:
        assert threading.get_ident() == loop_thread
        log.extend(("fact", int(str(fact))) for fact in facts)

    database = await opened(location, on_commit=on_commit)

    async def caller() -> None:
        log.append(("answer", await database.write(advance)))

    await asyncio.gather(*(caller() for _ in range(50)))
    assert [number for kind, number in log if kind == "fact"] == list(range(1, 51))
    for number in range(1, 51):
        assert log.index(("fact", number)) < log.index(("answer", number))


async def test_a_fault_in_the_callback_does_not_hide_the_commit(location: Any, opened: Open) -> None:
    def on_commit(_: list[object]) -> None:
        raise ValueError("a fault of the callback")

    database = await opened(location, on_commit=on_commit)
    assert await database.write(advance) == 1


async def test_a_failing_use_case_fails_alone(location: Any, opened: Open) -> None:
    facts: list[object] = []
    database = await opened(location, on_commit=facts.extend, limits=WaitLimits(writers=1))
    gate = Gate()
    first = asyncio.create_task(database.write(gate.pass_through, "a"))
    await gate.entered()
    others = [
        asyncio.create_task(database.write(add_then_fail if name in "ce" else add, name)) for name in "bcdef"
    ]
    await asyncio.sleep(0)
    gate.opened.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    failed = [type(result) for result in results if isinstance(result, Exception)]
    assert failed == [errors.ModelNotFound, errors.ModelNotFound]
    assert await database.read(digests) == ["a", "b", "d", "f"]
    assert facts == []


async def test_an_error_of_the_database_undoes_the_use_case_and_nothing_else(database: Database) -> None:
    def add_null(tx: Transaction) -> None:
        add(tx, "undone")
        tx.run(ADD_BLOB, blob("a") | {"digest": None})

    await database.write(add, "kept")
    with pytest.raises(Exception, match=r"(?i)null") as caught:
        await database.write(add_null)
    assert not isinstance(caught.value, errors.RegistryError)
    assert await database.read(digests) == ["kept"]
    assert await database.write(advance) == 1


async def test_a_use_case_that_raises_stop_iteration_does_not_hang_its_caller(database: Database) -> None:
    def run_dry(tx: Transaction) -> None:
        next(iter(tx.all(BLOBS)))

    with pytest.raises(RuntimeError, match="StopIteration"):
        await database.write(run_dry)


async def test_a_cancelled_write_that_waits_never_runs(location: Any, opened: Open) -> None:
    database = await opened(location, limits=WaitLimits(writers=1))
    gate = Gate()
    first = asyncio.create_task(database.write(gate.pass_through, "first"))
    await gate.entered()
    waiting = asyncio.create_task(database.write(add, "cancelled"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.opened.set()
    await first
    await database.write(add, "last")
    assert await database.read(digests) == ["first", "last"]


async def test_a_cancelled_write_that_has_begun_completes(location: Any, opened: Open) -> None:
    database = await opened(location, limits=WaitLimits(writers=1))
    gate = Gate()
    begun = asyncio.create_task(database.write(gate.pass_through, "begun"))
    await gate.entered()
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    gate.opened.set()
    await database.write(add, "next")
    assert await database.read(digests) == ["begun", "next"]


async def test_a_write_that_waits_too_long_is_refused_and_never_runs(location: Any, opened: Open) -> None:
    database = await opened(location, limits=WaitLimits(writers=1, wait_seconds=0.05))
    gate = Gate()
    first = asyncio.create_task(database.write(gate.pass_through, "first"))
    await gate.entered()
    with pytest.raises(errors.DatabaseBusy):
        await database.write(add, "too late")
    gate.opened.set()
    await first
    await database.write(add, "last")
    assert await database.read(digests) == ["first", "last"]


async def test_no_more_writes_wait_than_allowed(location: Any, opened: Open) -> None:
    database = await opened(location, limits=WaitLimits(writers=1, waiting_writes=3))
    gate = Gate()
    first = asyncio.create_task(database.write(gate.pass_through, "0"))
    await gate.entered()
    waiting = [asyncio.create_task(database.write(add, str(number))) for number in range(1, 4)]
    await asyncio.sleep(0)
    with pytest.raises(errors.Overloaded):
        await database.write(add, "one too many")
    gate.opened.set()
    await asyncio.gather(first, *waiting)
    assert await database.read(digests) == ["0", "1", "2", "3"]


async def test_no_more_reads_wait_than_allowed(location: Any, opened: Open) -> None:
    database = await opened(location, limits=WaitLimits(readers=1, waiting_reads=2))
    gate = Gate()
    first = asyncio.create_task(database.read(gate.hold))
    await gate.entered()
    waiting = [asyncio.create_task(database.read(digests)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(errors.Overloaded):
        await database.read(digests)
    gate.opened.set()
    assert await asyncio.gather(first, *waiting) == [True, [], []]


async def test_a_read_that_waits_too_long_is_refused(location: Any, opened: Open) -> None:
    database = await opened(location, limits=WaitLimits(readers=1, wait_seconds=0.05))
    gate = Gate()
    first = asyncio.create_task(database.read(gate.hold))
    await gate.entered()
    with pytest.raises(errors.DatabaseBusy):
        await database.read(digests)
    gate.opened.set()
    await first
    assert await database.read(digests) == []


async def test_a_read_that_runs_too_long_is_ended_and_its_reader_serves_again(
    location: Any, opened: Open
) -> None:
    database = await opened(location, limits=WaitLimits(readers=1, read_seconds=0.2))
    with pytest.raises(errors.QueryTooExpensive):
        await database.read(lambda tx: tx.one(FOR_EVER))
    assert await database.read(digests) == []


async def test_readers_never_see_half_a_transaction(database: Database) -> None:
    def move(tx: Transaction) -> None:
        tx.run(RESIZE, {"of": "left", "by": -1})
        tx.run(RESIZE, {"of": "right", "by": 1})

    def sizes(tx: Transaction) -> list[int]:
        return [getattr(tx.one(BLOB, digest=digest), "size_bytes", -1) for digest in ("left", "right")]

    await database.write(lambda tx: tx.run(ADD_BLOB, [blob("left", 1000), blob("right", 0)]))
    seen: list[list[int]] = []

    async def look() -> None:
        while not moves.done():
            seen.extend([await database.read(sizes), await database.read_hot(sizes)])

    moves = asyncio.gather(*(database.write(move) for _ in range(200)))
    await asyncio.gather(moves, look(), look())
    assert {left + right for left, right in seen} == {1000}
    assert await database.read(sizes) == [800, 200]


async def test_a_read_sees_every_write_that_was_answered(database: Database) -> None:
    for expected in range(1, 101):
        assert await database.write(advance) == expected
        for read in (database.read, database.read_hot):
            row = await read(lambda tx: tx.one(select(tables.registry.c.sequence)))
            assert row is not None
            assert row.sequence == expected


async def test_a_read_changes_nothing(database: Database) -> None:
    for read in (database.read, database.read_hot):
        with pytest.raises(Exception, match=r"(?i)read.?only"):
            await read(add, "x")
    assert await database.read(digests) == []


async def test_a_transaction_cannot_be_used_after_its_end(database: Database) -> None:
    for run in (database.write, database.read, database.read_hot):
        kept: Transaction = await run(lambda tx: tx)
        with pytest.raises(RuntimeError, match="over"):
            kept.one(BLOBS)


async def test_what_waits_at_close_is_written_and_later_calls_are_refused(
    location: Any, opened: Open
) -> None:
    database = await opened(location)
    waiting = [asyncio.create_task(database.write(add, f"{number:02}")) for number in range(20)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*waiting) == [f"{number:02}" for number in range(20)]
    for run in (database.write, database.read, database.read_hot):
        with pytest.raises(errors.Draining):
            await run(digests)
    again = await opened(location)
    assert len(await again.read(digests)) == 20
