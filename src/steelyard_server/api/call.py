"""One RPC under way, as a service method sees it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc.aio

from steelyard_server.errors import AnswerNotTaken
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from steelyard_server.errors import DeadlineExceeded
    from steelyard_server.history.caller import Caller


@dataclass(slots=True)
class Call:
    """Say which call this is and who makes it.

    Args:
        id: short and unique in this process; in the log line, and in the metadata of an error.
        method: path of the RPC, for example ``/steelyard.v1.ModelService/GetModel``.
        caller: who calls.
        context: gRPC's own view, for services that come with a library.
    """

    id: str
    method: str
    caller: Caller
    context: grpc.aio.ServicerContext[bytes, bytes]


@dataclass(slots=True)
class Stream:
    """Raw messages in and out of a call, one reader and any number of writers.

    Args:
        received_messages: how many were read.
        received_bytes: size of all messages read.
        sent_bytes: size of all messages written.
    """

    context: grpc.aio.ServicerContext[bytes, bytes]
    received_messages: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    _ahead: list[bytes | None] = field(default_factory=list)
    _write_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def begin(self) -> None:
        """Wait for the first message or the half-close, and keep it for the next reader."""
        self._ahead.append(await self.next())

    async def read(self, *, timeout_seconds: float, late: type[DeadlineExceeded]) -> bytes | None:
        """Return the next message, or None when the client has half-closed.

        Raises:
            DeadlineExceeded: *late*, when no message came in time.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self.next()
        except TimeoutError:
            text = f"No message came for {timeout_seconds:g} seconds."
            raise late(text, limit_seconds=timeout_seconds) from None

    async def next(self) -> bytes | None:
        """Return the next message, or None at the half-close; the caller sets the limit."""
        if self._ahead:
            return self._ahead.pop()
        message = await self.context.read()
        if not isinstance(message, bytes):  # grpc.aio.EOF
            return None
        self.received_messages += 1
        self.received_bytes += len(message)
        return message

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
