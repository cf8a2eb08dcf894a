"""The guard around every method.

gRPC for Python runs a handler only when the request has arrived, so a half-open call holds a slot
for ever, and answers a malformed one with UNKNOWN and class names. Here every method takes raw
bytes: the guard admits the caller, reads and parses the request within a limit, takes a place,
runs the method under a deadline, maps errors, and writes one line to the log.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog

from steelyard.v1 import rule_pb2
from steelyard_server.api import admit, errors
from steelyard_server.api.call import Call, Stream
from steelyard_server.api.method import Method, Pool, receiving, serialized, serving, stopping
from steelyard_server.core import access
from steelyard_server.errors import (
    CallTimeout,
    Draining,
    RegistryError,
    RequestReadTimeout,
)
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
    from google.protobuf.message import Message

    from steelyard_server.api.admit import LogIn
    from steelyard_server.api.denials import Denials
    from steelyard_server.api.metrics import Metrics
    from steelyard_server.history.caller import Caller

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[Any, Context], Awaitable[bytes | None]]

CALL_KEY = "steelyard-call"
# Calls of health and reflection, which have places of their own.
ESSENTIAL_CALLS, ESSENTIAL_STREAMS = 1024, 256
# How long a status may wait for a client to take it.
ABORT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """How long a call may take and how many may be open.

    Args:
        calls: unary calls at once.
        streams: streaming calls at once that move something.
        watches: streaming calls at once that wait for events. Each kind has a count of its own, so that
            none can take the places of another.
    """

    request_read_seconds: float = LIMITS.request_read_seconds
    unary_seconds: float = LIMITS.unary_seconds
    stream_seconds: float = LIMITS.stream_seconds
    calls: int = 512
    streams: int = 64
    watches: int = 1100


@dataclass(slots=True)
class Guard:
    """Wrap the methods of services.

    Args:
        log_in: finds out who calls.
        holds: says whether what was found out about somebody before is still good.
        denials: is told who was refused.
    """

    limits: EdgeLimits
    metrics: Metrics | None = None
    log_in: LogIn = admit.stated
    holds: Callable[[Caller], bool] = field(default=lambda _: True)
    denials: Denials | None = None
    # Bound once: a proxy would bind anew for each line.
    log: Any = field(default_factory=lambda: structlog.get_logger("steelyard.call").bind())
    _ids: itertools.count[int] = field(default_factory=itertools.count)
    _prefix: str = field(default_factory=lambda: os.urandom(4).hex())
    _calls: Pool = field(init=False)
    _streams: Pool = field(init=False)
    _watches: Pool = field(init=False)
    _checks: Pool = field(init=False)
    _check_streams: Pool = field(init=False)
    _open: int = 0
    _draining: bool = False
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._calls = Pool(self.limits.calls)
        self._streams = Pool(self.limits.streams)
        self._watches = Pool(self.limits.watches)
        self._checks = Pool(ESSENTIAL_CALLS)
        self._check_streams = Pool(ESSENTIAL_STREAMS)

    def _pool(self, *, streams: bool, watching: bool, essential: bool) -> Pool:
        if essential:
            return self._check_streams if streams else self._checks
        if watching:
            return self._watches
        return self._streams if streams else self._calls

    async def drain(self, seconds: float) -> None:
        """Refuse new calls and wait until the open ones have ended, at most this long."""
        self._draining = True
        if not self._open:
            return
        self._idle.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

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
            rule = admit.rule_of(method)
            if rule is None:
                raise ValueError(f"{method.full_name} has no rule, so it cannot be served.")
            path = f"/{full_name}/{method.name}"
            function = getattr(service, method.name)
            handlers[method.name] = self._handler(method, function, rule=rule, path=path)
        return grpc.method_handlers_generic_handler(full_name, handlers)

    def _handler(
        self, descriptor: MethodDescriptor, function: Any, *, rule: rule_pb2.Rule, path: str
    ) -> grpc.RpcMethodHandler[Any, Any]:
        streams = descriptor.server_streaming
        essential = descriptor.containing_service.full_name in admit.PUBLIC_SERVICES
        watching = getattr(function, "watching", False)
        method = Method(
            path,
            receive=receiving(descriptor),
            serve=serving(descriptor, function),
            stop=stopping(descriptor, function),
            pool=self._pool(streams=streams, watching=watching, essential=essential),
            seconds=self.limits.stream_seconds if streams else self.limits.unary_seconds,
            essential=essential,
            public=rule.permission == rule_pb2.PERMISSION_PUBLIC,
            ask=admit.asking(rule),
            watching=watching,
        )
        run = self._guarded(method)
        if streams:
            return grpc.stream_stream_rpc_method_handler(run, response_serializer=serialized)
        return grpc.stream_unary_rpc_method_handler(run)

    def _guarded(self, method: Method) -> Handler:
        async def run(_: object, context: Context) -> bytes | None:
            begin = time.perf_counter()
            call = Call(f"{self._prefix}-{next(self._ids)}", method.path, admit.ANONYMOUS, context)
            stream = Stream(context)
            reason, code = "", "OK"
            self._open += method.awaited
            try:
                return await self._admitted(method, call, stream)
            except RegistryError as error:
                reason, code = error.reason, errors.code(error).name
                if self.denials is not None:
                    self.denials.note(call, error)
                await method.stop(error, stream)
                await _abort(context, error, call=call)
            except grpc.aio.AbortError:
                code = _status_name(context)
                raise
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except Exception:
                reason, code = "INTERNAL", "INTERNAL"
                self.log.exception("incident", incident=call.id, method=method.path)
                message = f"The server met something unexpected; its log has it as incident {call.id}."
                incident = RegistryError(message, incident=call.id)
                await method.stop(incident, stream)
                await _abort(context, incident, call=call)
            finally:
                self._open -= method.awaited
                if not self._open:
                    self._idle.set()
                self._report(call, stream, code=code, reason=reason, seconds=time.perf_counter() - begin)
                await stream.close()
            return None

        return run

    async def _admitted(self, method: Method, call: Call, stream: Stream) -> bytes | None:
        if self._draining and not method.essential:
            raise Draining("The server is shutting down; try again.")
        if not method.public:
            call.caller = await self.log_in(call.context.invocation_metadata() or ())
        loop = asyncio.get_running_loop()
        begin = loop.time()
        timeout = asyncio.timeout_at(begin + self.limits.request_read_seconds)
        arrived = False
        try:
            async with timeout:
                request = await method.receive(stream)
                arrived = True
                timeout.reschedule(begin + method.seconds)
                await self._permit(method, call, request)
                # Only now: a call whose request does not come must not have another's place.
                with method.pool:
                    return await method.serve(request, call, stream)
        except TimeoutError:
            if not timeout.expired():
                raise
            if arrived:
                raise _too_late(method.seconds) from None
            raise _not_arrived(self.limits.request_read_seconds) from None

    async def _permit(self, method: Method, call: Call, request: Message | None) -> None:
        """Demand what a request asks; where a stream goes on, let the method do so again.

        Raises:
            PermissionMissing: the caller may not do it.
            Unauthenticated: the login was good when the call began, and is not any more.
        """
        if request is None or method.watching:
            call.permit = partial(self._permit_again, method, call)
        if request is None:
            return
        # A request may come long after the call began; not every method looks again in a transaction.
        if not self.holds(call.caller):
            call.caller = await self.log_in(call.context.invocation_metadata() or ())
        _demand(method, call, request)

    async def _permit_again(self, method: Method, call: Call, message: Message) -> None:
        """Demand what a message asks, of who the caller is now.

        Raises:
            PermissionMissing: the caller may not do it.
            Unauthenticated: the login is not good any more.
        """
        call.caller = await self.log_in(call.context.invocation_metadata() or ())
        _demand(method, call, message)

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


def _demand(method: Method, call: Call, message: Message) -> None:
    call.demand = method.ask(message)
    if call.demand is not None:
        access.meet(call.caller, call.demand)


def _not_arrived(seconds: float) -> RequestReadTimeout:
    message = f"The request did not arrive within {seconds:g} seconds."
    return RequestReadTimeout(message, limit_seconds=seconds)


def _too_late(seconds: float) -> CallTimeout:
    message = f"The call took longer than the server allows, {seconds:g} seconds."
    return CallTimeout(message, limit_seconds=seconds)


async def _abort(context: Context, error: RegistryError, *, call: Call) -> None:
    code, message, metadata = errors.on_wire(error, call_id=call.id)
    # A client that takes nothing does not take the status either; it is left to its connection then.
    with suppress(TimeoutError):
        async with asyncio.timeout(ABORT_SECONDS):
            await context.abort(code, message, (*metadata, (CALL_KEY, call.id)))


def _status_name(context: Context) -> str:
    """Name the status with which a method of a library ended its call itself."""
    # The type stubs promise a StatusCode; grpc.aio answers the number of one that C core chose.
    status: object = context.code()
    return status.name if isinstance(status, grpc.StatusCode) else str(status)
