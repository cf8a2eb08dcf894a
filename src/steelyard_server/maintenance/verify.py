"""Verifying what is stored: every byte is read, and what is wrong is quarantined and reported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from steelyard_server.core import blobs, files
from steelyard_server.errors import BlobCorrupt, BlobLost
from steelyard_server.maintenance.pace import Pace

if TYPE_CHECKING:
    from steelyard_server.core.blobs import Blob
    from steelyard_server.history.act import Act
    from steelyard_server.maintenance.storage import Storage

# Bytes of blobs that are read between two notes of what was verified.
PORTION_BYTES = 64 << 20
# Problems of a run that are named, and versions that are named for each.
PROBLEMS_MAXIMUM, VERSIONS_MAXIMUM = 1000, 10

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What a verification was asked for; see VerifyStorageRequest. `before_time` is in microseconds."""

    bytes_per_second: int
    before_time: int


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a blob, and which versions need it."""

    digest: str
    size_bytes: int
    kind: Literal["damaged", "missing"]
    versions: list[str]
    versions_count: int


@dataclass(slots=True)
class Verified:
    """How far a verification is; see VerifyStorageResponse."""

    blobs: int = 0
    total_bytes: int = 0
    verified_blobs: int = 0
    verified_bytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    problems_count: int = 0
    stray_files: int = 0
    stray_bytes: int = 0


async def verify(storage: Storage, options: VerifyOptions, _: Act, progress: Verified) -> None:
    """Verify once.

    Raises:
        Draining: the server shuts down.
        RegistryError: the database or the storage failed.
    """
    verification = Verification(storage, options, progress)
    await verification.read_all()
    await verification.count_strays()


class Verification:
    """One verification under way."""

    def __init__(self, storage: Storage, options: VerifyOptions, progress: Verified) -> None:
        self._storage = storage
        self._before_time = options.before_time
        self._progress = progress
        self._pace = Pace(options.bytes_per_second, wait=storage.stop.wait, check=storage.stop.check)

    async def read_all(self) -> None:
        """Read all blobs that are due in the order of their digests."""
        database, after_digest = self._storage.database, ""
        self._progress.blobs, self._progress.total_bytes = await database.read(
            blobs.due_total, before_time=self._before_time
        )
        while due := await database.read(blobs.due, after_digest=after_digest, before_time=self._before_time):
            after_digest = due[-1].digest
            for portion in _portions(due):
                await self._read(portion)

    async def count_strays(self) -> None:
        """Count the files that no blob is recorded for, without those that are just being stored."""
        async for listed in self._storage.listed(self._storage.store.listing()):
            strays = await self._storage.unrecorded(listed)
            with self._storage.claims.claim([file.digest for file in strays]) as claimed:
                strays = await self._storage.unrecorded([file for file in strays if file.digest in claimed])
            self._progress.stray_files += len(strays)
            self._progress.stray_bytes += sum(file.size_bytes for file in strays)

    async def _read(self, portion: list[Blob]) -> None:
        """Read a portion, look at what is wrong with it once more, and note what is right."""
        suspects = await self._storage.in_thread(self._suspects, portion)
        wrong = {blob.digest for blob in suspects}
        sound = [blob.digest for blob in portion if blob.digest not in wrong]
        if sound:
            await self._storage.database.write(blobs.mark_verified, digests=sound)
        for blob in suspects:
            await self._confirm(blob)

    def _suspects(self, portion: list[Blob]) -> list[Blob]:
        """Read blobs, and return those that are wrong or count as damaged. Blocks for long."""
        suspects = []
        for blob in portion:
            before_bytes = self._progress.verified_bytes
            if self._is_wrong(blob, self._count) or self._storage.store.is_damaged(blob.digest):
                suspects.append(blob)
            self._progress.verified_blobs += 1
            # What could not be read is behind us too.
            self._progress.verified_bytes = before_bytes + blob.size_bytes
        return suspects

    def _count(self, size_bytes: int) -> None:
        self._pace(size_bytes)
        self._progress.verified_bytes += size_bytes

    def _is_wrong(self, blob: Blob, pace: Callable[[int], None]) -> Literal["", "damaged", "missing"]:
        try:
            self._storage.store.verify(blob.digest, size_bytes=blob.size_bytes, pace=pace)
        except BlobCorrupt:
            return "damaged"
        except BlobLost:
            return "missing"
        return ""

    async def _confirm(self, blob: Blob) -> None:
        """Look again while nobody stores or collects the blob, and quarantine or release it."""
        with self._storage.claims.claim([blob.digest]) as claimed:
            states = await self._storage.database.read(blobs.states, digests=claimed)
            if claimed and blob.digest not in states:
                # It was collected meanwhile; that it was missed then means nothing.
                self._storage.store.note_sound(blob.digest)
            if states.get(blob.digest, 0) is not None:
                return
            kind = await self._storage.in_thread(self._is_wrong, blob, self._pace)
            if not kind:
                self._storage.store.note_sound(blob.digest)
                await self._storage.database.write(blobs.mark_verified, digests=claimed)
                return
            self._storage.store.note_damage(blob.digest, quarantine=True)
        await self._report(blob, kind)

    async def _report(self, blob: Blob, kind: Literal["damaged", "missing"]) -> None:
        _log.error("The bytes of %s are %s.", blob.digest, kind)
        self._progress.problems_count += 1
        if len(self._progress.problems) < PROBLEMS_MAXIMUM:
            needing, count = await self._storage.database.read(
                files.versions_with, digest=blob.digest, maximum=VERSIONS_MAXIMUM
            )
            self._progress.problems.append(Problem(*blob, kind, needing, count))


def _portions(due: list[Blob]) -> Iterator[list[Blob]]:
    """Cut a page into portions of about PORTION_BYTES; a large blob is one by itself."""
    portion: list[Blob] = []
    size_bytes = 0
    for blob in due:
        portion.append(blob)
        size_bytes += blob.size_bytes
        if size_bytes >= PORTION_BYTES:
            yield portion
            portion, size_bytes = [], 0
    if portion:
        yield portion
