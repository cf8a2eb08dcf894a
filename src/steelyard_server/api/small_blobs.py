"""Blobs that came in one message: what comes while a batch is stored makes the next batch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from steelyard.v1 import blob_service_pb2 as pb
from steelyard_server.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor

    from steelyard_server.blobs.claims import Claims
    from steelyard_server.blobs.store import BlobStore

# A larger blob gains little from a batch.
SMALL_BYTES = 256 * 1024
# What may wait for the next batch of one stream. Each blob of a batch keeps a file open until all are synced.
WAITING_BYTES_MAXIMUM = 2 * 1024 * 1024
WAITING_COUNT_MAXIMUM = 128


@dataclass(frozen=True, slots=True)
class SmallBlob:
    """A blob whole; `index` is its place in the stream."""

    index: int
    digest: str
    data: bytes


class SmallBlobs:
    """Stores the small blobs of one stream, batch by batch.

    Args:
        record: records digests and sizes of blobs whose bytes are stored.
    """

    def __init__(
        self,
        *,
        record: Callable[[list[tuple[str, int]]], Awaitable[None]],
        blobs: BlobStore,
        claims: Claims,
        threads: Executor,
        answer: Callable[[pb.WriteBlobsResponse], Awaitable[None]],
    ) -> None:
        self._record = record
        self._blobs = blobs
        self._claims = claims
        self._threads = threads
        self._answer = answer
        self._waiting: list[SmallBlob] = []
        self._waiting_bytes = 0
        # Set unless too much waits for a batch that is being stored, also when that fails.
        self._room = asyncio.Event()
        self._room.set()

    @staticmethod
    def takes(request: pb.WriteBlobsRequest) -> bool:
        """Return whether *request* is a whole small blob."""
        header = request.header
        return (
            request.HasField("header")
            and request.HasField("finish")
            and header.from_start
            and header.digest != ""
            and request.finish.digest in {"", header.digest}
            and len(request.data) == header.size_bytes <= SMALL_BYTES
        )

    async def wait_for_room(self) -> None:
        """Wait while too much waits for the batch that is being stored."""
        await self._room.wait()

    def add(self, blob: SmallBlob) -> None:
        """Let a blob wait for the next batch; `store` must be under way or follow."""
        self._waiting.append(blob)
        self._waiting_bytes += len(blob.data)
        if self._waiting_bytes >= WAITING_BYTES_MAXIMUM or len(self._waiting) >= WAITING_COUNT_MAXIMUM:
            self._room.clear()

    async def store(self) -> None:
        """Store what waits, and what comes meanwhile, and answer for each blob.

        Raises:
            RegistryError: a batch could not be stored.
        """
        try:
            while batch := self._waiting:
                self._waiting, self._waiting_bytes = [], 0
                self._room.set()
                await self._store(batch)
        finally:
            self._room.set()

    async def _store(self, batch: list[SmallBlob]) -> None:
        stored = {blob.digest: blob.data for blob in batch}
        sizes = [(digest, len(data)) for digest, data in stored.items()]

        async def store() -> None:
            put = partial(self._blobs.put, stored)
            await asyncio.get_running_loop().run_in_executor(self._threads, put)
            await self._record(sizes)

        try:
            await self._claims.store(list(stored), store)
        except RegistryError as error:
            error.metadata["index"] = str(_about(error, batch).index)
            raise
        for blob in batch:
            finished = pb.BlobFinished(digest=blob.digest, size_bytes=len(blob.data))
            await self._answer(pb.WriteBlobsResponse(index=blob.index, finished=finished))


def _about(error: RegistryError, batch: list[SmallBlob]) -> SmallBlob:
    """Return the blob that an error is about, the first one when it is about all."""
    wrong = (blob for blob in batch if blob.digest == error.metadata.get("expected"))
    return next(wrong, batch[0])
