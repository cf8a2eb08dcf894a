"""No broken peer gets UNKNOWN, a word of Python, a hang, or another caller's place."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import h2.settings
import pytest
import pytest_asyncio

from steelyard.v1 import blob_service_pb2, model_service_pb2
from steelyard_server.limits import LIMITS
from steelyard_server.server import OPTIONS
from tests.api.calls import Refused, call
from tests.api.uploads import put
from tests.faults.raw_http2 import SECONDS, RawConnection, frame, raw_connection, raw_socket
from tests.servers import Running, running_server

INFO = "/steelyard.v1.ServerService/GetServerInfo"
GET_MODEL = "/steelyard.v1.ModelService/GetModel"
READ_FILE = "/steelyard.v1.VersionService/ReadFile"
WRITE_BLOBS = "/steelyard.v1.BlobService/WriteBlobs"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PYTHON = re.compile(
    r"Traceback|[a-z]Error\b|Exception|None\b|\.py\b|site-packages|object at|<class|asyncio|protobuf|google"
)
PLACES = 4
CONCURRENT_STREAMS = dict(OPTIONS)["grpc.max_concurrent_streams"]
READ_SECONDS = 1.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def narrow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """Run a server with few places, so that one that is not given back is missed soon."""
    directory = tmp_path_factory.mktemp("narrow") / "data"
    settings = {
        "calls_maximum": PLACES,
        "streams_maximum": PLACES,
        "request_read_seconds": READ_SECONDS,
        "grace_seconds": 1.0,
    }
    async with running_server(directory, **settings) as running:
        yield running


async def others_are_served(narrow: Running) -> None:
    """Make ordinary calls of both kinds on another connection."""
    await call(narrow.channel, "GetServerInfo", timeout=SECONDS)
    await put(narrow.channel, b"small")


def model(name: bytes) -> bytes:
    """Encode a GetModelRequest whose name need not be text."""
    return b"\x0a" + bytes([len(name)]) + name


UPLOAD = {"namespace": "default", "size_bytes": 9, "upload_id": "never-finished"}
HEADER = frame(blob_service_pb2.WriteBlobsRequest(header=UPLOAD).SerializeToString())
GOOD = frame(model_service_pb2.GetModelRequest(name="default/none").SerializeToString())
EMPTY = frame(b"")
BOMB = gzip.compress(bytes(32 << 20))

# Input, path, headers, bytes before the half-close, status, reason. A reason is ours; where it is empty,
# gRPC's own core refused, before any code of this project saw the call.
NOT_FOUND = ("NOT_FOUND", "MODEL_NOT_FOUND")
TOO_MANY = ("INVALID_ARGUMENT", "TOO_MANY_MESSAGES")
EXHAUSTED, INTERNAL, UNIMPLEMENTED = ("RESOURCE_EXHAUSTED", ""), ("INTERNAL", ""), ("UNIMPLEMENTED", "")
RESET = ("RESET", "")
MALFORMED = ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
MISSING = ("INVALID_ARGUMENT", "MISSING_MESSAGE")
ROWS: list[tuple[str, str, dict[str, str | None], bytes, tuple[str, str]]] = [
    ("the good request of the rows below", GET_MODEL, {}, GOOD, NOT_FOUND),
    ("garbage", GET_MODEL, {}, frame(b"\xff" * 20), MALFORMED),
    ("garbage for a server stream", READ_FILE, {}, frame(b"\xff" * 20), MALFORMED),
    ("garbage in an upload", WRITE_BLOBS, {}, frame(b"\xff" * 20), MALFORMED),
    ("varint that never ends", GET_MODEL, {}, frame(b"\x10" + b"\xff" * 11), MALFORMED),
    ("tag 0", GET_MODEL, {}, frame(b"\x00\x01"), MALFORMED),
    ("field cut off", GET_MODEL, {}, frame(b"\x0a\x20short"), MALFORMED),
    ("length beyond 2 GiB", GET_MODEL, {}, frame(b"\x0a\xff\xff\xff\xff\x0f"), MALFORMED),
    ("bad UTF-8", GET_MODEL, {}, frame(model(b"default/\xc3\x28")), MALFORMED),
    ("surrogate in UTF-8", GET_MODEL, {}, frame(model(b"default/\xed\xa0\x80")), MALFORMED),
    ("nested 1,000 deep", GET_MODEL, {}, frame(b"\x7b" * 1000 + b"\x7c" * 1000), MALFORMED),
    ("group never ended", GET_MODEL, {}, frame(b"\x7b"), MALFORMED),
    ("no message", GET_MODEL, {}, b"", MISSING),
    ("no message for a server stream", READ_FILE, {}, b"", MISSING),
    ("prefix cut off", GET_MODEL, {}, b"\x00\x00\x00", MISSING),
    ("message cut off", GET_MODEL, {}, GOOD[:-3], MISSING),
    ("two messages", GET_MODEL, {}, GOOD + GOOD, TOO_MANY),
    ("two messages for a server stream", READ_FILE, {}, EMPTY + EMPTY, TOO_MANY),
    ("half a message after a whole one", GET_MODEL, {}, GOOD + GOOD[:-3], NOT_FOUND),
    ("compressed, no encoding", GET_MODEL, {}, frame(b"x", flag=1), INTERNAL),
    ("compressed, unknown encoding", GET_MODEL, {"grpc-encoding": "none"}, frame(b"x", flag=1), INTERNAL),
    ("compressed, not gzip", GET_MODEL, {"grpc-encoding": "gzip"}, frame(b"x" * 30, flag=1), INTERNAL),
    ("gzip bomb", GET_MODEL, {"grpc-encoding": "gzip"}, frame(BOMB, flag=1), EXHAUSTED),
    ("over the limit", GET_MODEL, {}, frame(b"", length=LIMITS.message_bytes + 1), EXHAUSTED),
    ("4 GiB announced", GET_MODEL, {}, frame(b"", length=0xFFFFFFFF), EXHAUSTED),
    ("4 GiB announced in an upload", WRITE_BLOBS, {}, frame(b"", length=0xFFFFFFFF), EXHAUSTED),
    ("unknown method", "/steelyard.v1.ModelService/Get", {}, GOOD, UNIMPLEMENTED),
    ("unknown service", "/steelyard.v9.ModelService/GetModel", {}, GOOD, UNIMPLEMENTED),
    ("path with no service", "/", {}, GOOD, UNIMPLEMENTED),
    ("deadline that is no number", GET_MODEL, {"grpc-timeout": "soon"}, GOOD, INTERNAL),
    ("deadline already over", GET_MODEL, {"grpc-timeout": "0n"}, GOOD, ("DEADLINE_EXCEEDED", "")),
    ("bad base64", GET_MODEL, {"x-bin": "%%%"}, GOOD, INTERNAL),
    ("17 KiB of headers", GET_MODEL, {"x": "v" * 17_000}, GOOD, EXHAUSTED),
    ("1 MiB of headers", GET_MODEL, {"x": "v" * (1 << 20)}, GOOD, EXHAUSTED),
    ("no `te`", GET_MODEL, {"te": None}, GOOD, RESET),
    ("GET", GET_MODEL, {":method": "GET"}, GOOD, RESET),
    ("no path", GET_MODEL, {":path": None}, GOOD, RESET),
    # The core takes any content type for gRPC, and does not show us which it was.
    ("content type JSON", GET_MODEL, {"content-type": "application/json"}, GOOD, NOT_FOUND),
    ("no content type", GET_MODEL, {"content-type": None}, GOOD, NOT_FOUND),
    ("blank actor", GET_MODEL, {"steelyard-actor": " "}, GOOD, ("INVALID_ARGUMENT", "FIELD_REQUIRED")),
    ("actor too long", GET_MODEL, {"steelyard-actor": "a" * 257}, GOOD, ("INVALID_ARGUMENT", "TOO_LONG")),
]  # fmt: skip


@pytest.mark.parametrize(("path", "headers", "body", "expected"), [row[1:] for row in ROWS], ids=[
    row[0] for row in ROWS
])  # fmt: skip
async def test_a_broken_call_ends_with_its_status_and_others_go_on(
    narrow: Running, path: str, headers: dict[str, str | None], body: bytes, expected: tuple[str, str]
) -> None:
    async with raw_connection(narrow.address) as connection:
        for _ in range(PLACES + 1):
            stream = await connection.open(path, headers=headers)
            await connection.send(stream, body)
            outcome = await connection.outcome(stream)

            assert (outcome.code, outcome.reason) == expected
            assert not PYTHON.search(outcome.message)
            assert bool(outcome.call_id) == bool(outcome.reason)

    await others_are_served(narrow)


async def test_a_change_with_hardly_any_time_left_is_refused_before_it_is_written(narrow: Running) -> None:
    create = frame(model_service_pb2.CreateModelRequest(name="default/hurried").SerializeToString())
    # The deadline races with the refusal; each must come at some time, and no change ever.
    reasons: set[str] = set()
    async with asyncio.timeout(SECONDS), raw_connection(narrow.address) as connection:
        while "DEADLINE_TOO_SHORT" not in reasons:
            headers = {"grpc-timeout": f"{LIMITS.mutation_milliseconds - 1}m"}
            stream = await connection.open("/steelyard.v1.ModelService/CreateModel", headers=headers)
            await connection.send(stream, create)
            outcome = await connection.outcome(stream)
            assert outcome.code == "DEADLINE_EXCEEDED"
            reasons.add(outcome.reason)
        stream = await connection.open(GET_MODEL)
        await connection.send(stream, frame(model(b"default/hurried")))
        assert (await connection.outcome(stream)).reason == "MODEL_NOT_FOUND"


async def test_a_message_with_an_unknown_flag_is_refused_and_others_go_on(narrow: Running) -> None:
    async with raw_connection(narrow.address) as connection:
        stream = await connection.open(GET_MODEL)
        await connection.send(stream, frame(GOOD[5:], flag=6))
        outcome = await connection.outcome(stream)

    # The core hands on an empty message or none, as it happens.
    assert outcome.reason in {"FIELD_REQUIRED", "MISSING_MESSAGE"}
    await others_are_served(narrow)


UNFINISHED = [
    ("headers only", GET_MODEL, b""),
    ("headers of a server stream only", READ_FILE, b""),
    ("headers of an upload only", WRITE_BLOBS, b""),
    ("half a prefix", GET_MODEL, GOOD[:3]),
    ("half a message", GET_MODEL, GOOD[:-3]),
    ("a message and no half-close", GET_MODEL, GOOD),
    ("half a message of an upload", WRITE_BLOBS, frame(b"", length=100)),
]


@pytest.mark.parametrize(
    ("path", "body"), [row[1:] for row in UNFINISHED], ids=[row[0] for row in UNFINISHED]
)
async def test_half_open_calls_take_no_place_and_end_in_time(narrow: Running, path: str, body: bytes) -> None:
    async with raw_connection(narrow.address) as connection:
        streams = [await connection.open(path) for _ in range(20 * PLACES)]
        for stream in streams:
            await connection.send(stream, body, end=False)

        await others_are_served(narrow)

        for stream in streams:
            outcome = await connection.outcome(stream)
            assert (outcome.code, outcome.reason) == ("DEADLINE_EXCEEDED", "REQUEST_READ_TIMEOUT")
            assert f"{READ_SECONDS:g} seconds" in outcome.message
    await others_are_served(narrow)


@pytest.mark.parametrize(("path", "body"), [
    (GET_MODEL, b""), (GET_MODEL, GOOD), (READ_FILE, b""), (WRITE_BLOBS, HEADER),
])  # fmt: skip
async def test_calls_that_are_reset_give_their_places_back(narrow: Running, path: str, body: bytes) -> None:
    async with raw_connection(narrow.address) as connection:
        for _ in range(20 * PLACES):
            stream = await connection.open(path)
            await connection.send(stream, body, end=False)
            await connection.reset(stream)
        last = await connection.open(INFO)
        await connection.send(last, EMPTY)

        assert (await connection.outcome(last)).code == "OK"
        await others_are_served(narrow)


async def test_streams_of_a_connection_that_breaks_give_their_places_back(narrow: Running) -> None:
    async with raw_connection(narrow.address) as connection:
        for _ in range(PLACES):
            stream = await connection.open(WRITE_BLOBS)
            await connection.send(stream, HEADER, end=False)
            await ready(connection, stream)

    await until_served(narrow)


async def test_more_calls_than_a_connection_may_have_are_refused_one_by_one(tmp_path: Path) -> None:
    # Its own server, with time enough: no call may end while a thousand others are opened.
    running_for_long = running_server(tmp_path / "data", request_read_seconds=300.0)
    async with running_for_long as running, raw_connection(running.address) as connection:
        connection.http.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 1 << 20
        connection.http.remote_settings.acknowledge()
        streams = [await connection.open(GET_MODEL) for _ in range(CONCURRENT_STREAMS + 10)]

        await others_are_served(running)

        assert [(await connection.outcome(stream)).code for stream in streams[-10:]] == ["RESET"] * 10


BYTES = [
    ("nothing at all", b""),
    ("half a preface", PREFACE[:10]),
    ("half a frame header", PREFACE + bytes(9) + b"\x00\x00"),
    ("half a frame", PREFACE + b"\x00\x00\x00\x04" + bytes(5) + b"\x00\x40\x00\x01\x04\x00\x00\x00\x01half"),
    ("a frame of 16 MiB announced", PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01"),
    ("HTTP/1.1", b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"),
    ("TLS", bytes.fromhex("16030100c8010000c40303") + bytes(190)),
    ("random bytes", os.urandom(10_000)),
]


@pytest.mark.parametrize("sent", [row[1] for row in BYTES], ids=[row[0] for row in BYTES])
async def test_connections_that_stop_in_the_middle_disturb_nobody(narrow: Running, sent: bytes) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(50):
            _, writer = await stack.enter_async_context(raw_socket(narrow.address))
            writer.write(sent)
            await writer.drain()

        await others_are_served(narrow)
    await others_are_served(narrow)


async def ready(connection: RawConnection, stream: int) -> None:
    """Wait for the answer to an upload's header."""
    while not connection.outcomes[stream].data:
        await connection.receive()


async def until_served(narrow: Running) -> None:
    """Wait until the server has noticed that a connection broke."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await others_are_served(narrow)
            except Refused as refused:
                if refused.reason != "OVERLOADED":
                    raise
