"""One RPC under way, as a service method sees it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc.aio

from steelyard_server.errors import AnswerNotTaken
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    from steelyard_server.core.access import Demand
    from steelyard_server.errors import DeadlineExceeded
    from steelyard_server.history.caller import Caller

# How long a client may go on writing after it was told to stop.
STOP_SECONDS = 5.0


async def _unguarded(_: Message) -> None:
    raise RuntimeError("Only the guard knows what a message of a stream demands.")


@dataclass(slots=True)
class Call:
    """Say which call this is and who makes it.

    Args:
        id: short and unique in this process; in the log line, and in the metadata of an error.
        method: path of the RPC, for example ``/steelyard.v1.ModelService/GetModel``.
        caller: who calls.
        context: gRPC's own view, for services that come with a library.
        demand: what the call needs a permission for, once its request is known.
        permit: for a stream that goes on: admits a message by its scope, with a login that is still good.
    """

    id: str
    method: str
    caller: Caller
    context: grpc.aio.ServicerContext[bytes, bytes]
    demand: Demand | None = None
    permit: Callable[[Message], Awaitable[None]] = _unguarded


@dataclass(slots=True)
class Stream:
    """Raw messages in and out of a call, one reader and any number of writers.

    Args:
        received_bytes: size of all messages read.
        sent_bytes: size of all messages written.
    """

    context: grpc.aio.ServicerContext[bytes, bytes]
    received_bytes: int = 0
    sent_bytes: int = 0
    _reading: asyncio.Task[bytes | None] | None = None
    _write_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def next(self) -> bytes | None:
        """Return the next message, or None at the half-close; broken off, it leaves nothing to read."""
        message = await self.context.read()
        if not isinstance(message, bytes):  # grpc.aio.EOF
            return None
        self.received_bytes += len(message)
        return message

    def reading(self) -> asyncio.Task[bytes | None]:
        """Return the reading of the next message, to wait for beside other things, then to `take`."""
        if self._reading is None:
            self._reading = asyncio.create_task(self.next())
        return self._reading

    async def take(self) -> bytes | None:
        """Return the next message, or None at the half-close; it is not lost when this is broken off."""
        reading = self.reading()
        if not reading.done():
            await asyncio.wait([reading])
        self._reading = None
        return reading.result()

    async def read(self, *, timeout_seconds: float, late: type[DeadlineExceeded]) -> bytes | None:
        """Return the next message, or None when the client has half-closed.

        Raises:
            DeadlineExceeded: *late*, when no message came in time.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self.take()
        except TimeoutError:
            text = f"No message came for {timeout_seconds:g} seconds."
            raise late(text, limit_seconds=timeout_seconds) from None

    async def stop(self, message: bytes | None) -> None:
        """Send a last message, if any, and read on until the client half-closes or STOP_SECONDS pass.

        A client that is still writing does not hear a status.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                if message is not None:
                    await self.write(message)
                while await self.take() is not None:
                    pass

    async def close(self) -> None:
        """Break off the reading that is under way."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def write(self, message: bytes) -> None:
        """Send a message; waits a while when the client does not take more.

        Raises:
            AnswerNotTaken: it took nothing for Limits.upload_idle_seconds.
        """
        seconds = LIMITS.upload_idle_seconds
        try:
            async with asyncio.timeout(seconds), self._write_lock:
                await self.context.write(message)
        except TimeoutError:
            text = f"No message was taken for {seconds:g} seconds; read the stream, or resume by offset."
            raise AnswerNotTaken(text, limit_seconds=seconds) from None
        self.sent_bytes += len(message)
