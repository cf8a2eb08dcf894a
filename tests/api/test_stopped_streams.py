"""A client that is writing hears `stop` and why, is read on, and only then gets the status."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from steelyard.v1 import blob_service_pb2 as pb
from steelyard_server import server as composition
from steelyard_server.api import call as call_module
from steelyard_server.api.guard import EdgeLimits
from steelyard_server.errors import StorageUnavailable
from steelyard_server.limits import LIMITS
from tests.api.calls import Refused
from tests.api.uploads import SECONDS, UploadStream, digest_of, put
from tests.faults.raw_http2 import frame, raw_connection
from tests.servers import Running, running_server

MIB = 1 << 20
WRITE_BLOBS = "/steelyard.v1.BlobService/WriteBlobs"
LONG_NAME = "a" * 257


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server read on for longer, so that no test depends on how busy this machine is."""
    monkeypatch.setattr(call_module, "STOP_SECONDS", 10 * SECONDS)


@asynccontextmanager
async def full(directory: Path) -> AsyncIterator[Running]:
    """Run a server whose only place for a stream is taken."""
    async with running_server(directory, streams_maximum=1) as running:
        upload = UploadStream(running.channel)
        await upload.begin(size_bytes=1, upload_id="first")
        await upload.accepted()
        yield running
        await upload.half_close()


@asynccontextmanager
async def draining(directory: Path) -> AsyncIterator[Running]:
    """Run a server that waits for the last upload."""
    async with running_server(directory) as running:
        upload = UploadStream(running.channel)
        await upload.begin(size_bytes=1, upload_id="last")
        await upload.accepted()
        stopping = asyncio.create_task(running.server.stop(grace_seconds=SECONDS))
        await asyncio.sleep(0)
        yield running
        await upload.half_close()
        await stopping


REFUSALS = [
    pytest.param(full, "ada", "RESOURCE_EXHAUSTED", "OVERLOADED", id="full"),
    pytest.param(draining, "ada", "UNAVAILABLE", "DRAINING", id="draining"),
    pytest.param(running_server, LONG_NAME, "INVALID_ARGUMENT", "TOO_LONG", id="bad actor"),
]


class SlowSync(threading.Event):
    """Holds up every sync of a file until it is set."""

    def __init__(self, *, fails: bool) -> None:
        super().__init__()
        self.begun = threading.Event()
        self._fails = fails
        self._sync = os.fdatasync

    def sync(self, file: int) -> None:
        self.begun.set()
        assert self.wait(SECONDS)
        if self._fails:
            raise OSError(errno.EIO, "Input/output error")
        self._sync(file)


@contextmanager
def slow_sync(monkeypatch: pytest.MonkeyPatch, *, fails: bool = False) -> Iterator[SlowSync]:
    """Hold up syncs in the block, and let them go at its end."""
    slow = SlowSync(fails=fails)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", slow.sync)
        try:
            yield slow
        finally:
            slow.set()


def blob(data: bytes) -> dict[str, Any]:
    """Make a message that has a blob whole."""
    header = {
        "namespace": "default",
        "size_bytes": len(data),
        "upload_id": f"{len(data)}",
        "from_start": True,
    }
    return {"header": header, "data": data, "finish": {"digest": digest_of(data)}}


@pytest.mark.parametrize(("server", "actor", "code", "reason"), REFUSALS)
async def test_a_client_that_does_not_wait_for_answers_hears_why_it_is_refused(
    tmp_path: Path, server: Any, actor: str, code: str, reason: str
) -> None:
    data = os.urandom(MIB)
    async with server(tmp_path / "data") as running:
        stream = UploadStream(running.channel, actor=actor)
        for _ in range(20):
            await stream.send(**blob(data))

        answer = await stream.answer()
        await stream.send(**blob(data))
        was_over = stream.is_over
        await stream.half_close()
        refused = await stream.refusal()

    assert (answer.index, answer.stop.reason) == (0, reason)
    assert not was_over
    assert (refused.code, refused.reason, refused.message) == (code, reason, answer.stop.message)


@pytest.mark.parametrize(("server", "actor", "code", "reason"), REFUSALS)
async def test_no_trailers_come_before_the_half_close(
    tmp_path: Path, server: Any, actor: str, code: str, reason: str
) -> None:
    message = frame(pb.WriteBlobsRequest(**blob(b"weights")).SerializeToString())
    async with server(tmp_path / "data") as running, raw_connection(running.address) as connection:
        stream = await connection.open(WRITE_BLOBS, headers={"steelyard-actor": actor})
        for _ in range(10):
            await connection.send(stream, message, end=False)
        async with asyncio.timeout(SECONDS):
            while not connection.outcomes[stream].data:
                await connection.receive()
        await connection.send(stream, message, end=False)
        assert stream not in connection.ended
        assert connection.outcomes[stream].code == ""

        await connection.send(stream, message)
        outcome = await connection.outcome(stream)

    assert pb.WriteBlobsResponse.FromString(outcome.data[5:]).stop.reason == reason
    assert (outcome.code, outcome.reason) == (code, reason)


async def test_what_the_server_did_not_expect_is_said_in_the_same_way(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise RuntimeError("secret")

    monkeypatch.setattr(os, "pwrite", fail)
    stream = UploadStream(running.channel)
    for _ in range(20):
        await stream.send(**blob(b"weights"))

    answer = await stream.answer()
    await stream.half_close()
    refused = await stream.refusal()

    assert (refused.code, refused.reason, answer.stop.reason) == ("INTERNAL", "INTERNAL", "INTERNAL")
    assert refused.info.metadata["incident"] in answer.stop.message
    assert "secret" not in f"{answer} {refused}"


async def test_a_stream_that_brings_nothing_is_stopped_and_can_be_resumed(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(2 * MIB)
    stream = UploadStream(running.channel)
    await stream.begin(size_bytes=len(data), digest=digest_of(data))
    await stream.accepted()
    await stream.send(data=data[:MIB])
    monkeypatch.setattr(LIMITS, "upload_idle_seconds", 0.1)

    answer = await stream.answer()
    await stream.half_close()
    refused = await stream.refusal()

    assert (refused.code, refused.reason, answer.stop.reason) == ("DEADLINE_EXCEEDED", *["UPLOAD_IDLE"] * 2)
    assert refused.info.metadata["limit_seconds"] == "0.1"
    again = UploadStream(running.channel)
    await again.begin(size_bytes=len(data), digest=digest_of(data))
    assert (await again.accepted()).ready.offset == MIB
    await again.send(data=data[MIB:], finish={})
    assert (await again.accepted()).finished.digest == digest_of(data)
    await again.half_close()


async def test_who_waits_for_the_server_to_store_a_blob_is_not_idle(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "upload_idle_seconds", 0.1)
    with slow_sync(monkeypatch) as go_on:
        waiting, idle = UploadStream(running.channel), UploadStream(running.channel)
        await waiting.send(**blob(b"weights"))
        await asyncio.to_thread(go_on.begun.wait, SECONDS)
        # Begun later, it is idle for less long.
        await idle.begin(size_bytes=1, upload_id="idle")
        await idle.accepted()
        assert (await idle.answer()).stop.reason == "UPLOAD_IDLE"

        go_on.set()
        assert (await waiting.answer()).finished.digest == digest_of(b"weights")
        await waiting.half_close()
        await idle.half_close()


@pytest.mark.parametrize(
    ("limits", "headers", "reason"),
    [
        (EdgeLimits(request_read_seconds=0.1), 0, "REQUEST_READ_TIMEOUT"),
        (EdgeLimits(stream_seconds=0.1), 1, "CALL_TIMEOUT"),
    ],
)
async def test_a_limit_of_the_whole_call_is_said_in_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: EdgeLimits, headers: int, reason: str
) -> None:
    monkeypatch.setattr(composition, "_edge_limits", lambda _: limits)
    async with running_server(tmp_path / "data") as running:
        stream = UploadStream(running.channel)
        for _ in range(headers):
            await stream.begin(size_bytes=1, upload_id="x", from_start=True)

        answer = await stream.answer()
        await stream.send(**blob(b"late"))
        await stream.half_close()
        refused = await stream.refusal()

    assert (refused.code, refused.reason, answer.stop.reason) == ("DEADLINE_EXCEEDED", reason, reason)


async def test_a_client_that_goes_on_for_too_long_gets_the_status(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_module, "STOP_SECONDS", 0.1)
    stream = UploadStream(running.channel)
    await stream.send(finish={})

    assert (await stream.answer()).stop.reason == "UPLOAD_HEADER_REQUIRED"
    with pytest.raises(Refused, match="UPLOAD_HEADER_REQUIRED"):
        await stream.answer()
    await put(running.channel, b"others are served")


async def test_a_stop_names_the_blob_that_failed_and_not_the_newest(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = UploadStream(running.channel)
    await stream.send(**blob(b"first"))
    assert (await stream.answer()).finished.digest == digest_of(b"first")
    with slow_sync(monkeypatch, fails=True) as go_on:
        await stream.send(**blob(b"second"))
        await asyncio.to_thread(go_on.begun.wait, SECONDS)
        await stream.begin(size_bytes=1, upload_id="third")
        assert (await stream.answer()).index == 2
        go_on.set()

        answer = await stream.answer()
    await stream.half_close()
    refused = await stream.refusal()

    assert (answer.index, answer.stop.reason) == (1, StorageUnavailable.reason)
    assert refused.info.metadata["index"] == "1"


async def test_a_stop_names_the_small_blob_of_a_batch_that_is_wrong(running: Running) -> None:
    stream = UploadStream(running.channel)
    for number in range(20):
        data = b"%d" % number
        header = {"namespace": "default", "size_bytes": len(data), "from_start": True}
        digest = digest_of(data if number != 7 else b"other")
        await stream.send(header=header | {"digest": digest}, data=data, finish={})

    while not (answer := await stream.answer()).stop.reason:
        pass
    await stream.half_close()

    assert (answer.index, answer.stop.reason) == (7, "DIGEST_MISMATCH")
