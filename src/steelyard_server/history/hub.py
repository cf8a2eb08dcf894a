"""Waking those who wait for events: the hub holds the newest sequence only, and they read by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from steelyard_server.history.events import Committed


class Hub:
    """Says that there is something new. Belongs to the thread of one event loop.

    Many commits before a waiter runs wake it once; none is missed, for it compares sequences.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self._moved = asyncio.Event()

    def on_commit(self, facts: Iterable[object]) -> None:
        """Wake all who wait, after a commit."""
        self.tell(max((fact.sequence for fact in facts if isinstance(fact, Committed)), default=0))

    def tell(self, sequence: int) -> None:
        """Wake all who wait when *sequence* is newer than what the hub was told of before."""
        if sequence > self.sequence:
            self.sequence = sequence
            self._moved.set()
            self._moved = asyncio.Event()

    async def beyond(self, sequence: int) -> None:
        """Wait until there is an event behind *sequence*."""
        while self.sequence <= sequence:
            await self._moved.wait()
