"""What runs work on: records in the database, bytes in the store, and a thread for what blocks."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from steelyard_server.core import blobs, garbage

if TYPE_CHECKING:
    from steelyard_server.blobs.claims import Claims
    from steelyard_server.blobs.store import BlobStore, StoredFile
    from steelyard_server.db.database import Database
    from steelyard_server.maintenance.runs import Stop

Result = TypeVar("Result")

# More of what `nice` counts: about a tenth of the weight of a thread that serves callers.
NICENESS = 10


def give_way() -> None:
    """Have the system prefer all other threads to the calling one, where it schedules each by itself."""
    if sys.platform == "linux":
        # A sandbox may forbid it; then maintenance is merely heard more.
        with suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)


@dataclass(frozen=True, slots=True)
class Storage:
    """All that is stored by one server.

    Args:
        threads: where files are read, moved and listed; not that of uploads and downloads.
        blobs_stay: held by a backup, from its snapshot until it has the bytes, and by a collection for
            each step that removes bytes: what a snapshot names must not go before it is copied.
    """

    database: Database
    store: BlobStore
    claims: Claims
    threads: Executor
    stop: Stop
    blobs_stay: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run what blocks."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)

    async def listed(self, listing: Iterator[list[StoredFile]]) -> AsyncIterator[list[StoredFile]]:
        """Yield the files of a listing, at most a batch at a time, until the server stops."""
        while (files := await self.in_thread(next, listing, None)) is not None:
            for begin in range(0, len(files), garbage.BATCH_BLOBS):
                self.stop.check()
                yield files[begin : begin + garbage.BATCH_BLOBS]

    async def unrecorded(self, files: Sequence[StoredFile]) -> list[StoredFile]:
        """Return those of *files* that belong to no blob that is recorded."""
        if not files:
            return []
        states = await self.database.read(blobs.states, digests=[file.digest for file in files])
        return [file for file in files if file.digest not in states]
