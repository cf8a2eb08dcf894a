"""EventService: translate, call, translate; and send watchers what follows their cursors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from steelyard.v1 import event_service_pb2 as pb
from steelyard_server.api import convert_event
from steelyard_server.api.method import watching
from steelyard_server.api.transact import observe
from steelyard_server.core import events, names
from steelyard_server.errors import HistoryReplaced, SequenceInFuture
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from steelyard_server.api.call import Call, Stream
    from steelyard_server.api.feeds import Feed, Feeds
    from steelyard_server.api.logins import Logins
    from steelyard_server.api.pages import Pages
    from steelyard_server.db.database import Database
    from steelyard_server.history.events import Head

HEARTBEAT_SECONDS = 15


class EventService:
    """Serve the history from the database, and what is new in it from feeds."""

    def __init__(self, database: Database, *, pages: Pages, feeds: Feeds, logins: Logins) -> None:
        self._database = database
        self._pages = pages
        self._feeds = feeds
        self._logins = logins

    async def ListEvents(self, request: pb.ListEventsRequest, call: Call) -> pb.ListEventsResponse:
        """Answer a page of events."""
        query = ("events", request.scope, request.filter, request.order_by)
        (found, position), sequence = await observe(
            self._database,
            call,
            events.page,
            minimum_sequence=request.minimum_sequence,
            scope=request.scope,
            filter=request.filter,
            order_by=request.order_by,
            after=self._pages.decode(query, request.page_token, list),
            page_size=request.page_size,
        )
        return pb.ListEventsResponse(
            events=map(convert_event.event, found),
            next_page_token=self._pages.encode(query, position) if position else "",
            sequence=sequence,
        )

    @watching
    async def WatchEvents(self, request: pb.WatchEventsRequest, call: Call, stream: Stream) -> None:
        """Send events for as long as the caller stays, and may have them."""
        heartbeat_seconds = request.heartbeat_seconds or HEARTBEAT_SECONDS
        names.number(
            heartbeat_seconds, field="heartbeat_seconds", minimum=1, maximum=LIMITS.heartbeat_seconds
        )

        async def admit() -> None:
            heard = -1
            # Again when access changed once more meanwhile. What may not have been committed is never
            # seen in the database, so nothing holds until the next change is.
            while not self._logins.holds(call.caller) and heard != self._logins.heard:
                heard = self._logins.heard
                await call.permit(request)

        async with self._feeds.watched(call, scope=request.scope, filter=request.filter) as (feed, head):
            begin = _begin(request, head)
            watcher = Watcher(self._feeds, feed, stream, begin=begin, epoch=head.epoch, admit=admit)
            await watcher.run(heartbeat_seconds)


class Watcher:
    """One stream: a cursor, and what moves it.

    Args:
        begin: the sequence behind which it begins.
        admit: called before each message; raises when the caller may not watch any more.
    """

    def __init__(
        self,
        feeds: Feeds,
        feed: Feed,
        stream: Stream,
        *,
        begin: int,
        epoch: str,
        admit: Callable[[], Awaitable[None]],
    ) -> None:
        self._feeds = feeds
        self._feed = feed
        self._stream = stream
        self._cursor = begin
        self._epoch = epoch
        self._admit = admit
        self._clock = asyncio.get_running_loop().time

    async def run(self, heartbeat_seconds: int) -> None:
        """Send every event behind the cursor, once and in order; when nothing was sent for long, a heartbeat.

        Raises:
            PermissionMissing, Unauthenticated: the caller may not watch any more.
            RegistryError: what the feed ended with.
        """
        self._heartbeat_seconds = heartbeat_seconds
        await self._beat()
        while True:
            # Taken before looking, so that what comes meanwhile wakes.
            moved = self._feed.moved
            self._feed.check()
            if self._cursor < self._feed.begin:
                await self._catch_up()
            elif (found := self._feed.next(self._cursor)) is not None:
                await self._send(*found)
            else:
                self._cursor = max(self._cursor, self._feed.reached)
                await self._admit()
                await self._wait(moved)
            if self._clock() >= self._due:
                await self._beat()

    async def _catch_up(self) -> None:
        found, reached = await self._feeds.read(self._feed.followed, after=self._cursor)
        for each in found:
            await self._send(*each)
        self._cursor = max(self._cursor, reached)

    async def _send(self, sequence: int, message: bytes) -> None:
        await self._admit()
        await self._stream.write(message)
        self._cursor = sequence
        self._due = self._clock() + self._heartbeat_seconds

    async def _beat(self) -> None:
        message = pb.WatchEventsResponse(sequence=self._cursor, epoch=self._epoch)
        await self._send(self._cursor, message.SerializeToString())

    async def _wait(self, moved: asyncio.Event) -> None:
        try:
            async with asyncio.timeout_at(self._due):
                await moved.wait()
        except TimeoutError:
            return


def _begin(request: pb.WatchEventsRequest, head: Head) -> int:
    """Return the sequence behind which a watch begins."""
    if request.epoch and request.epoch != head.epoch:
        message = "The registry was restored since you got this epoch; read the history anew, then watch."
        raise HistoryReplaced(message, epoch=head.epoch)
    if not request.HasField("after_sequence"):
        return head.sequence
    after = names.number(request.after_sequence, field="after_sequence")
    if after > head.sequence:
        message = f"The registry is at sequence {head.sequence}, which is before {after}."
        raise SequenceInFuture(message, sequence=head.sequence)
    return after
