"""Calls about events: the history of a namespace or a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard import pages, types
from steelyard.v1 import event_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.connection import Connection
    from steelyard.types import Event


class Events:
    """Read the history."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, scope: str) -> Iterator[Event]:
        """Yield the events that concern a scope, the oldest first.

        Args:
            scope: a namespace, or `namespace/model`.

        Raises:
            NotFound: there is no such namespace or model.
        """

        def ask(request: pb.ListEventsRequest) -> pb.ListEventsResponse:
            return self._connection.ask("EventService/ListEvents", request, pb.ListEventsResponse)

        request = pb.ListEventsRequest(scope=scope)
        yield from map(types.event, pages.entries(request, field="events", ask=ask))
