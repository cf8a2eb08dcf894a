"""Keep those who store a blob and those who collect it apart.

Storing a blob is two things, its bytes and its record, and so is collecting it. Either pair is whole
for the other: while a blob is being stored nobody claims it, and while it is claimed, storing it
waits. The store belongs to this process, so this needs no lock that outlives it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager


class Claims:
    """Which blobs are being stored, by any number of callers, and which are claimed. Of one event loop."""

    def __init__(self) -> None:
        self._storing: Counter[str] = Counter()
        self._claimed: set[str] = set()
        self._released = asyncio.Event()
        self._steps: set[asyncio.Task[None]] = set()

    async def store(self, digests: Collection[str], step: Callable[[], Awaitable[None]]) -> None:
        """Run *step*, which stores and records blobs, when none of them is claimed.

        It runs to its end also when the caller is cancelled: of a commit that was sent nobody could tell.
        """
        task = asyncio.create_task(self._store(digests, step))
        self._steps.add(task)
        task.add_done_callback(self._forget)
        await asyncio.shield(task)

    @contextmanager
    def claim(self, digests: Collection[str]) -> Iterator[list[str]]:
        """Claim those of *digests* that nobody stores or has claimed, and yield them."""
        free = [digest for digest in digests if not self._storing[digest] and digest not in self._claimed]
        self._claimed.update(free)
        try:
            yield free
        finally:
            self._claimed.difference_update(free)
            self._released.set()
            self._released = asyncio.Event()

    async def close(self) -> None:
        """Wait until everything that is being stored is recorded."""
        if self._steps:
            await asyncio.wait(self._steps)

    async def _store(self, digests: Collection[str], step: Callable[[], Awaitable[None]]) -> None:
        while not self._claimed.isdisjoint(digests):
            await self._released.wait()
        for digest in digests:
            self._storing[digest] += 1
        try:
            await step()
        finally:
            for digest in digests:
                self._storing[digest] -= 1
                if not self._storing[digest]:
                    del self._storing[digest]

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._steps.discard(task)
        # Whoever waited may have gone; an error that nobody takes would be reported as a fault.
        if not task.cancelled():
            task.exception()
