"""The channel to a server: who calls, deadlines, retries, and errors as exceptions."""

from __future__ import annotations

import json
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import grpc

from steelyard import errors
from steelyard.tls import SCHEME, Tls

if TYPE_CHECKING:
    from google.protobuf.message import Message

Answer = TypeVar("Answer", bound="Message")

DEFAULT_PORT = 7433
PACKAGE = "steelyard.v1"
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\s\[\]]+)(?::(?P<port>\d{1,5}))?")
_PORTS = range(1, 65536)
_CLOSE_SECONDS = 2.0
_LOOPBACK = re.compile(r"localhost|127\.[\d.]+|\[::1\]")
# A server that restarts is back well within these attempts; each waits twice as long as the one before.
_RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    # The server forbids by push-back what a retry cannot mend, for example a full disk.
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
# They resume by offset or sequence instead, so their streams are not retried as a whole.
_STREAMS = [
    {"service": f"{PACKAGE}.BlobService", "method": "WriteBlobs"},
    {"service": f"{PACKAGE}.VersionService", "method": "ReadFile"},
    {"service": f"{PACKAGE}.VersionService", "method": "ReadFiles"},
    {"service": f"{PACKAGE}.EventService", "method": "WatchEvents"},
]
_SERVICE_CONFIG = {"methodConfig": [{"name": _STREAMS}, {"name": [{}], "retryPolicy": _RETRY}]}
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.per_rpc_retry_buffer_size", 8 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Finds a peer that is gone without a word; the server allows one ping a minute.
    ("grpc.keepalive_time_ms", 70_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class Connection:
    """Calls one server; safe to use from many threads, and in a process that is forked later.

    Args:
        server: `host:port`; without a port the usual one.
        actor: name that the caller states; without meaning where a login is wanted.
        token: what the caller logs in with, or empty.
        timeout_seconds: for each call, its retries included.
        tls: what TLS is spoken with; None for plain text.
        is_shared: whether other connections of this process to the server may use the same sockets.
    """

    def __init__(
        self,
        server: str,
        *,
        actor: str,
        timeout_seconds: float,
        token: str = "",
        tls: Tls | None = None,
        is_shared: bool = True,
    ) -> None:
        self.server = checked_address(server)
        if not timeout_seconds > 0:
            raise errors.InvalidArgument(f"timeout_seconds is {timeout_seconds!r}; it must be above 0.")
        stated = [("steelyard-actor", _checked_actor(actor))] if actor else []
        login = [("authorization", f"Bearer {_checked_token(token)}")] if token else []
        self._actor, self._token = actor, token
        self._metadata = (*stated, *login)
        self._timeout_seconds = timeout_seconds
        self._tls = tls
        self._is_shared = is_shared
        self._others: WeakSet[Connection] = WeakSet()
        # By process: a channel does not survive a fork. The parent's is kept, for closing it would hang.
        self._channels: dict[int, grpc.Channel] = {}
        self._closed = False

    def ask(self, rpc: str, request: Message, answer: type[Answer]) -> Answer:
        """Call a unary RPC, for example ``ModelService/GetModel``.

        Raises:
            SteelyardError: the one for the reason that the server gave.
        """
        method = self._channel().unary_unary(
            f"/{PACKAGE}.{rpc}",
            request_serializer=_serialize,
            response_deserializer=answer.FromString,
        )
        with self.translated():
            found: Answer = method(request, timeout=self._timeout_seconds, metadata=self._metadata)
        return found

    def receive(self, rpc: str, request: Message, *, timeout_seconds: float) -> Any:
        """Open a stream of raw answers."""
        method: Any = self._channel().unary_stream(f"/{PACKAGE}.{rpc}", request_serializer=_serialize)
        return method(request, timeout=timeout_seconds, metadata=self._metadata)

    def exchange(
        self,
        rpc: str,
        requests: Iterator[bytes],
        *,
        parse: Callable[[bytes], Any],
        timeout_seconds: float,
    ) -> Any:
        """Open a stream of raw requests with answers."""
        method: Any = self._channel().stream_stream(f"/{PACKAGE}.{rpc}", response_deserializer=parse)
        return method(requests, timeout=timeout_seconds, metadata=self._metadata)

    def another(self) -> Connection:
        """Connect anew, for when nothing comes on this connection; closing this one closes it too."""
        if self._closed:
            raise _closed()
        made = Connection(
            self.server,
            actor=self._actor,
            token=self._token,
            timeout_seconds=self._timeout_seconds,
            tls=self._tls,
            is_shared=False,
        )
        self._others.add(made)
        return made

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn errors of gRPC into those of this package."""
        try:
            yield
        except grpc.RpcError as error:
            raise errors.from_call(error, server=self.server, tls=self._tls) from None

    def close(self) -> None:
        """Close the channel of this process, and leave it after a few seconds if that does not end."""
        self._closed = True
        for other in self._others:
            other.close()
        if channel := self._channels.pop(os.getpid(), None):
            # A Ctrl-C while gRPC began a call leaves one that nobody drives, and it would wait for its end.
            closing = threading.Thread(target=channel.close, name="steelyard-close", daemon=True)
            closing.start()
            closing.join(_CLOSE_SECONDS)

    def _channel(self) -> grpc.Channel:
        if self._closed:
            raise _closed()
        channel = self._channels.get(os.getpid())
        return channel or self._opened()

    def _opened(self) -> grpc.Channel:
        options = list(_OPTIONS)
        if not self._is_shared:
            options.append(("grpc.use_local_subchannel_pool", 1))
        if _LOOPBACK.match(self.server):
            options.append(("grpc.enable_http_proxy", 0))
        if self._tls is None:
            channel = grpc.insecure_channel(self.server, options=options)
        else:
            channel = grpc.secure_channel(self.server, self._tls.credentials(), options=options)
        # No lock: one that a thread of the parent holds would stay locked in a forked child.
        first = self._channels.setdefault(os.getpid(), channel)
        if first is not channel:
            channel.close()
        return first


def _closed() -> errors.SteelyardError:
    return errors.SteelyardError("The client is closed; make a new one.")


def new_request_id() -> str:
    """Return the name of one change, the same in all its retries."""
    return str(uuid.uuid4())


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def checked_address(server: str) -> str:
    """Return ``host:port`` for what people write, without the ``https://`` that asks for TLS.

    Raises:
        InvalidArgument: it is no address.
    """
    found = _ADDRESS.fullmatch(server.removeprefix(SCHEME))
    if found is None or int(found["port"] or DEFAULT_PORT) not in _PORTS:
        raise errors.InvalidArgument(
            f"{server!r} is no address; write host:port, like localhost:{DEFAULT_PORT}, or for TLS "
            f"{SCHEME}host:port."
        )
    return f"{found['host']}:{found['port'] or DEFAULT_PORT}"


def _checked_actor(actor: str) -> str:
    if not (actor.isascii() and actor.isprintable() and actor == actor.strip()):
        raise errors.InvalidArgument(
            f"The name {actor!r} of the caller may have printable ASCII characters only."
        )
    return actor


def _checked_token(token: str) -> str:
    """Refuse what cannot be sent, without repeating it: it may be a secret all the same."""
    if not (token.isascii() and token.isprintable() and not set(token) & {" "}):
        raise errors.InvalidArgument("The token has blanks or other characters that none has; copy it again.")
    return token
