"""When all places of one kind are taken, the other kind goes on, and places come back however a call ends."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

from steelyard.v1 import version_service_pb2
from steelyard_server import server as composition
from steelyard_server.api.guard import EdgeLimits
from steelyard_server.config import Config
from steelyard_server.limits import LIMITS
from tests.api.calls import Refused, call
from tests.api.uploads import SECONDS, UploadStream, digest_of, put
from tests.servers import Running, running_server

MIB = 1 << 20
STREAMS = Config(data_dir=Path()).streams_maximum
PLACES = 3


async def test_uploads_take_all_places_of_streams_and_metadata_calls_go_on(running: Running) -> None:
    uploads = [await begun_upload(running) for _ in range(STREAMS)]

    with pytest.raises(Refused) as refused:
        await begun_upload(running)
    assert_hinted(refused.value)
    with pytest.raises(Refused) as refused:
        await call(running.channel, "ReadFile", {"version": {"model": "default/m", "number": 1}, "path": "f"})
    assert_hinted(refused.value)
    for name in map(str, range(STREAMS)):
        await call(running.channel, "CreateNamespace", {"name": f"n{name}"})
        await call(running.channel, "GetNamespace", {"name": f"n{name}"})

    await uploads.pop().half_close()
    await begun_upload(running)


async def test_downloads_that_nobody_reads_give_their_places_back_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "upload_idle_seconds", 1)
    async with running_server(tmp_path / "data", streams_maximum=PLACES) as running:
        await push(running, os.urandom(32 * MIB))
        downloads = [await begun_download(running) for _ in range(PLACES)]

        with pytest.raises(Refused) as refused:
            await begun_upload(running)
        assert_hinted(refused.value)
        await call(running.channel, "GetServerInfo")

        for _ in downloads:
            await until_accepted(lambda: begun_upload(running))
        for download in downloads:
            with pytest.raises(grpc.aio.AioRpcError, match="No message was taken for 1 seconds"):
                await read_to_the_end(download)
            assert await download.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_cancelled_upload_gives_its_place_back(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data", streams_maximum=1) as running:
        first = await begun_upload(running)
        with pytest.raises(Refused, match="OVERLOADED"):
            await begun_upload(running)

        first.cancel()

        await until_accepted(lambda: begun_upload(running))


async def test_metadata_calls_take_all_their_places_and_downloads_and_health_go_on(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data", calls_maximum=PLACES) as running:
        await push(running, b"weights")
        async with held_writer(running) as release:
            waiting = [create(running, f"n{index}") for index in range(PLACES)]
            refused = await until_refused(running)

            assert_hinted(refused)
            version = {"model": "default/m", "number": 1}
            read = await call(running.channel, "ReadFile", {"version": version, "path": "f"})
            assert b"".join(message.data for message in read) == b"weights"
            assert await health(running) == health_pb2.HealthCheckResponse.SERVING

            release.set()
            await asyncio.gather(*waiting)
        await call(running.channel, "GetNamespace", {"name": "n0"})


async def test_a_call_whose_deadline_passes_gives_its_place_back_and_changes_nothing(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data", calls_maximum=PLACES) as running:
        async with held_writer(running):
            waiting = [create(running, f"n{index}", timeout=0.5) for index in range(PLACES)]
            for ended in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(ended, Refused)
                assert ended.code == "DEADLINE_EXCEEDED"

            await until_accepted(lambda: call(running.channel, "GetServerInfo"))
        await assert_nothing_was_created(running)


async def test_a_call_that_takes_longer_than_the_server_allows_says_so_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composition, "_edge_limits", lambda _: EdgeLimits(unary_seconds=0.2))
    async with running_server(tmp_path / "data") as running:
        async with held_writer(running):
            with pytest.raises(Refused) as refused:
                await create(running, "slow")
            assert (refused.value.code, refused.value.reason) == ("DEADLINE_EXCEEDED", "CALL_TIMEOUT")
            assert refused.value.info.metadata["limit_seconds"] == "0.2"
        await assert_nothing_was_created(running)


async def test_a_cancelled_call_gives_its_place_back_and_changes_nothing(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data", calls_maximum=PLACES) as running:
        async with held_writer(running):
            waiting = [create(running, f"n{index}") for index in range(PLACES)]
            await until_refused(running)

            for task in waiting:
                task.cancel()

            await until_accepted(lambda: call(running.channel, "GetServerInfo"))
        await assert_nothing_was_created(running)


@asynccontextmanager
async def held_writer(running: Running) -> AsyncIterator[threading.Event]:
    """Keep the one thread that writes busy until the event is set, or the block ends."""
    begun, release = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        begun.set()
        release.wait(SECONDS)

    holding = asyncio.create_task(running.server.database.write(hold))
    await asyncio.to_thread(begun.wait, SECONDS)
    try:
        yield release
    finally:
        release.set()
        await holding


def create(running: Running, name: str, **options: Any) -> asyncio.Task[Any]:
    """Begin a call that must wait for the writer."""
    return asyncio.create_task(call(running.channel, "CreateNamespace", {"name": name}, **options))


async def assert_nothing_was_created(running: Running) -> None:
    # The writer takes what waits in turn, so after this it has come to the calls that were given up.
    await call(running.channel, "CreateNamespace", {"name": "after"})
    found = await call(running.channel, "ListNamespaces")
    assert [each.name for each in found.namespaces] == ["after", "default"]


async def begun_upload(running: Running) -> UploadStream:
    """Open an upload and wait until the server takes its bytes."""
    stream = UploadStream(running.channel)
    await stream.begin(size_bytes=MIB, upload_id=os.urandom(8).hex())
    assert (await stream.accepted()).ready.offset == 0
    return stream


async def begun_download(running: Running) -> grpc.aio.UnaryStreamCall[Any, Any]:
    """Open a download and read its first message only."""
    request = version_service_pb2.ReadFileRequest(version={"model": "default/m", "number": 1}, path="f")
    method = running.channel.unary_stream("/steelyard.v1.VersionService/ReadFile")
    stream = method(request.SerializeToString(), timeout=SECONDS)
    assert await stream.read() is not grpc.aio.EOF
    return stream


async def read_to_the_end(download: grpc.aio.UnaryStreamCall[Any, Any]) -> None:
    while await download.read() is not grpc.aio.EOF:
        pass


async def push(running: Running, data: bytes) -> None:
    """Make version 1 of default/m, with *data* as its file."""
    file = {"path": "f", "digest": await put_large(running, data), "size_bytes": len(data)}
    await call(running.channel, "CreateModel", {"name": "default/m"})
    await call(running.channel, "CreateVersion", {"model": "default/m", "content": {"files": [file]}})


async def put_large(running: Running, data: bytes) -> str:
    """Upload *data* in as many messages as it takes and return its digest."""
    if len(data) <= MIB:
        return await put(running.channel, data)
    digest = digest_of(data)
    stream = UploadStream(running.channel)
    await stream.begin(size_bytes=len(data), digest=digest, from_start=True)
    for begin in range(0, len(data), MIB):
        await stream.send(data=data[begin : begin + MIB])
    await stream.send(finish={})
    assert (await stream.answer()).finished.digest == digest
    await stream.half_close()
    return digest


async def until_refused(running: Running) -> Refused:
    """Call until all places are taken, and return what the refused call was told."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await call(running.channel, "GetServerInfo")
            except Refused as refused:
                return refused


async def until_accepted(attempt: Callable[[], Awaitable[Any]]) -> None:
    """Repeat *attempt* until it is no longer refused for want of a place."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await attempt()
            except Refused as refused:
                if refused.reason != "OVERLOADED":
                    raise
            else:
                return


def assert_hinted(refused: Refused) -> None:
    """Check that the refusal says when to come back, to people, to clients and to gRPC itself."""
    status = status_pb2.Status.FromString(refused.metadata["grpc-status-details-bin"])
    retry = error_details_pb2.RetryInfo()
    assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToMilliseconds() == int(refused.metadata["grpc-retry-pushback-ms"]) > 0


async def health(running: Running) -> int:
    """Ask for the health of the whole server."""
    check = running.channel.unary_unary(
        "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
    )
    answer = await check(b"", timeout=SECONDS)
    return int(answer.status)
