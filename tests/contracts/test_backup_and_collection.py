"""A backup and a collection at the same time: nothing that a snapshot names goes before it is copied."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from steelyard_server import errors
from steelyard_server.backups.write import Source
from steelyard_server.core import blobs
from steelyard_server.maintenance.collect import Collected
from steelyard_server.maintenance.storage import Storage
from tests.contracts.backups import BYTES, DIGESTS, Registry, digest_of, fill, names, running, store_bytes
from tests.contracts.registry import end_leases
from tests.contracts.test_backups import blob_path, flip, stored_path

GARBAGE = b"garbage"
SECONDS = 20
# Rounds of the loop in which whoever does not wait would have come further.
ROUNDS = 50


@dataclass
class Hold:
    """Holds the work of one name from its beginning until a test lets it go on."""

    name: str = ""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)


class SeenLock(asyncio.Lock):
    """A lock that tells when somebody has to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = asyncio.Event()

    async def acquire(self) -> Literal[True]:
        if self.locked():
            self.awaited.set()
        return await super().acquire()


@dataclass(frozen=True)
class HeldStorage(Storage):
    """Storage whose work in a thread can be held."""

    held: Hold = field(default_factory=Hold)

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if getattr(function, "func", function).__name__ == self.held.name:
            self.held.begun.set()
            await self.held.go_on.wait()
        return await Storage.in_thread(self, function, *arguments)


@pytest.fixture
async def registry(location: Any, tmp_path: Path) -> AsyncIterator[Registry]:
    """Run a registry with a blob in it that nothing needs."""
    async with running(location, tmp_path / "data", backups=tmp_path / "backups") as started:
        await fill(started)
        started.store.put({digest_of(GARBAGE): GARBAGE})
        held = [(digest_of(GARBAGE), len(GARBAGE))]
        await started.database.write(blobs.record, namespace="default", blobs=held)
        await started.database.write(end_leases)
        storage = started.storage
        started.storage = HeldStorage(
            storage.database, storage.store, storage.claims, storage.threads, storage.stop, SeenLock()
        )
        started.source = Source(started.storage, started.backups, server_version="test")
        yield started


def hold(registry: Registry, name: str) -> Hold:
    assert isinstance(registry.storage, HeldStorage)
    registry.storage.held.name = name
    return registry.storage.held


async def spin() -> None:
    for _ in range(ROUNDS):
        await asyncio.sleep(0)


async def until_it_waits(task: asyncio.Task[Any], registry: Registry) -> None:
    """Wait until somebody waits for the lock, and demand that *task* did not end instead."""
    lock = registry.storage.blobs_stay
    assert isinstance(lock, SeenLock)
    awaited = asyncio.create_task(lock.awaited.wait())
    await asyncio.wait({awaited, task}, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
    awaited.cancel()
    assert not task.done()
    assert lock.awaited.is_set()


async def test_a_collection_waits_until_a_backup_has_its_bytes_and_says_so(registry: Registry) -> None:
    held = hold(registry, "_copy_blobs")
    backup = asyncio.create_task(registry.back_up("monday"))
    await held.begun.wait()
    progress = Collected()
    collection = asyncio.create_task(registry.collect(progress))
    await until_it_waits(collection, registry)

    assert progress.waits_for_backup
    assert (progress.condemned_blobs, progress.freed_blobs) == (1, 0)
    assert registry.store.contains(digest_of(GARBAGE))
    held.go_on.set()
    made = await backup
    await collection
    assert (made.problems, made.blobs) == ([], len(BYTES) + 1)
    assert blob_path(registry.backups / "monday", digest_of(GARBAGE)).read_bytes() == GARBAGE
    # Besides the one that was condemned before.
    assert (progress.waits_for_backup, progress.freed_blobs) == (False, 2)
    assert not registry.store.contains(digest_of(GARBAGE))


async def test_a_backup_waits_while_a_collection_removes_bytes(registry: Registry) -> None:
    held = hold(registry, "put_in_trash")
    collection = asyncio.create_task(registry.collect())
    await held.begun.wait()
    backup = asyncio.create_task(registry.back_up("monday"))
    await until_it_waits(backup, registry)

    assert names(registry.backups / ".monday.incomplete") == set()
    held.go_on.set()
    made = await backup
    assert (await collection).freed_blobs == 2
    assert (made.problems, made.blobs) == ([], len(BYTES))


async def test_a_rehearsal_of_a_collection_waits_for_nobody(registry: Registry) -> None:
    registry.store.put({digest_of(b"stray"): b"stray"})
    held = hold(registry, "_copy_blobs")
    backup = asyncio.create_task(registry.back_up("monday"))
    await held.begun.wait()

    async with asyncio.timeout(SECONDS):
        rehearsed = await registry.collect(dry_run=True)

    assert (rehearsed.condemned_blobs, rehearsed.freed_blobs, rehearsed.stray_files) == (1, 3, 1)
    held.go_on.set()
    await backup


async def test_a_server_that_stops_ends_both(registry: Registry) -> None:
    held = hold(registry, "_copy_blobs")
    backup = asyncio.create_task(registry.back_up("monday"))
    await held.begun.wait()
    collection = asyncio.create_task(registry.collect())
    await until_it_waits(collection, registry)
    registry.storage.stop.set()
    held.go_on.set()

    for task in (backup, collection):
        with pytest.raises(errors.Draining):
            await task
    assert names(registry.backups) == set()
    assert registry.store.contains(digest_of(GARBAGE))


async def test_a_blob_that_is_mended_during_a_backup_is_in_it(registry: Registry) -> None:
    flip(stored_path(registry, DIGESTS[3]))
    held = hold(registry, "copy_again")
    backup = asyncio.create_task(registry.back_up("monday"))
    await held.begun.wait()
    store_bytes(registry.store)
    held.go_on.set()

    made = await backup

    assert (made.problems, made.problems_count, made.blobs) == ([], 0, len(BYTES) + 1)
    assert blob_path(registry.backups / "monday", DIGESTS[3]).read_bytes() == BYTES[3]
    assert not registry.store.is_damaged(DIGESTS[3])


async def test_who_uploads_a_damaged_blob_waits_while_a_backup_looks_again(registry: Registry) -> None:
    """Else the upload could be called damaged just after it mended the blob."""
    flip(stored_path(registry, DIGESTS[3]))
    held = hold(registry, "copy_again")
    backup = asyncio.create_task(registry.back_up("monday"))
    await held.begun.wait()

    async def mend() -> None:
        store_bytes(registry.store)

    upload = asyncio.create_task(registry.storage.claims.store([DIGESTS[3]], mend))
    await spin()
    assert not upload.done()
    held.go_on.set()
    made = await backup
    await upload
    assert made.problems_count == 1
    assert not registry.store.is_damaged(DIGESTS[3])
