"""Streams of events, read a message at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from steelyard.v1 import event_service_pb2 as pb
from tests.api.calls import Refused
from tests.api.logins import Metadata

SECONDS = 30


class Watch:
    """A stream of events."""

    def __init__(self, channel: grpc.aio.Channel, *, metadata: Metadata = (), **fields: Any) -> None:
        method = channel.unary_stream(
            "/steelyard.v1.EventService/WatchEvents",
            request_serializer=pb.WatchEventsRequest.SerializeToString,
            response_deserializer=pb.WatchEventsResponse.FromString,
        )
        self._stream = method(pb.WatchEventsRequest(**fields), timeout=4 * SECONDS, metadata=metadata)

    async def read(self) -> Any:
        """Return the next message.

        Raises:
            Refused: with the status that came instead.
        """
        try:
            return await asyncio.wait_for(self._stream.read(), SECONDS)
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from None

    async def until(self, sequence: int) -> list[int]:
        """Return the sequences of all events up to *sequence*."""
        found: list[int] = []
        reached = -1
        while reached < sequence:
            message = await self.read()
            assert message.sequence >= reached
            reached = message.sequence
            if message.HasField("event"):
                assert message.event.sequence == reached
                found.append(reached)
            else:
                assert message.epoch
        return found

    async def end(self, *, heartbeats: int = 8) -> tuple[list[int], Refused]:
        """Return the sequences of all events that still come, and the status that ends the stream.

        Args:
            heartbeats: how many may come before; one that goes on beyond them does not end.
        """
        found: list[int] = []
        while heartbeats >= 0:
            try:
                message = await self.read()
            except Refused as refused:
                return found, refused
            if message.HasField("event"):
                found.append(message.sequence)
            else:
                heartbeats -= 1
        raise AssertionError(f"It goes on, and brought {found}.")

    async def refusal(self) -> Refused:
        """Return the status that comes next, in place of an event."""
        try:
            message = await self.read()
        except Refused as refused:
            return refused
        raise AssertionError(f"This came instead: {message}")

    def cancel(self) -> None:
        """Leave."""
        self._stream.cancel()
