"""What must hold on SQLite: groups, one checkpointing writer, full and failing disks, kills."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, insert, select, text

from steelyard_server import errors
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction, WaitLimits
from steelyard_server.db.sqlite_connection import connect_reader, connect_writer
from steelyard_server.db.statements import any_of

Open = Callable[..., Awaitable[Database]]

WAIT_SECONDS = 20
FAULTS = Path(__file__).with_name("sqlite_faults.py")

ADD_EVENT = insert(tables.events).values(
    {name: bindparam(name) for name in ("sequence", "event_time", "content")} | {"actor": "", "action": ""}
)
EVENTS = select(tables.events.c.sequence).order_by(tables.events.c.sequence)
EVENT = select(tables.events.c.content).where(tables.events.c.sequence == bindparam("sequence"))
FOR_EVER = text(
    "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) SELECT count(*) FROM numbers"
)


def add(tx: Transaction, sequence: int, size_bytes: int = 1) -> int:
    tx.run(ADD_EVENT, {"sequence": sequence, "event_time": 0, "content": bytes(size_bytes)})
    return sequence


def sequences(tx: Transaction) -> list[int]:
    return [row.sequence for row in tx.all(EVENTS)]


def pragma(tx: Transaction, name: str) -> Any:
    row = tx.one(text(f"PRAGMA {name}"))
    return row and row[0]


def stored(path: Path) -> dict[str, bytes]:
    """Return the database file and its log, without the memory that connections share."""
    found = [each for each in path.parent.iterdir() if not each.name.endswith("-shm")]
    return {each.name: each.read_bytes() for each in found}


def suffer(command: str, path: Path) -> dict[str, Any]:
    """Run one of the programs that suffer, and return what it saw."""
    process = subprocess.run(
        [sys.executable, FAULTS, command, path], capture_output=True, text=True, timeout=120, check=False
    )
    assert process.returncode == 0, process.stderr
    seen: dict[str, Any] = json.loads(process.stdout)
    return seen


async def test_what_waits_is_committed_as_one_group(sqlite_path: Path, opened: Open) -> None:
    committed: list[list[object]] = []
    database = await opened(sqlite_path, on_commit=committed.append)
    begun, go_on = threading.Event(), threading.Event()

    def use_case(tx: Transaction, number: int) -> None:
        begun.set()
        assert go_on.wait(WAIT_SECONDS)
        tx.after_commit(number)

    writes = [asyncio.create_task(database.write(use_case, number)) for number in range(100)]
    assert await asyncio.to_thread(begun.wait, WAIT_SECONDS)
    go_on.set()
    await asyncio.gather(*writes)
    assert committed == [list(range(64)), list(range(64, 100))]


async def test_a_full_database_fails_the_whole_group_and_keeps_what_was_there(
    sqlite_path: Path, opened: Open
) -> None:
    facts: list[object] = []
    database = await opened(sqlite_path, on_commit=facts.extend)
    await database.write(add, 1)
    begun, go_on = threading.Event(), threading.Event()

    def add_with_fact(tx: Transaction, sequence: int, size_bytes: int) -> None:
        begun.set()
        assert go_on.wait(WAIT_SECONDS)
        add(tx, sequence, size_bytes)
        tx.after_commit(sequence)

    pages = await database.write(lambda tx: pragma(tx, "page_count"))
    await database.write(lambda tx: pragma(tx, f"max_page_count={pages + 10}"))
    sizes = {2: 1, 3: 1_000_000, 4: 1}
    group = [asyncio.create_task(database.write(add_with_fact, *each)) for each in sizes.items()]
    assert await asyncio.to_thread(begun.wait, WAIT_SECONDS)
    go_on.set()
    results = await asyncio.gather(*group, return_exceptions=True)
    # The last may have come too late for the group, and is then one of its own.
    assert [type(result) for result in results[:2]] == [errors.StorageFull] * 2
    assert not database.sealed
    await database.write(lambda tx: pragma(tx, "max_page_count=1000000"))
    await database.write(add, 5)
    kept = [1, 4, 5] if results[2] is None else [1, 5]
    assert await database.read(sequences) == kept
    assert facts == kept[1:-1]


def test_a_failed_commit_leaves_the_outcome_unknown_and_seals_the_database(sqlite_path: Path) -> None:
    seen = suffer("failed-commit", sqlite_path)
    assert seen["first"] == "1"
    assert seen["during"] == ["OUTCOME_UNKNOWN"] * 3
    assert seen["later"] == "STORAGE_UNAVAILABLE"
    assert seen["sealed"] is True
    assert seen["read"] == seen["read_hot"] == 1
    with sqlite3.connect(sqlite_path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT min(sequence) FROM events").fetchone() == (1,)


def test_a_full_disk_loses_nothing_and_writing_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """Needs a small file system of its own, which not every machine lets a test mount."""
    mount = f"mount -t tmpfs -o size=2m tmpfs {shlex.quote(str(tmp_path))}"
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, mount], check=False).returncode != 0:
        pytest.skip("this machine lets no test mount a small file system")
    program = shlex.join([sys.executable, str(FAULTS), "full-disk", str(tmp_path / "registry.db")])
    process = subprocess.run(
        [*unshare, f"{mount} && {program}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0, process.stderr
    seen = json.loads(process.stdout)
    assert seen == {
        "reason": "STORAGE_FULL",
        "group": ["STORAGE_FULL"] * 3,
        "after": 1,
        "sealed": False,
        "lost": 0,
        "gap": 0,
        "intact": "ok",
    }


def test_no_acknowledged_write_is_lost_when_the_process_is_killed(sqlite_path: Path) -> None:
    seen = suffer("kills", sqlite_path)
    assert seen["kills"] >= 20
    assert seen["acknowledged"] > 1000
    assert seen["lost"] == seen["gap"] == 0


async def test_the_writer_is_durable_and_strict(sqlite_path: Path, opened: Open) -> None:
    database = await opened(sqlite_path)
    names = ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "query_only")
    values = await database.write(lambda tx: [pragma(tx, name) for name in names])
    assert values == ["wal", 2, 1, 0, 0]


async def test_readers_neither_write_nor_checkpoint(sqlite_path: Path, opened: Open) -> None:
    database = await opened(sqlite_path)
    await database.write(add, 1)
    for read in (database.read, database.read_hot):
        assert await read(lambda tx: pragma(tx, "query_only")) == 1
        assert await read(lambda tx: pragma(tx, "wal_autocheckpoint")) == 0
    before = stored(sqlite_path)
    reader = connect_reader(sqlite_path)
    with pytest.raises(sqlite3.OperationalError):
        reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    reader.close()
    assert stored(sqlite_path) == before


def test_a_reader_that_closes_last_does_not_checkpoint(sqlite_path: Path) -> None:
    writer = connect_writer(sqlite_path, log_bytes=2**20)
    reader = connect_reader(sqlite_path)
    writer.execute("INSERT INTO events (sequence, event_time, content) VALUES (1, 0, x'00')")
    reader.execute("SELECT count(*) FROM events").fetchone()
    before = sqlite_path.read_bytes()
    reader.close()
    assert sqlite_path.read_bytes() == before
    writer.close()
    assert sqlite_path.read_bytes() != before


async def test_closing_moves_the_log_into_the_file(sqlite_path: Path, opened: Open) -> None:
    database = await opened(sqlite_path)
    await database.write(add, 1)
    assert "registry.db-wal" in stored(sqlite_path)
    await database.close()
    assert set(stored(sqlite_path)) == {"registry.db"}


@dataclass
class Relay:
    """Reads of which each holds its snapshot until the next has taken one."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    snapshots: int = 0
    ended: bool = False

    def read(self, tx: Transaction) -> None:
        tx.one(EVENT, sequence=1)
        with self.changed:
            self.snapshots += 1
            mine = self.snapshots
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.ended or self.snapshots > mine, WAIT_SECONDS)

    def end(self, _: object) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()


async def test_the_log_stays_short_although_some_reader_is_always_at_work(
    sqlite_path: Path, opened: Open
) -> None:
    log_bytes = 1_000_000
    database = await opened(sqlite_path, limits=WaitLimits(readers=2, log_bytes=log_bytes))
    log_path = sqlite_path.with_name(f"{sqlite_path.name}-wal")
    relay = Relay()

    async def keep_reading() -> None:
        while not written.done():
            await database.read(relay.read)

    async def write_much() -> int:
        longest = 0
        for sequence in range(2, 42):
            await database.write(add, sequence, 500_000)
            longest = max(longest, log_path.stat().st_size)
        return longest

    await database.write(add, 1)
    written = asyncio.create_task(write_much())
    written.add_done_callback(relay.end)
    await asyncio.gather(written, keep_reading(), keep_reading())
    assert written.result() < 4 * log_bytes


async def test_a_read_runs_whole_in_one_other_thread_and_a_hot_read_in_place(
    sqlite_path: Path, opened: Open
) -> None:
    database = await opened(sqlite_path)

    def threads(tx: Transaction) -> set[int]:
        found = set()
        for _ in range(3):
            tx.all(EVENTS)
            found.add(threading.get_ident())
        return found

    (reader,) = await database.read(threads)
    assert reader != threading.get_ident()
    assert await database.read_hot(threads) == {threading.get_ident()}


async def test_a_cancelled_read_is_interrupted(sqlite_path: Path, opened: Open) -> None:
    database = await opened(
        sqlite_path, limits=WaitLimits(readers=1, read_seconds=60, wait_seconds=WAIT_SECONDS)
    )
    begun = threading.Event()

    def count_for_ever(tx: Transaction) -> None:
        begun.set()
        tx.one(FOR_EVER)

    read = asyncio.create_task(database.read(count_for_ever))
    assert await asyncio.to_thread(begun.wait, WAIT_SECONDS)
    read.cancel()
    with pytest.raises(asyncio.CancelledError):
        await read
    assert await database.read(sequences) == []


async def test_closing_interrupts_reads(sqlite_path: Path, opened: Open) -> None:
    database = await opened(sqlite_path, limits=WaitLimits(readers=1, read_seconds=60))
    begun = threading.Event()

    def count_for_ever(tx: Transaction) -> None:
        begun.set()
        tx.one(FOR_EVER)

    read = asyncio.create_task(database.read(count_for_ever))
    waiting = asyncio.create_task(database.read(sequences))
    assert await asyncio.to_thread(begun.wait, WAIT_SECONDS)
    await database.close()
    results = await asyncio.gather(read, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [errors.Draining, errors.Draining]


async def test_any_of_is_answered_from_an_index(sqlite_path: Path, opened: Open) -> None:
    database = await opened(sqlite_path)
    statement = select(tables.files.c.path).where(any_of(tables.files.c.digest, "digests"))
    plan = text(f"EXPLAIN QUERY PLAN {statement}")
    rows = await database.read(lambda tx: tx.all(plan, digests="[]"))
    assert any("ix_files_digest (digest=?)" in row.detail for row in rows)


async def test_the_database_is_not_settled_while_readers_may_see_what_nobody_was_told_of(
    sqlite_path: Path, opened: Open
) -> None:
    told: list[object] = []
    database = await opened(sqlite_path, on_commit=told.extend)
    assert database.settled

    def fact(tx: Transaction) -> None:
        add(tx, 1)
        tx.after_commit("told")

    writing = asyncio.ensure_future(database.write(fact))
    await asyncio.sleep(0)
    # The loop stands still here, so nothing can be delivered, until the commit is visible.
    until = time.monotonic() + WAIT_SECONDS
    with sqlite3.connect(f"{sqlite_path.as_uri()}?mode=ro", uri=True) as other:
        while not other.execute("SELECT count(*) FROM events").fetchone()[0]:
            assert time.monotonic() < until
    assert (database.settled, told) == (False, [])
    await writing
    assert (database.settled, told) == (True, ["told"])
    with pytest.raises(errors.ModelNotFound):
        await database.write(fail)
    assert database.settled


def fail(_: Transaction) -> None:
    raise errors.ModelNotFound("No model.")
