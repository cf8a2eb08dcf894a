"""Reads by alias while the server collects garbage and verifies what it stores."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import update

import steelyard
from benchmarks import fill, sample, servers
from benchmarks.measure import GIB, MIB, STEELYARD, Row, Run, at_most, child
from benchmarks.servers import Served
from steelyard_server.blobs.local import LocalStore
from steelyard_server.core import blobs
from steelyard_server.db import tables
from steelyard_server.db.database import Transaction, open_database

ALONE = "Steelyard, at rest"
POSTGRESQL = "Steelyard on PostgreSQL"
GOAL_MS = 20
LARGE_BYTES = 256 * MIB
SMALL_BYTES = 20 * 1024
BATCH = 500
STOP_SECONDS = 120
_EXPIRE_LEASES = update(tables.holdings).values(lease_expire_time=0)


def tended(run: Run) -> Row:
    """Measure the latency of getting a version by alias while garbage is collected and bytes are verified."""
    seconds = run.choose(8, 2)
    small, large = run.choose(40_000, 2_000), run.choose(16, 2)
    counts: list[tuple[int, int]] = []

    def p99_ms(*, tend: bool, on_postgresql: bool = False) -> float:
        place = run.directory()
        with ExitStack() as stack:
            database = stack.enter_context(servers.postgresql()) if on_postgresql else ""
            asyncio.run(fill.fill(database or place / "registry.db", count=sample.SMALL_VERSIONS))
            if tend:
                asyncio.run(_store(database or place / "registry.db", place, small=small, large=large))
            served = stack.enter_context(servers.steelyard(place, database=database))
            if tend:
                stack.enter_context(_tending(served, counts))
            p99 = _p99_ms(served, seconds=seconds)
        shutil.rmtree(place)
        return p99

    subjects = {
        STEELYARD: partial(p99_ms, tend=True),
        POSTGRESQL: partial(p99_ms, tend=True, on_postgresql=True),
        ALONE: partial(p99_ms, tend=False),
    }
    samples = run.in_turn(subjects)
    freed, verified = (min(count) for count in zip(*counts, strict=True))
    notes = (
        f"{small:,} files of {SMALL_BYTES // 1024} KiB to free, {large * LARGE_BYTES / GIB:g} GiB to verify",
        f"meanwhile at least {freed:,} blobs were freed and {verified / MIB:,.0f} MiB verified",
        "no limit on bytes a second, no grace and no time in the trash; one caller in a process of its own",
        "PostgreSQL runs without fsync, which makes it free more in the same time",
    )
    goals = tuple(
        at_most(GOAL_MS, "ms", samples[name].median, what=f"{what}:")
        for name, what in ((STEELYARD, "SQLite"), (POSTGRESQL, "PostgreSQL"))
    )
    title = "get a version by alias while garbage is collected and storage is verified, p99"
    return Row(title, "ms", samples, goals, notes)


@contextmanager
def _tending(served: Served, counts: list[tuple[int, int]]) -> Iterator[None]:
    """Collect and verify, again and again, until the block ends."""
    ended = threading.Event()
    freed, verified = [0], [0]

    def repeat(work: Callable[[steelyard.Client], int], done: list[int]) -> None:
        with steelyard.Client(served.address, timeout_seconds=STOP_SECONDS) as client:
            while not ended.is_set():
                done[0] += work(client)

    def collect(client: steelyard.Client) -> int:
        return client.maintenance.collect_garbage(grace_seconds=0, trash_seconds=0).freed_blobs_count

    def verify(client: steelyard.Client) -> int:
        return client.maintenance.verify_storage().verified_bytes

    threads = [
        threading.Thread(target=repeat, args=(collect, freed)),
        threading.Thread(target=repeat, args=(verify, verified)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(STOP_SECONDS)
        counts.append((freed[0], verified[0]))


def _p99_ms(served: Served, *, seconds: float) -> float:
    job: dict[str, Any] = {"call": "get", "model": sample.MODEL, "callers": 1, "seconds": seconds}
    return float(child("load", address=served.address, floor=False, **job)["p99_ms"])


async def _store(location: Path | str, directory: Path, *, small: int, large: int) -> None:
    """Store large blobs under a lease, and small ones whose lease is over."""
    database = await open_database(location)
    with closing(LocalStore(directory / "blobs")) as store:
        for _ in range(0, small, BATCH):
            some = {_digest(data): data for data in (os.urandom(SMALL_BYTES) for _ in range(BATCH))}
            store.put(some)
            await _record(database.write, [(digest, SMALL_BYTES) for digest in some])
        await database.write(_expire_leases)
        for number in range(large):
            digest = _store_large(store, number=number)
            await _record(database.write, [(digest, LARGE_BYTES)])
    await database.close()


def _store_large(store: LocalStore, *, number: int) -> str:
    block = hashlib.sha256(str(number).encode()).digest() * (MIB // 32)
    hasher = hashlib.sha256()
    with closing(store.begin_upload(f"large-{number}")) as upload:
        upload.open(size_bytes=LARGE_BYTES)
        for _ in range(LARGE_BYTES // MIB):
            hasher.update(block)
            upload.write(block)
        upload.finish(f"sha256:{hasher.hexdigest()}")
    return f"sha256:{hasher.hexdigest()}"


async def _record(write: Any, found: list[tuple[str, int]]) -> None:
    await write(blobs.record, namespace="default", blobs=found)


def _expire_leases(tx: Transaction) -> None:
    tx.run(_EXPIRE_LEASES, {})


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


ROWS: dict[str, Callable[[Run], Row]] = {"maintenance": tended}
