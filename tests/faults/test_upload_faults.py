"""Uploads to a server that is killed, and to one whose disk is full: nothing is lost, and they go on."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest

from tests.api.calls import call
from tests.api.uploads import SECONDS, UploadStream, digest_of, held_bytes, put
from tests.faults.blob_writer import content
from tests.servers import ServerProcess

MIB = 1 << 20
SIZE_BYTES = 24 * MIB + 12345
LIMIT_BYTES = 10 * MIB


@asynccontextmanager
async def channel_to(child: ServerProcess) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 8 * MIB)]
    async with grpc.aio.insecure_channel(child.address, options=options) as channel:
        yield channel


async def begin(channel: grpc.aio.Channel, data: bytes) -> tuple[UploadStream, int]:
    """Begin to upload *data* or go on with it, and return from where."""
    stream = UploadStream(channel)
    await stream.begin(size_bytes=len(data), digest=digest_of(data))
    return stream, (await stream.answer()).ready.offset


async def send(stream: UploadStream, data: bytes) -> None:
    """Send bytes of the blob that was begun."""
    for offset in range(0, len(data), MIB):
        await stream.send(data=data[offset : offset + MIB])


async def go_on(channel: grpc.aio.Channel, data: bytes) -> int:
    """Upload what is missing of *data* and return from where."""
    stream, offset = await begin(channel, data)
    await send(stream, data[offset:])
    await stream.send(finish={})
    assert (await stream.answer()).finished.digest == digest_of(data)
    await stream.half_close()
    return offset


async def register(channel: grpc.aio.Channel, name: str, data: bytes) -> None:
    """Make a model with one version that has *data* as its file."""
    await call(channel, "CreateModel", {"name": name})
    file = {"path": "weights", "digest": digest_of(data), "size_bytes": len(data)}
    await call(channel, "CreateVersion", {"model": name, "content": {"files": [file]}})


async def is_served(channel: grpc.aio.Channel, name: str, data: bytes) -> bool:
    """Read the file of that version and compare; not in the tests, which would print it."""
    version = {"model": name, "number": 1}
    messages = await call(channel, "ReadFile", {"version": version, "path": "weights"})
    return b"".join(message.data for message in messages) == data


def taken_bytes(child: ServerProcess) -> int:
    """Return how many bytes of uploads the server has written, durable or not."""
    files = (child.directory / "blobs" / "uploads").iterdir()
    return sum(path.stat().st_size for path in files if not path.suffix)


async def until_taken(child: ServerProcess, size_bytes: int) -> None:
    """Wait until the server has written so many bytes."""
    async with asyncio.timeout(SECONDS):
        while taken_bytes(child) < size_bytes:
            await asyncio.sleep(0.01)


async def test_an_upload_goes_on_after_the_server_was_killed(child: ServerProcess) -> None:
    data = content(SIZE_BYTES)
    sent_bytes = 20 * MIB
    async with channel_to(child) as channel:
        await put(channel, b"stored before")
        stream, _ = await begin(channel, data)
        await send(stream, data[:sent_bytes])
        await until_taken(child, sent_bytes)

        child.kill()
    child.start()

    async with channel_to(child) as channel:
        held = await held_bytes(channel, digest_of(data), len(data))
        assert held is not None
        assert 0 < held <= sent_bytes
        assert await go_on(channel, data) == held
        assert await held_bytes(channel, digest_of(data), len(data)) is None
        for name, stored in (("default/fraud", data), ("default/before", b"stored before")):
            await register(channel, name, stored)
            assert await is_served(channel, name, stored)


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux can limit another process that runs.")
async def test_a_full_disk_stops_an_upload_and_nothing_else(child: ServerProcess) -> None:
    """No file may grow beyond 10 MiB for a while, which is how this disk is full for uploads only."""
    data = content(SIZE_BYTES)
    async with channel_to(child) as channel:
        await put(channel, b"stored before")
        await register(channel, "default/before", b"stored before")
        limit_file_size(child)
        stream, _ = await begin(channel, data)
        await send(stream, data)
        stop = (await stream.answer()).stop
        await stream.half_close()
        refused = await stream.refusal()

        assert stop.reason == "STORAGE_FULL"
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "STORAGE_FULL")
        assert str(child.directory) not in f"{stop.message} {refused.message} {refused.info}"
        assert await is_served(channel, "default/before", b"stored before")
        await put(channel, b"a small file has room")
        await register(channel, "default/meanwhile", b"a small file has room")
        assert await is_served(channel, "default/meanwhile", b"a small file has room")
        assert await held_bytes(channel, digest_of(data), len(data)) == LIMIT_BYTES

    assert child.stop() == 0
    child.start()
    async with channel_to(child) as channel:
        assert await go_on(channel, data) == LIMIT_BYTES
        await register(channel, "default/fraud", data)
        for name, stored in (("default/fraud", data), ("default/meanwhile", b"a small file has room")):
            assert await is_served(channel, name, stored)


def limit_file_size(child: ServerProcess) -> None:
    """Let no file of a running server grow beyond LIMIT_BYTES, until it is started again."""
    assert child.process is not None
    _, hard = resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
