"""HTTP/2 by hand: a client that can say what no gRPC library would."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote

import grpc
import h2.config
import h2.connection
import h2.errors
import h2.events
from google.rpc import error_details_pb2, status_pb2

SECONDS = 30
STATUSES = {code.value[0]: code.name for code in grpc.StatusCode}
HEADERS = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/",
    ":authority": "test",
    "te": "trailers",
    "content-type": "application/grpc",
}


def frame(message: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """Put gRPC's prefix before *message*: a flag for compression and a length, which may lie."""
    return struct.pack(">BI", flag, len(message) if length is None else length) + message


@dataclass
class Outcome:
    """How a call ended.

    Args:
        code: name of the gRPC status; `RESET` or `CLOSED` when HTTP/2 ended the stream or connection.
    """

    code: str = ""
    reason: str = ""
    message: str = ""
    call_id: str = ""
    data: bytes = b""

    def take_trailers(self, headers: Mapping[str, str]) -> None:
        """Read status, message and reason; headers of an answer have none of them."""
        if "grpc-status" not in headers:
            return
        self.code = STATUSES[int(headers["grpc-status"])]
        self.message = unquote(headers.get("grpc-message", ""))
        self.call_id = headers.get("steelyard-call", "")
        details = headers.get("grpc-status-details-bin", "")
        status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
        info = error_details_pb2.ErrorInfo()
        for detail in status.details:
            detail.Unpack(info)
        self.reason = info.reason


@dataclass
class RawConnection:
    """One connection; what it sends is not checked."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h2.connection.H2Connection
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    closed: bool = False

    async def open(self, path: str, *, headers: Mapping[str, str | None] | None = None) -> int:
        """Send the headers of a call and return its stream; a header of None is left out."""
        merged = HEADERS | {":path": path} | dict(headers or {})
        stream = self.http.get_next_available_stream_id()
        self.outcomes[stream] = Outcome()
        self.http.send_headers(stream, [(name, value) for name, value in merged.items() if value is not None])
        await self.flush()
        return stream

    async def send(self, stream: int, data: bytes, *, end: bool = True) -> None:
        """Send *data*, in as many frames as it takes, and half-close unless told otherwise."""
        size = self.http.max_outbound_frame_size
        for begin in range(0, len(data), size):
            self.http.send_data(stream, data[begin : begin + size])
        if end:
            self.http.end_stream(stream)
        await self.flush()

    async def reset(self, stream: int) -> None:
        """Break a call off with RST_STREAM."""
        self.http.reset_stream(stream, error_code=h2.errors.ErrorCodes.CANCEL)
        await self.flush()

    async def outcome(self, stream: int) -> Outcome:
        """Wait for the end of a call."""
        async with asyncio.timeout(SECONDS):
            while stream not in self.ended and not self.closed:
                await self.receive()
        if stream not in self.ended:
            self.outcomes[stream].code = self.outcomes[stream].code or "CLOSED"
        return self.outcomes[stream]

    async def receive(self) -> None:
        """Take what the server sent next."""
        try:
            data = await self.reader.read(1 << 16)
        except ConnectionError:
            data = b""
        self.closed = not data
        for event in self.http.receive_data(data) if data else ():
            self._take(event)
        await self.flush()

    async def flush(self) -> None:
        """Send what waits."""
        self.writer.write(self.http.data_to_send())
        await self.writer.drain()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                headers = {_text(name): _text(value) for name, value in event.headers or ()}
                self.outcomes[event.stream_id].take_trailers(headers)
            case h2.events.DataReceived():
                self.outcomes[event.stream_id].data += event.data or b""
                self.http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            case h2.events.StreamEnded():
                self.ended.add(event.stream_id)
            case h2.events.StreamReset():
                # After the trailers this only says that the rest of the request is not wanted.
                self.outcomes[event.stream_id].code = self.outcomes[event.stream_id].code or "RESET"
                self.ended.add(event.stream_id)
            case h2.events.ConnectionTerminated():
                self.closed = True


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


@asynccontextmanager
async def raw_connection(address: str) -> AsyncIterator[RawConnection]:
    """Open a connection, shake hands, and close it at the end of the block."""
    async with raw_socket(address) as (reader, writer):
        config = h2.config.H2Configuration(
            client_side=True,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
        )
        connection = RawConnection(reader, writer, h2.connection.H2Connection(config))
        encoder = connection.http.encoder
        # Its time to compress a text grows with the square of the length.
        encoder.encode = partial(encoder.encode, huffman=False)
        connection.http.initiate_connection()
        await connection.flush()
        await connection.receive()
        yield connection


@asynccontextmanager
async def raw_socket(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a TCP connection and close it at the end of the block."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
