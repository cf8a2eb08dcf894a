"""Calls about events: the history of the registry, of a namespace or of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

from steelyard import pages, transfer, types
from steelyard.errors import SteelyardError, Stopped, Unavailable
from steelyard.v1 import event_service_pb2 as pb
from steelyard.v1 import server_service_pb2
from steelyard.workers import Patience, Stop

if TYPE_CHECKING:
    from steelyard.connection import Connection
    from steelyard.types import Event

# As long as a stream may live at all; then a watch goes on with another.
STREAM_SECONDS = 86_400.0
HEARTBEAT_SECONDS = 15
# So many heartbeats may be missing before a connection counts as broken.
HEARTBEATS_MISSED = 3


class Events:
    """Read the history, and follow it."""

    def __init__(self, connection: Connection, *, patience_seconds: float) -> None:
        self._connection = connection
        self._patience_seconds = patience_seconds

    def list(self, scope: str = "", *, filter: str = "", order_by: str = "") -> Iterator[Event]:  # noqa: A002 - as the API calls it
        """Yield the events of a scope that pass a filter, the oldest first.

        Args:
            scope: a namespace, or `namespace/model`; empty for the whole registry.
            filter: for example `actor = ada AND time > 2026-11-01`.
            order_by: for example `sequence desc`, the newest first.

        Raises:
            NotFound: there is no such namespace or model.
            FilterInvalid, OrderByInvalid: with the column.
        """

        def ask(request: pb.ListEventsRequest) -> pb.ListEventsResponse:
            return self._connection.ask("EventService/ListEvents", request, pb.ListEventsResponse)

        request = pb.ListEventsRequest(scope=scope, filter=filter, order_by=order_by)
        yield from map(types.event, pages.entries(request, field="events", ask=ask))

    def watch(
        self,
        scope: str = "",
        *,
        filter: str = "",  # noqa: A002 - as the API calls it
        after: int | None = None,
        epoch: str = "",
        heartbeat_seconds: int = HEARTBEAT_SECONDS,
        stop: Stop | None = None,
    ) -> EventWatch:
        """Yield every event that passes a filter, once and in order, each as soon as it is committed.

        It goes on across broken connections and restarts of the server, without a gap. When nobody
        answers for the client's `patience_seconds`, it ends with the error. A connection on which
        nothing came for three heartbeats counts as broken.

        Args:
            after: sequence behind which to begin, 0 for the first event; by default from now on.
            epoch: of the history that `after` is from; refused when the registry was restored since.
            heartbeat_seconds: how often the server says that it is there, 1 to 300.
            stop: ends the iteration when another thread sets it.

        Raises:
            NotFound: there is no such namespace or model.
            FilterInvalid: with the column.
            SequenceInFuture: `after` is no sequence that the registry has reached.
            HistoryReplaced: the registry was restored, and its history may have gone on otherwise.
        """
        if after is None:
            info = self._connection.ask(
                "ServerService/GetServerInfo",
                server_service_pb2.GetServerInfoRequest(),
                server_service_pb2.GetServerInfoResponse,
            )
            after, epoch = info.sequence, info.epoch
        request = pb.WatchEventsRequest(
            scope=scope, filter=filter, after_sequence=after, epoch=epoch, heartbeat_seconds=heartbeat_seconds
        )
        patience_seconds = self._patience_seconds
        return EventWatch(self._connection, request, patience_seconds=patience_seconds, stop=stop or Stop())


class EventWatch(Iterator["Event"]):
    """Events as they come. The end of a `with` block, or `close`, ends the iteration."""

    def __init__(
        self, connection: Connection, request: pb.WatchEventsRequest, *, patience_seconds: float, stop: Stop
    ) -> None:
        self._origin = self._connection = connection
        self._request = request
        self._patience_seconds = patience_seconds
        self._stop = stop
        self._events = self._followed()

    @property
    def sequence(self) -> int:
        """Return up to where everything was yielded; a later watch goes on behind it."""
        return self._request.after_sequence

    @property
    def epoch(self) -> str:
        """Return the epoch of the history; a later watch takes it with the sequence."""
        return self._request.epoch

    def __enter__(self) -> Self:
        """Return the watch."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the watch."""
        self.close()

    def __next__(self) -> Event:
        """Wait for the next event."""
        return next(self._events)

    def close(self) -> None:
        """End the watch, from any thread."""
        self._stop.set()

    def _followed(self) -> Iterator[Event]:
        patience = Patience(self._patience_seconds, stop=self._stop)
        while True:
            heard = False
            try:
                for message in self._messages():
                    heard = True
                    self._request.after_sequence = message.sequence
                    if message.HasField("event"):
                        yield types.event(message.event)
                    else:
                        self._request.epoch = message.epoch
            except Stopped:
                return
            except SteelyardError as error:
                if heard:
                    # It broke now, however long ago something came.
                    patience.moved()
                if not self._goes_on(patience, error):
                    return

    def _goes_on(self, patience: Patience, error: SteelyardError) -> bool:
        """Wait before the next attempt; return whether there is to be one."""
        try:
            patience.wait(error)
        except Stopped:
            return False
        return not self._stop.is_set

    def _messages(self) -> Iterator[pb.WatchEventsResponse]:
        """Yield what comes on one stream, which is broken off when heartbeats are missing."""
        seconds = HEARTBEATS_MISSED * float(self._request.heartbeat_seconds or HEARTBEAT_SECONDS)
        begin = transfer.begin(self._connection, report=None, stop=self._stop, patience_seconds=seconds)
        with begin as following:
            call = self._connection.receive(
                "EventService/WatchEvents", self._request, timeout_seconds=STREAM_SECONDS
            )
            watch = following.watch()
            try:
                with following.streaming(call, watch=watch):
                    for message in watch.receiving(call):
                        yield pb.WatchEventsResponse.FromString(message)
            finally:
                if watch.has_stalled:
                    self._connect_anew()
        raise Unavailable("The server ended the stream without a word.")

    def _connect_anew(self) -> None:
        """Leave a connection that is silent: another stream on it would hear nothing either."""
        if self._connection is not self._origin:
            self._connection.close()
        self._connection = self._origin.another()
