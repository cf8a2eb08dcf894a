"""Collecting garbage: what ``core/garbage.py`` decides in the database, done to the bytes.

Each step may be the last one, by a stop, an error or a power cut: what it leaves is found by the
next run. Why nothing that is needed goes stands in docs/decisions.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard_server.core import blobs, garbage
from steelyard_server.maintenance.retain import LetGo, let_go

if TYPE_CHECKING:
    from steelyard_server.blobs.store import StoredFile
    from steelyard_server.core.blobs import Blob
    from steelyard_server.history.act import Act
    from steelyard_server.maintenance.storage import Storage


@dataclass(frozen=True, slots=True)
class CollectOptions:
    """What a collection was asked for; see CollectGarbageRequest."""

    dry_run: bool
    grace_seconds: int
    trash_seconds: int
    end_leases: bool = False


@dataclass(slots=True)
class Collected(LetGo):
    """How far a collection is; see CollectGarbageResponse."""

    examined_blobs: int = 0
    blobs: int = 0
    condemned_blobs: int = 0
    condemned_bytes: int = 0
    freed_blobs: int = 0
    freed_bytes: int = 0
    stray_files: int = 0
    sequence: int = 0
    waits_for_backup: bool = False

    def is_any(self) -> bool:
        """Return whether any bytes were condemned, moved or freed."""
        return bool(self.condemned_blobs or self.freed_bytes or self.freed_blobs or self.stray_files)


async def collect(storage: Storage, options: CollectOptions, act: Act, progress: Collected) -> None:
    """Collect once.

    Raises:
        Draining: the server shuts down.
        RegistryError: the database or the storage failed.
    """
    now = time.time_ns() // 1000
    collection = Collection(storage, options, progress, now=now)
    await let_go(storage, act, progress, dry_run=options.dry_run, now=now)
    progress.blobs = await storage.database.read(garbage.count)
    try:
        await collection.condemn()
        await collection.settle()
        await collection.sweep_place()
        await collection.sweep_trash()
    finally:
        if progress.is_any() and not options.dry_run:
            outcome = collection.outcome()
            progress.sequence = await storage.database.write(garbage.report, act, outcome=outcome)


class Collection:
    """One collection under way. Between two steps it may be stopped.

    Args:
        now: the moment at which retention was applied.
    """

    def __init__(self, storage: Storage, options: CollectOptions, progress: Collected, *, now: int) -> None:
        self._now = now
        self._storage = storage
        self._options = options
        self._progress = progress
        self._list = hashlib.sha256()

    async def condemn(self) -> None:
        """Condemn in the database what nothing refers to, page by page."""
        after_digest = ""
        while True:
            self._storage.stop.check()
            begin_digest = after_digest
            found, after_digest, examined = await self._storage.database.read(
                garbage.examine,
                after_digest=begin_digest,
                grace_seconds=self._options.grace_seconds,
                end_leases=self._options.end_leases,
                purged_at=self._now if self._options.dry_run else None,
            )
            if not examined:
                return
            for begin in range(0, len(found), garbage.BATCH_BLOBS):
                self._storage.stop.check()
                await self._condemn(found[begin : begin + garbage.BATCH_BLOBS])
            await self._release(after_digest=begin_digest, last_digest=after_digest)
            self._progress.examined_blobs += examined

    async def settle(self) -> None:
        """Move the bytes of all that is condemned to the trash, and free those whose time is over."""
        after_digest = ""
        while True:
            self._storage.stop.check()
            found = await self._storage.database.read(garbage.condemned, after_digest=after_digest)
            if not found:
                return
            after_digest = found[-1].digest
            if self._options.dry_run:
                over = [blob for blob in found if self._is_over(blob.condemn_time / 1_000_000)]
                self._free([blob.digest for blob in over], sum(blob.size_bytes for blob in over))
                continue
            async with self._removable([blob.digest for blob in found]) as claimed:
                if claimed:
                    await self._settle(claimed)

    async def sweep_place(self) -> None:
        """Move what no blob is recorded for to the trash, once it is older than the grace."""
        async for files in self._storage.listed(self._storage.store.listing()):
            newest = time.time() - self._options.grace_seconds
            strays = await self._storage.unrecorded([file for file in files if file.modify_time <= newest])
            if not strays:
                continue
            async with self._removable([file.digest for file in strays]) as claimed:
                # Again, for one may have been stored and recorded before it was claimed.
                strays = await self._storage.unrecorded([file for file in strays if file.digest in claimed])
                if strays:
                    await self._sweep(strays)

    async def sweep_trash(self) -> None:
        """Free what no blob is recorded for once its time is over, and copies of what is in place again."""
        async for files in self._storage.listed(self._storage.store.trash_listing()):
            async with self._removable([file.digest for file in files]) as claimed:
                states = await self._storage.database.read(blobs.states, digests=claimed)
                live = [digest for digest, condemn_time in states.items() if condemn_time is None]
                unrecorded = [file for file in files if file.digest in claimed and file.digest not in states]
                over = [file for file in unrecorded if self._is_over(file.modify_time)]
                await self._sweep_trash(live, over)

    def outcome(self) -> garbage.Outcome:
        """Say what was done so far."""
        return garbage.Outcome(
            condemned_blobs=self._progress.condemned_blobs,
            condemned_bytes=self._progress.condemned_bytes,
            freed_blobs=self._progress.freed_blobs,
            freed_bytes=self._progress.freed_bytes,
            stray_files=self._progress.stray_files,
            list_digest=f"sha256:{self._list.hexdigest()}",
        )

    @asynccontextmanager
    async def _removable(self, digests: Sequence[str]) -> AsyncIterator[list[str]]:
        """Claim blobs for the block, in which their bytes may go: no backup needs those of its snapshot.

        A rehearsal removes none, so it waits for nobody.
        """
        if self._options.dry_run:
            with self._storage.claims.claim(digests) as claimed:
                yield claimed
            return
        self._progress.waits_for_backup = self._storage.blobs_stay.locked()
        # Claimed afterwards, for whoever stores a blob waits while it is claimed.
        async with self._storage.blobs_stay:
            self._progress.waits_for_backup = False
            self._storage.stop.check()
            with self._storage.claims.claim(digests) as claimed:
                yield claimed

    async def _condemn(self, batch: list[Blob]) -> None:
        if not self._options.dry_run:
            digests = [blob.digest for blob in batch]
            batch = await self._storage.database.write(
                garbage.condemn,
                digests=digests,
                grace_seconds=self._options.grace_seconds,
                end_leases=self._options.end_leases,
            )
        digests, size_bytes = [blob.digest for blob in batch], sum(blob.size_bytes for blob in batch)
        self._progress.condemned_blobs += len(digests)
        self._progress.condemned_bytes += size_bytes
        self._note("condemned", digests)
        self._rehearse_freeing(digests, size_bytes)

    async def _release(self, *, after_digest: str, last_digest: str) -> None:
        """Let namespaces hold no longer what only others name; the bytes stay."""
        if self._options.dry_run:
            return
        ending = {"end_leases": self._options.end_leases}
        needless = await self._storage.database.read(
            blobs.needless, after_digest=after_digest, last_digest=last_digest, **ending
        )
        for begin in range(0, len(needless), garbage.BATCH_BLOBS):
            self._storage.stop.check()
            batch = needless[begin : begin + garbage.BATCH_BLOBS]
            await self._storage.database.write(blobs.release_needless, digests=batch, **ending)

    async def _settle(self, claimed: list[str]) -> None:
        gone, condemned = await self._storage.database.write(
            garbage.settle, digests=claimed, trash_seconds=self._options.trash_seconds
        )
        store = self._storage.store
        await self._storage.in_thread(store.put_in_trash, [*gone, *condemned])
        self._free(gone, await self._storage.in_thread(store.empty_trash, gone))

    async def _sweep(self, strays: list[StoredFile]) -> None:
        digests = [file.digest for file in strays]
        if not self._options.dry_run:
            await self._storage.in_thread(self._storage.store.put_in_trash, digests)
        self._progress.stray_files += len(digests)
        self._note("stray", digests)
        self._rehearse_freeing(digests, sum(file.size_bytes for file in strays))

    async def _sweep_trash(self, live: list[str], over: list[StoredFile]) -> None:
        digests, freed_bytes = [file.digest for file in over], sum(file.size_bytes for file in over)
        if not self._options.dry_run:
            store = self._storage.store
            await self._storage.in_thread(store.take_from_trash, live)
            freed_bytes = await self._storage.in_thread(store.empty_trash, [*live, *digests])
        self._free(digests, freed_bytes)

    def _rehearse_freeing(self, digests: Sequence[str], size_bytes: int) -> None:
        """Count what a run that is no rehearsal would free at once."""
        if self._options.dry_run and not self._options.trash_seconds:
            self._free(digests, size_bytes)

    def _free(self, digests: Sequence[str], freed_bytes: int) -> None:
        self._progress.freed_blobs += len(digests)
        self._progress.freed_bytes += freed_bytes
        self._note("freed", digests)

    def _note(self, what: str, digests: Iterable[str]) -> None:
        for digest in digests:
            self._list.update(f"{what} {digest}\n".encode())

    def _is_over(self, since_seconds: float) -> bool:
        return since_seconds <= time.time() - self._options.trash_seconds
