"""The newest events of what is watched, read and encoded once for all who watch the same.

A watcher holds a cursor and nothing else. It takes one message at a time from the feed of its scope and
filter; when its cursor is older than what the feed still has, it reads some events from the database.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING

from steelyard.v1 import event_service_pb2 as pb
from steelyard_server.api import convert_event
from steelyard_server.api.transact import observe
from steelyard_server.core import events
from steelyard_server.errors import Draining
from steelyard_server.history import events as history

if TYPE_CHECKING:
    from steelyard_server.api.call import Call
    from steelyard_server.api.logins import Logins
    from steelyard_server.core.events import Followed
    from steelyard_server.core.filters.event_fields import EventScope
    from steelyard_server.db.database import Database, Transaction
    from steelyard_server.history.events import Head
    from steelyard_server.history.hub import Hub

# What all feeds together keep in memory.
RINGS_BYTES = 16 * 1024 * 1024
# What a feed keeps at most.
RING_EVENTS = 1024
# What a watcher reads from the database at a time; as many may hold as much while they are slow.
BATCH_EVENTS, BATCH_BYTES = 64, 64 * 1024
# Watchers that read at once, so that a thousand who come back after a restart leave room for others.
READS = 4
# Other servers of one database do not tell this one of their commits.
POLL_SECONDS = 1.0

_log = logging.getLogger(__name__)

# Sequence and encoded message of an event.
Encoded = tuple[int, bytes]


@dataclass(slots=True, eq=False)
class Feed:
    """The newest events of one scope and filter.

    Args:
        begin: all events behind this sequence, up to `reached`, are here.
        reached: up to this sequence the history was looked through.
        moved: set, and replaced, when that changes.
    """

    followed: Followed
    begin: int
    reached: int
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: int = 0
    _ring: deque[Encoded] = field(default_factory=deque)
    _size_bytes: int = 0
    _error: Exception | None = None

    def __len__(self) -> int:
        """Return how many events are kept."""
        return len(self._ring)

    def check(self) -> None:
        """Go on, or end with what the feed ended with.

        Raises:
            RegistryError: the events cannot be read, or the server shuts down.
        """
        if self._error is not None:
            raise self._error

    def next(self, after: int) -> Encoded | None:
        """Return the first event behind *after*, not before `begin`; None when there is none."""
        place = bisect_right(self._ring, after, key=itemgetter(0))
        return self._ring[place] if place < len(self._ring) else None

    def extend(self, found: list[Encoded], *, reached: int) -> None:
        """Take what follows, and wake all who watch."""
        self._ring.extend(found)
        self._size_bytes += sum(len(message) for _, message in found)
        self.reached = reached
        self._wake()

    def trim(self, bytes_maximum: int) -> None:
        """Drop the oldest events that are more than the feed may keep."""
        while len(self._ring) > RING_EVENTS or self._size_bytes > bytes_maximum:
            sequence, message = self._ring.popleft()
            self._size_bytes -= len(message)
            self.begin = sequence

    def fail(self, error: Exception) -> None:
        """Let all who watch end with *error*."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        self.moved.set()
        self.moved = asyncio.Event()


class Feeds:
    """All feeds of a server. Belongs to the thread of one event loop."""

    def __init__(self, database: Database, hub: Hub, *, logins: Logins) -> None:
        self._database = database
        self._hub = hub
        self._logins = logins
        self._feeds: dict[tuple[EventScope, str], Feed] = {}
        self._pumps: dict[Feed, asyncio.Task[None]] = {}
        self._reads = asyncio.Semaphore(READS)
        self._over = False

    @asynccontextmanager
    async def watched(
        self,
        call: Call,
        *,
        scope: str,
        filter: str,  # noqa: A002 - as the request calls it
    ) -> AsyncIterator[tuple[Feed, Head]]:
        """Give the feed of a scope and filter, and where the history stands, for as long as the block runs.

        Raises:
            Draining: the server shuts down.
            PermissionMissing, Unauthenticated: the caller may not watch any more.
            RegistryError: as `core.events.follow`.
        """
        async with self._reads:
            (followed, head), _ = await observe(
                self._database, call, _open, minimum_sequence=0, scope=scope, filter=filter
            )
        feed = self._joined(followed, sequence=head.sequence)
        try:
            yield feed, head
        finally:
            self._leave(feed)

    async def read(self, followed: Followed, *, after: int) -> tuple[list[Encoded], int]:
        """Return some events behind *after* from the database, and up to where there are no others."""
        async with self._reads:
            return await self._following(
                followed, after=after, rows_maximum=BATCH_EVENTS, bytes_maximum=BATCH_BYTES
            )

    async def _following(self, followed: Followed, **bounds: int) -> tuple[list[Encoded], int]:
        found = await self._database.read(events.following, followed, **bounds)
        # Before anybody is sent what may have been committed after they lost a permission.
        self._logins.hear(found.access_sequence)
        return list(map(_encoded, found.events)), found.reached

    async def poll(self) -> None:
        """Look for commits of other servers, as long as somebody watches."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if not self._feeds:
                continue
            try:
                head = await self._database.read(history.head)
            except Exception:  # noqa: BLE001 - a database that restarts, above all, must not end this
                _log.warning("The head of the history cannot be read.", exc_info=True)
            else:
                self._hub.tell(head.sequence)

    async def close(self) -> None:
        """End all watches at once, with what makes clients come back."""
        self._over = True
        for feed in list(self._feeds.values()):
            feed.fail(_draining())
        pumps = list(self._pumps.values())
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    def _joined(self, followed: Followed, *, sequence: int) -> Feed:
        if self._over:
            raise _draining()
        key = (followed.scope, followed.filter)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(followed, begin=sequence, reached=sequence)
            self._pumps[feed] = asyncio.create_task(self._pump(feed))
            self._trim()
        feed.watchers += 1
        return feed

    def _leave(self, feed: Feed) -> None:
        feed.watchers -= 1
        if not feed.watchers:
            self._forget(feed)
            self._pumps.pop(feed).cancel()

    def _forget(self, feed: Feed) -> None:
        """Let who comes next begin a new feed."""
        key = (feed.followed.scope, feed.followed.filter)
        if self._feeds.get(key) is feed:
            del self._feeds[key]

    async def _pump(self, feed: Feed) -> None:
        """Read what follows, again and again."""
        try:
            while True:
                await self._hub.beyond(feed.reached)
                found, reached = await self._following(
                    feed.followed,
                    after=feed.reached,
                    rows_maximum=RING_EVENTS,
                    bytes_maximum=self._share_bytes(),
                )
                feed.extend(found, reached=reached)
                feed.trim(self._share_bytes())
        except Exception as error:  # noqa: BLE001 - all who watch hear it
            self._forget(feed)
            feed.fail(error)

    def _trim(self) -> None:
        for feed in self._feeds.values():
            feed.trim(self._share_bytes())

    def _share_bytes(self) -> int:
        return RINGS_BYTES // max(len(self._feeds), 1)


def _open(tx: Transaction, *, scope: str, filter: str) -> tuple[Followed, Head]:  # noqa: A002
    return events.follow(tx, scope=scope, filter=filter), history.head(tx)


def _encoded(event: events.Event) -> Encoded:
    message = pb.WatchEventsResponse(event=convert_event.event(event), sequence=event.sequence)
    return event.sequence, message.SerializeToString()


def _draining() -> Draining:
    return Draining("The server is shutting down; watch again from the last sequence.")
