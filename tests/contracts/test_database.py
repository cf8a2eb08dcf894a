"""What every database must promise, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from steelyard_server import errors
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Row, Transaction, WaitLimits
from steelyard_server.db.statements import any_of, insert_generated, insert_new

Open = Callable[..., Awaitable[Database]]

WAIT_SECONDS = 20
INT64_EXTREMES = (-(2**63), -1, 0, 1, 2**53 + 1, 2**63 - 1)
ODD_TEXTS = (
    "",
    " ",
    "'; DROP TABLE x; --",
    "%s %(x)s :x ?",
    "é",
    "e\u0301",
    "ß",
    "日本語",
    "🦉\U0010ffff",
    "\u202e\ufeff\ufffe",
)

HEAD = select(tables.registry.c.sequence).with_for_update()
ADVANCE = update(tables.registry).values(sequence=bindparam("new"))
ADD_BLOB = insert(tables.blobs)
ADD_NEW_BLOB = insert_new(tables.blobs)
BLOBS = select(tables.blobs.c.digest, tables.blobs.c.size_bytes).order_by(tables.blobs.c.digest)
BLOB = select(tables.blobs.c.size_bytes).where(tables.blobs.c.digest == bindparam("digest"))
BLOBS_OF = select(tables.blobs.c.digest).where(any_of(tables.blobs.c.digest, "digests"))
BLOBS_SIZED = select(tables.blobs.c.digest).where(any_of(tables.blobs.c.size_bytes, "sizes"))
RESIZE = (
    update(tables.blobs)
    .where(tables.blobs.c.digest == bindparam("of"))
    .values(size_bytes=tables.blobs.c.size_bytes + bindparam("by"))
)
TOTAL = select(func.sum(tables.blobs.c.size_bytes).label("total"))
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


def blob(digest: str, size_bytes: int = 1) -> dict[str, Any]:
    return {"digest": digest, "size_bytes": size_bytes, "create_time": 0}


def add(tx: Transaction, digest: str, size_bytes: int = 1) -> str:
    tx.run(ADD_BLOB, blob(digest, size_bytes))
    return digest


def add_then_fail(tx: Transaction, digest: str) -> None:
    add(tx, digest)
    tx.after_commit(f"never {digest}")
    raise errors.ModelNotFound(f"No model for {digest}.")


def digests(tx: Transaction) -> list[str]:
    return [row.digest for row in tx.all(BLOBS)]


def found(tx: Transaction, wanted: list[str]) -> set[str]:
    return {row.digest for row in tx.all(BLOBS_OF, digests=wanted)}


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
        tx.run(ADD_BLOB, {"digest": None, "size_bytes": 1, "create_time": 0})

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


async def test_rows_have_names_and_unpack(database: Database) -> None:
    await database.write(lambda tx: tx.run(ADD_BLOB, blob("a", 7)))
    row = await database.read(lambda tx: tx.one(BLOBS))
    assert row is not None
    digest, size_bytes = row
    assert (digest, size_bytes) == (row.digest, row.size_bytes) == (row[0], row[1]) == ("a", 7)
    assert await database.read(lambda tx: tx.one(BLOB, digest="none")) is None
    assert await database.read(lambda tx: tx.all(BLOBS_OF, digests=[])) == []


async def test_columns_of_one_name_stay_apart(database: Database) -> None:
    both = select(tables.registry.c.id, tables.registry.c.sequence.label("id"))
    row = await database.read(lambda tx: tx.one(both))
    assert row is not None
    assert tuple(row) == (1, 0)


async def test_integers_keep_all_64_bits(database: Database) -> None:
    for size_bytes in INT64_EXTREMES:
        await database.write(add, str(size_bytes), size_bytes)
    rows: list[Row] = await database.read(lambda tx: tx.all(BLOBS))
    assert {row.digest: row.size_bytes for row in rows} == {str(number): number for number in INT64_EXTREMES}


async def test_sums_of_integers_are_integers(database: Database) -> None:
    await database.write(lambda tx: tx.run(ADD_BLOB, [blob("a", 2**53), blob("b", 1)]))
    row = await database.read(lambda tx: tx.one(TOTAL))
    assert row is not None
    assert (type(row.total), row.total) == (int, 2**53 + 1)


async def test_text_and_bytes_come_back_as_they_were(database: Database) -> None:
    content = bytes(range(256)) * 3
    add_manifest = insert(tables.manifests)
    await database.write(
        lambda tx: tx.run(add_manifest, [{"digest": odd, "content": content} for odd in ODD_TEXTS])
    )
    rows = await database.read(lambda tx: tx.all(select(tables.manifests)))
    assert {row.digest: row.content for row in rows} == dict.fromkeys(ODD_TEXTS, content)
    assert {type(row.content) for row in rows} == {bytes}


async def test_text_is_ordered_by_its_bytes(database: Database) -> None:
    names = [
        "a",
        "B",
        "b",
        "A",
        "_",
        "-",
        "é",
        "e\u0301",
        "z",
        "Z",
        "\uffff",
        "\U00010000",
        "10",
        "9",
        "",
        "ä",
    ]
    await database.write(lambda tx: tx.run(ADD_BLOB, [blob(name) for name in names]))
    assert await database.read(digests) == sorted(names, key=lambda name: name.encode())


async def test_doubles_are_ordered_alike_with_nan_last(database: Database) -> None:
    values = {
        "nan": math.nan,
        "inf": math.inf,
        "-inf": -math.inf,
        "-0": -0.0,
        "tiny": 5e-324,
        "max": 1.7976931348623157e308,
    }
    metrics = [metric(name, value) for name, value in values.items()]
    await database.write(add_metrics, metrics)
    order = select(tables.metrics.c.name, tables.metrics.c.value).order_by(
        tables.metrics.c.value.desc().nulls_last()
    )
    rows = await database.read(lambda tx: tx.all(order))
    assert [(row.name, row.value) for row in rows] == [
        ("inf", math.inf),
        ("max", 1.7976931348623157e308),
        ("tiny", 5e-324),
        ("-0", 0.0),
        ("-inf", -math.inf),
        ("nan", None),
    ]


def metric(name: str, value: float) -> dict[str, Any]:
    names = {"name": name, "dataset": "", "slice": ""}
    return {**names, "number": 1, "value": tables.comparable(value), "value_text": repr(value)}


def add_metrics(tx: Transaction, metrics: list[dict[str, Any]]) -> None:
    """Insert metrics, and the rows they must belong to."""
    stamps = {
        "uid": "u",
        "description": "",
        "labels": "{}",
        "create_time": 0,
        "update_time": 0,
        "sequence": 1,
    }
    namespace_id = generated(tx, tables.namespaces, name="default", **stamps)
    model = {"owners": "[]", "metric_directions": "{}", "last_number": 1, "creator": "{}", "name": "m"}
    model_id = generated(tx, tables.models, namespace_id=namespace_id, **model, **stamps)
    tx.run(insert(tables.manifests), {"digest": "d", "content": b""})
    once = dict.fromkeys(("semantic_version", "idempotency_key", "origin"))
    rest = {"stage": "", "summary": "{}", "details": "{}", "file_count": 1, "size_bytes": 1, "creator": "{}"}
    version_id = generated(
        tx, tables.versions, model_id=model_id, number=1, digest="d", **once, **rest, **stamps
    )
    tx.run(
        insert(tables.metrics), [{**row, "model_id": model_id, "version_id": version_id} for row in metrics]
    )


def generated(tx: Transaction, /, table: Any, **values: Any) -> int:
    row = tx.one(insert_generated(table), **values)
    assert row is not None
    key: int = row.id
    return key


async def test_generated_keys_differ(database: Database) -> None:
    stamps = {"description": "", "labels": "{}", "create_time": 0, "update_time": 0, "sequence": 1}
    keys = [
        await database.write(generated, tables.namespaces, uid=name, name=name, **stamps) for name in "abc"
    ]
    assert len(set(keys)) == 3


async def test_any_of_takes_a_list_of_any_length_as_one_value(database: Database) -> None:
    known = [f'it\'s "{number}" {{}} \\ é' for number in range(3000)]
    await database.write(lambda tx: tx.run(ADD_BLOB, [blob(name, at) for at, name in enumerate(known)]))
    for wanted in ([], known[:1], known[::2], [*known, "unknown"]):
        assert await database.read(found, wanted) == set(wanted) & set(known)
    rows = await database.read(lambda tx: tx.all(BLOBS_SIZED, sizes=[5, 2**62]))
    assert [row.digest for row in rows] == [known[5]]


async def test_insert_new_skips_what_exists_and_counts_the_rest(database: Database) -> None:
    assert await database.write(lambda tx: tx.run(ADD_NEW_BLOB, blob("a", 1))) == 1
    assert await database.write(lambda tx: tx.run(ADD_NEW_BLOB, blob("a", 2))) == 0
    many = [blob(name, 3) for name in "abcb"]
    assert await database.write(lambda tx: tx.run(ADD_NEW_BLOB, many)) == 2
    rows = await database.read(lambda tx: tx.all(BLOBS))
    assert [tuple(row) for row in rows] == [("a", 1), ("b", 3), ("c", 3)]


async def test_an_upsert_is_written_once_for_both_databases(database: Database) -> None:
    statement = upsert(tables.blobs)
    statement = statement.on_conflict_do_update(
        index_elements=["digest"], set_={"size_bytes": statement.excluded.size_bytes}
    )
    for size_bytes in (1, 2):
        await database.write(Transaction.run, statement, blob("a", size_bytes))
    row = await database.read(lambda tx: tx.one(BLOBS))
    assert row is not None
    assert row.size_bytes == 2


async def test_run_counts_affected_rows(database: Database) -> None:
    assert await database.write(lambda tx: tx.run(ADD_BLOB, [blob("a"), blob("b")])) == 2
    assert await database.write(lambda tx: tx.run(ADD_BLOB, [])) == 0
    assert await database.write(lambda tx: tx.run(RESIZE, {"of": "a", "by": 1})) == 1
    assert await database.write(lambda tx: tx.run(RESIZE, {"of": "none", "by": 1})) == 0


async def test_a_value_that_is_missing_is_an_error(database: Database) -> None:
    with pytest.raises(Exception, match="digest"):
        await database.read(lambda tx: tx.one(BLOB))


async def test_a_literal_list_is_refused_with_advice(database: Database) -> None:
    statement = select(tables.blobs.c.digest).where(tables.blobs.c.digest.in_(["a", "b"]))
    with pytest.raises(TypeError, match="any_of"):
        await database.read(lambda tx: tx.all(statement))


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
