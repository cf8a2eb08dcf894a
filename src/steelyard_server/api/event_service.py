"""EventService: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import event_pb2
from steelyard.v1 import event_service_pb2 as pb
from steelyard_server.api import convert
from steelyard_server.api.transact import observe
from steelyard_server.core import events

if TYPE_CHECKING:
    from steelyard_server.api.call import Call
    from steelyard_server.api.pages import Pages
    from steelyard_server.core.events import Event
    from steelyard_server.db.database import Database


class EventService:
    """Serve the history from the database."""

    def __init__(self, database: Database, *, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    async def ListEvents(self, request: pb.ListEventsRequest, call: Call) -> pb.ListEventsResponse:
        """Answer a page of events."""
        query = ("events", request.scope)
        (found, more), sequence = await observe(
            self._database,
            call,
            events.page,
            minimum_sequence=request.minimum_sequence,
            scope=request.scope,
            after=self._pages.decode(query, request.page_token, int),
            page_size=request.page_size,
        )
        return pb.ListEventsResponse(
            events=[_event(each) for each in found],
            next_page_token=self._pages.encode(query, found[-1].sequence) if more else "",
            sequence=sequence,
        )


def _event(value: Event) -> event_pb2.Event:
    texts = [event_pb2.EventText(name=each.name, salt=each.salt, text=each.content) for each in value.texts]
    return event_pb2.Event(
        sequence=value.sequence,
        time=convert.timestamp(value.time),
        actor=convert.actor(value.actor),
        action=value.action,
        content=value.content,
        texts=texts,
    )
