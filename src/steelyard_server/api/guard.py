"""The guard around every method.

gRPC for Python runs a handler only when the request has arrived, so a half-open call holds a slot
for ever, and answers a malformed one with UNKNOWN and class names. Here every method takes raw
bytes: the guard reads and parses the request within a limit, admits the caller, counts, runs the
method under a deadline, maps errors, and writes one line to the log.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog
from google.protobuf import message_factory
from google.protobuf.message import DecodeError, Message

from steelyard_server.api import admit, errors
from steelyard_server.api.call import Call, Stream
from steelyard_server.errors import (
    CallTimeout,
    Draining,
    MalformedMessage,
    MissingMessage,
    Overloaded,
    RegistryError,
    RequestReadTimeout,
    TooManyMessages,
)
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from steelyard_server.api.metrics import Metrics

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[Any, Context], Awaitable[bytes | None]]


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """How long a call may take and how many may be open.

    Args:
        calls: unary calls at once.
        streams: streaming calls at once; they have a count of their own, so that neither kind can
            take the places of the other.
    """

    request_read_seconds: float = LIMITS.request_read_seconds
    unary_seconds: float = LIMITS.unary_seconds
    stream_seconds: float = LIMITS.stream_seconds
    calls: int = 512
    streams: int = 64


@dataclass(slots=True)
class Pool:
    """Count the open calls of one kind."""

    places: int
    open: int = 0


@dataclass(slots=True)
class Guard:
    """Wrap the methods of services.

    Args:
        draining: set when the server shuts down; then new calls are refused.
    """

    limits: EdgeLimits
    metrics: Metrics | None = None
    draining: bool = False
    log: Any = field(default_factory=lambda: structlog.get_logger("steelyard.call"))
    _ids: itertools.count[int] = field(default_factory=itertools.count)
    _prefix: str = field(default_factory=lambda: os.urandom(4).hex())
    _calls: Pool = field(init=False)
    _streams: Pool = field(init=False)

    def __post_init__(self) -> None:
        self._calls = Pool(self.limits.calls)
        self._streams = Pool(self.limits.streams)

    def handlers(
        self, descriptor: ServiceDescriptor, service: object, *, name: str = ""
    ) -> grpc.GenericRpcHandler:
        """Return what serves *service* under its proto name, or under *name*.

        Raises:
            ValueError: a method has no rule.
        """
        full_name = name or descriptor.full_name
        handlers = {}
        for method in descriptor.methods:
            if admit.rule_of(method) is None:
                raise ValueError(f"{method.full_name} has no rule, so it cannot be served.")
            path = f"/{full_name}/{method.name}"
            handlers[method.name] = self._handler(method, getattr(service, method.name), path=path)
        return grpc.method_handlers_generic_handler(full_name, handlers)

    def _handler(
        self, method: MethodDescriptor, function: Any, *, path: str
    ) -> grpc.RpcMethodHandler[Any, Any]:
        exempt = method.containing_service.full_name in admit.PUBLIC_SERVICES
        parse = message_factory.GetMessageClass(method.input_type).FromString
        if method.server_streaming:
            body = (
                _bidirectional(function) if method.client_streaming else self._server_stream(function, parse)
            )
            pool, seconds = self._streams, self.limits.stream_seconds
        else:
            body = self._unary(function, parse)
            pool, seconds = self._calls, self.limits.unary_seconds
        run = self._guarded(body, path=path, pool=Pool(1 << 30) if exempt else pool, seconds=seconds)
        if method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(run, response_serializer=_serialized)
        return grpc.stream_unary_rpc_method_handler(run)

    def _unary(self, function: Any, parse: Callable[[bytes], Message]) -> Body:
        async def body(call: Call, stream: Stream, timeout: asyncio.Timeout) -> bytes:
            request = await self._request(stream, parse, timeout=timeout, seconds=self.limits.unary_seconds)
            answer = await function(request, call)
            encoded = _serialized(answer)
            stream.sent_bytes += len(encoded)
            return encoded

        return body

    def _server_stream(self, function: Any, parse: Callable[[bytes], Message]) -> Body:
        async def body(call: Call, stream: Stream, timeout: asyncio.Timeout) -> None:
            request = await self._request(stream, parse, timeout=timeout, seconds=self.limits.stream_seconds)
            await function(request, call, stream)

        return body

    async def _request(
        self, stream: Stream, parse: Callable[[bytes], Message], *, timeout: asyncio.Timeout, seconds: float
    ) -> Message:
        """Read the one request of a call and give the call its full time from then on."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        timeout.reschedule(begin + min(self.limits.request_read_seconds, seconds))
        raw = await stream.next()
        extra = await stream.next() if raw is not None else None
        if raw is None:
            raise MissingMessage("The call ended without a request; send exactly one message.")
        if extra is not None:
            raise TooManyMessages("The call sent more than one request; send exactly one message.")
        timeout.reschedule(begin + seconds)
        try:
            return parse(raw)
        except DecodeError:
            raise MalformedMessage(
                "The request does not parse; use stubs generated from the protos."
            ) from None

    def _guarded(self, body: Body, *, path: str, pool: Pool, seconds: float) -> Handler:
        async def run(_: object, context: Context) -> bytes | None:
            begin = time.perf_counter()
            call = Call(f"{self._prefix}-{next(self._ids)}", path, admit.ANONYMOUS, context)
            stream = Stream(context, first_seconds=self.limits.request_read_seconds)
            reason, code = "", "OK"
            pool.open += 1
            try:
                return await self._admitted(body, call, stream, pool=pool, seconds=seconds)
            except RegistryError as error:
                reason, code = error.reason, errors.code(error).name
                await _abort(context, error, call=call)
            except grpc.aio.AbortError:
                code = _status_name(context)
                raise
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except Exception:
                reason, code = "INTERNAL", "INTERNAL"
                self.log.exception("incident", incident=call.id, method=path)
                message = f"The server met something unexpected; its log has it as incident {call.id}."
                await _abort(context, RegistryError(message, incident=call.id), call=call)
            finally:
                pool.open -= 1
                self._report(call, stream, code=code, reason=reason, seconds=time.perf_counter() - begin)
            return None

        return run

    async def _admitted(
        self, body: Body, call: Call, stream: Stream, *, pool: Pool, seconds: float
    ) -> bytes | None:
        if self.draining:
            raise Draining("The server is shutting down; try again.")
        if pool.open > pool.places:
            message = f"The server handles {pool.places} calls of this kind already; try again in a second."
            raise Overloaded(message)
        metadata = call.context.invocation_metadata()
        call.caller = admit.caller(metadata or ())
        timeout = asyncio.timeout(seconds)
        try:
            async with timeout:
                return await body(call, stream, timeout)
        except TimeoutError:
            if not timeout.expired():
                raise
            if stream.received_messages == 0:
                limit = self.limits.request_read_seconds
                message = f"The request did not arrive within {limit:g} seconds."
                raise RequestReadTimeout(message, limit_seconds=limit) from None
            message = f"The call took longer than the server allows, {seconds:g} seconds."
            raise CallTimeout(message, limit_seconds=seconds) from None

    def _report(self, call: Call, stream: Stream, *, code: str, reason: str, seconds: float) -> None:
        self.log.info(
            "call",
            call=call.id,
            method=call.method,
            actor=call.caller.id,
            code=code,
            reason=reason,
            duration_ms=round(seconds * 1000, 3),
            received_bytes=stream.received_bytes,
            sent_bytes=stream.sent_bytes,
        )
        if self.metrics is not None:
            self.metrics.count(call.method, code=code, seconds=seconds, stream=stream)


Body = Callable[[Call, Stream, asyncio.Timeout], Awaitable[bytes | None]]


def _bidirectional(function: Any) -> Body:
    async def body(call: Call, stream: Stream, _: asyncio.Timeout) -> None:
        await function(call, stream)

    return body


async def _abort(context: Context, error: RegistryError, *, call: Call) -> None:
    code, message, metadata = errors.on_wire(error, call_id=call.id)
    await context.abort(code, message, (*metadata, ("steelyard-call", call.id)))


def _status_name(context: Context) -> str:
    """Name the status with which a method of a library ended its call itself."""
    # The type stubs promise a StatusCode; grpc.aio answers the number of one that C core chose.
    status: object = context.code()
    return status.name if isinstance(status, grpc.StatusCode) else str(status)


def _serialized(message: bytes | Message) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
