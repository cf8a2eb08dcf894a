"""How one method is served: where its request comes from, who serves it, and which place it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf import message_factory
from google.protobuf.message import DecodeError, Message

from steelyard_server.api.call import Call, Stream
from steelyard_server.errors import (
    MalformedMessage,
    MissingMessage,
    Overloaded,
    QueryTooExpensive,
    RegistryError,
    TooManyMessages,
)
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

    from steelyard_server.api.admit import Ask

Receive = Callable[[Stream], Awaitable[Message | None]]
Serve = Callable[[Any, Call, Stream], Awaitable[bytes | None]]
Stop = Callable[[RegistryError, Stream], Awaitable[None]]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(slots=True)
class Pool:
    """Count the open calls of one kind; used as ``with pool``.

    Raises:
        Overloaded: all places are taken.
    """

    places: int
    open: int = 0

    def __enter__(self) -> None:
        if self.open >= self.places:
            message = f"The server handles {self.places} calls of this kind already; try again in a second."
            raise Overloaded(message)
        self.open += 1

    def __exit__(self, *_: object) -> None:
        self.open -= 1


@dataclass(frozen=True, slots=True)
class Method:
    """How one method is served.

    Args:
        receive: from `receiving`.
        serve: from `serving`; returns the answer unless that is streamed.
        stop: from `stopping`; comes before the status of a call that is refused or fails.
        pool: where a call takes its place once its request is there.
        seconds: how long a call may take.
        essential: served also when all places are taken or the server shuts down.
        public: served to those who did not log in, too.
        ask: what a request demands of its caller.
        watching: whether its calls wait for what may never happen, so that nobody waits for their end.
    """

    path: str
    receive: Receive
    serve: Serve
    stop: Stop
    pool: Pool
    seconds: float
    essential: bool
    public: bool
    ask: Ask
    watching: bool

    @property
    def awaited(self) -> bool:
        """Return whether a server that stops waits until its calls have ended."""
        return not (self.essential or self.watching)


def receiving(descriptor: MethodDescriptor) -> Receive:
    """Return what waits for the request of a method, parsed, or for a stream of requests to begin."""
    if descriptor.client_streaming:
        return _begin
    parse: Callable[[bytes], Message] = message_factory.GetMessageClass(descriptor.input_type).FromString

    async def receive(stream: Stream) -> Message:
        raw = await stream.next()
        if raw is None:
            raise MissingMessage("The call ended without a request; send exactly one message.")
        if await stream.next() is not None:
            raise TooManyMessages("The call sent more than one request; send exactly one message.")
        try:
            return parse(raw)
        except DecodeError:
            message = "The request does not parse; use stubs generated from the protos."
            raise MalformedMessage(message) from None

    return receive


async def _begin(stream: Stream) -> None:
    await asyncio.wait([stream.reading()])


def serving(descriptor: MethodDescriptor, function: Any) -> Serve:
    """Return what calls *function*, a method of a service, as its kind of method wants it."""

    async def unary(request: Message, call: Call, stream: Stream) -> bytes:
        encoded = serialized(await function(request, call))
        if len(encoded) > LIMITS.message_bytes:
            message = f"The answer has {len(encoded)} bytes, more than a message may have; ask for less."
            raise QueryTooExpensive(message, limit_bytes=LIMITS.message_bytes)
        stream.sent_bytes += len(encoded)
        return encoded

    async def server_stream(request: Message, call: Call, stream: Stream) -> None:
        await function(request, call, stream)

    async def bidirectional(_: None, call: Call, stream: Stream) -> None:
        await function(call, stream)

    if not descriptor.server_streaming:
        return unary
    return bidirectional if descriptor.client_streaming else server_stream


def last_message(encode: Callable[[RegistryError], Message]) -> Callable[[Function], Function]:
    """Mark a method to which clients stream with the message that it says before it ends with an error."""

    def mark(function: Function) -> Function:
        function.__dict__["last_message"] = encode
        return function

    return mark


def watching(function: Function) -> Function:
    """Mark a method whose streams mostly wait for what may happen: they have places of their own."""
    function.__dict__["watching"] = True
    return function


def stopping(descriptor: MethodDescriptor, function: Any) -> Stop:
    """Return what happens before a status that is an error: a client that streams hears of it first."""
    encode = getattr(function, "last_message", None)

    async def stop(error: RegistryError, stream: Stream) -> None:
        await stream.stop(serialized(encode(error)) if encode else None)

    async def nothing(_: RegistryError, __: Stream) -> None:
        """Go on at once: the request is there already, or will not come."""

    return stop if descriptor.client_streaming else nothing


def serialized(message: bytes | Message) -> bytes:
    """Encode an answer, unless its method has done that already."""
    return message if isinstance(message, bytes) else message.SerializeToString()
