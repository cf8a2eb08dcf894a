"""Many small files over the wire: whole blobs in one message each, and several files in one read."""

from __future__ import annotations

import asyncio
import base64
import os
import resource
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from steelyard_server.api.small_blobs import (
    SMALL_BYTES,
    WAITING_BYTES_MAXIMUM,
    WAITING_COUNT_MAXIMUM,
    SmallBlob,
    SmallBlobs,
)
from steelyard_server.blobs.claims import Claims
from steelyard_server.blobs.local import LocalStore
from steelyard_server.core import blobs as core
from steelyard_server.errors import StorageFull
from steelyard_server.server import BYTE_THREADS
from tests.api.calls import Refused, call
from tests.api.uploads import SECONDS, UploadStream, digest_of, held_bytes
from tests.faults.test_overload import held_writer
from tests.servers import Running

MODEL = "default/many"
LARGE = os.urandom(3_000_000)
TINY_FILES = 1000
# A batch of each thread that stores bytes, and some for directories and the database.
OPEN_FILES_MAXIMUM = BYTE_THREADS * WAITING_COUNT_MAXIMUM + 32


async def send_whole(stream: UploadStream, data: bytes, *, digest: str = "") -> None:
    header = {"namespace": "default", "size_bytes": len(data), "digest": digest or digest_of(data)}
    await stream.send(header={**header, "from_start": True}, data=data, finish={})


async def store(running: Running, files: dict[str, bytes]) -> None:
    """Upload *files* and make version 1 of them, with a reference beside."""
    stream = UploadStream(running.channel)
    for data in files.values():
        if len(data) < 100_000:
            await send_whole(stream, data)
            continue
        await stream.begin(size_bytes=len(data), digest=digest_of(data), from_start=True)
        for start in range(0, len(data), 1_000_000):
            await stream.send(data=data[start : start + 1_000_000])
        await stream.send(finish={})
    await stream.half_close()
    await call(running.channel, "CreateModel", {"name": MODEL})
    entries = [
        {"path": path, "digest": digest_of(data), "size_bytes": len(data)} for path, data in files.items()
    ]
    entries.append({"path": "elsewhere", "uri": "s3://bucket/key", "size_bytes": 5})
    await call(running.channel, "CreateVersion", {"model": MODEL, "content": {"files": entries}})


async def read(running: Running, *paths: str) -> list[tuple[str, bytes]]:
    """Read several files in one call."""
    request = {"version": {"model": MODEL, "number": 1}, "paths": paths}
    found: list[tuple[str, bytes]] = []
    for message in await call(running.channel, "ReadFiles", request):
        assert message.number == 1
        assert sum(len(part.data) for part in message.parts) <= 1 << 20
        for part in message.parts:
            if part.HasField("file"):
                found.append((part.file.path, b""))
            path, data = found[-1]
            found[-1] = (path, data + part.data)
    return found


async def test_hundreds_of_small_blobs_on_a_stream_are_all_stored(running: Running) -> None:
    blobs = [os.urandom(20_000) for _ in range(300)]
    stream = UploadStream(running.channel)
    for data in blobs:
        await send_whole(stream, data)
    answers = [await stream.answer() for _ in blobs]
    await stream.half_close()

    assert sorted(answer.index for answer in answers) == list(range(300))
    assert {answer.finished.digest for answer in answers} == set(map(digest_of, blobs))
    keys = [{"digest": digest_of(data), "size_bytes": len(data)} for data in blobs]
    found = await call(running.channel, "FindMissingBlobs", {"namespace": "default", "blobs": keys})
    assert not found.missing


async def test_a_wait_for_room_ends_when_the_batch_before_it_fails(running: Running, tmp_path: Path) -> None:
    """The disk is full for this store, which leaves all of it to others."""
    full = LocalStore(tmp_path / "full", reserve_bytes=1 << 62)
    with ThreadPoolExecutor(1) as threads:
        stored: Any = {"record": recording(running), "claims": Claims()}
        small = SmallBlobs(**stored, blobs=full, threads=threads, answer=never)
        blob = SmallBlob(0, digest_of(bytes(SMALL_BYTES)), bytes(SMALL_BYTES))
        small.add(blob)
        storing = asyncio.create_task(small.store())
        await asyncio.sleep(0)
        for _ in range(WAITING_BYTES_MAXIMUM // SMALL_BYTES):
            small.add(blob)

        with pytest.raises(StorageFull):
            await storing

        async with asyncio.timeout(SECONDS):
            await small.wait_for_room()


def recording(running: Running) -> Callable[[list[tuple[str, int]]], Awaitable[None]]:
    """Record blobs as a stream does, but for whoever calls."""

    async def record(stored: list[tuple[str, int]]) -> None:
        await running.server.database.write(core.record, namespace="default", blobs=stored)

    return record


async def never(_: object) -> None:
    raise AssertionError("A batch that failed is not answered for.")


async def test_any_number_of_tiny_files_on_several_streams_needs_few_open_files(running: Running) -> None:
    """All that comes while a first batch of each stream is recorded makes the next batches."""
    answered: list[str] = []

    async def answer(response: Any) -> None:
        answered.append(response.finished.digest)

    async def send(stream: int) -> None:
        stored: Any = {"record": recording(running), "claims": Claims()}
        small = SmallBlobs(**stored, blobs=running.server.store, threads=threads, answer=answer)
        storing = asyncio.create_task(small.store())
        for number in range(TINY_FILES):
            data = b"%d of %d" % (number, stream) if number % 10 else b""
            await small.wait_for_room()
            small.add(SmallBlob(number, digest_of(data), data))
            if storing.done():
                await storing
                storing = asyncio.create_task(small.store())
        await storing

    with ThreadPoolExecutor(BYTE_THREADS) as threads, open_files_limit(OPEN_FILES_MAXIMUM):
        async with held_writer(running):
            sending = [asyncio.create_task(send(stream)) for stream in range(BYTE_THREADS)]
            for _ in range(10 * TINY_FILES):
                await asyncio.sleep(0)
        await asyncio.gather(*sending)

    assert len(answered) == BYTE_THREADS * TINY_FILES


@contextmanager
def open_files_limit(more: int) -> Iterator[None]:
    """Let this process open only so many files beside those that it has open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = sum(1 for _ in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_the_same_small_blob_twice_on_a_stream_is_stored_once(running: Running) -> None:
    stream = UploadStream(running.channel)
    await send_whole(stream, b"twice")
    await send_whole(stream, b"twice")
    answers = [await stream.answer(), await stream.answer()]
    await stream.half_close()

    assert sorted(answer.index for answer in answers) == [0, 1]
    for answer in answers:
        assert (answer.finished.digest or answer.already_present.digest) == digest_of(b"twice")


async def test_a_small_blob_with_a_wrong_digest_is_refused_and_not_held(running: Running) -> None:
    stream = UploadStream(running.channel)
    await send_whole(stream, b"these bytes", digest=digest_of(b"other bytes"))
    assert (await stream.answer()).stop.reason == "DIGEST_MISMATCH"
    await stream.half_close()

    assert (await stream.refusal()).reason == "DIGEST_MISMATCH"
    assert await held_bytes(running.channel, digest_of(b"other bytes"), 11) == 0


async def test_several_files_come_back_in_the_order_asked_for(running: Running) -> None:
    files = {f"f{index}": os.urandom(index * 7_001) for index in range(12)} | {"large": LARGE, "empty": b""}
    await store(running, files)
    order = ["f3", "large", "empty", *sorted(files, reverse=True)]

    assert await read(running, *order) == [(path, files[path]) for path in order]


BAD: dict[str, tuple[list[str], str, str]] = {
    "no path": ([], "INVALID_ARGUMENT", "FIELD_REQUIRED"),
    "too many paths": (["a"] * 1001, "INVALID_ARGUMENT", "LIMIT_EXCEEDED"),
    "a path that leaves the directory": (["../a"], "INVALID_ARGUMENT", "INVALID_FILE_PATH"),
    "a path that is not there": (["a", "nope"], "NOT_FOUND", "FILE_NOT_FOUND"),
    "a reference": (["a", "elsewhere"], "FAILED_PRECONDITION", "FILE_IS_EXTERNAL"),
}


@pytest.mark.parametrize(("paths", "code", "reason"), BAD.values(), ids=BAD)
async def test_a_bad_path_is_refused_before_any_byte_is_sent(
    running: Running, paths: list[str], code: str, reason: str
) -> None:
    await store(running, {"a": b"a"})
    with pytest.raises(Refused) as refused:
        await read(running, *paths)
    assert (refused.value.code, refused.value.reason) == (code, reason)


async def test_damaged_bytes_among_several_files_are_not_sent(running: Running, tmp_path: Path) -> None:
    await store(running, {"good": b"good", "bad": b"bad bytes"})
    digits = digest_of(b"bad bytes").removeprefix("sha256:")
    (damaged,) = (tmp_path / "data").rglob(digits)
    damaged.write_bytes(b"BAD bytes")

    with pytest.raises(Refused) as refused:
        await read(running, "good", "bad")
    assert (refused.value.code, refused.value.reason) == ("DATA_LOSS", "BLOB_CORRUPT")


async def test_a_whole_blob_fits_into_json_too(running: Running) -> None:
    message: dict[str, Any] = {
        "header": {
            "namespace": "default",
            "size_bytes": 3,
            "digest": digest_of(b"abc"),
            "from_start": True,
        },
        "data": base64.b64encode(b"abc").decode(),
        "finish": {},
    }
    (answer,) = await call(running.channel, "WriteBlobs", message)
    assert answer.finished.digest == digest_of(b"abc")
