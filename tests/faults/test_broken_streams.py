"""A stream that breaks off, wherever it is, leaves no file open, and no upload that nobody can go on with."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from steelyard_server.api.write_blobs import PUBLISHING_MAXIMUM
from steelyard_server.blobs.local import LocalStore
from steelyard_server.blobs.uploads import Partial
from tests.api.calls import call, request_class
from tests.api.uploads import SECONDS, UploadStream, digest_of, held_bytes, put, until_held
from tests.faults.blob_writer import content
from tests.faults.test_overload import held_writer
from tests.servers import Running, running_server

MIB = 1 << 20
BLOCKS = 8


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(SECONDS):
        while not is_so():
            await asyncio.sleep(0.01)


def partials(running: Running) -> list[Partial]:
    """Return the uploads that the server knows of."""
    store = running.server.store
    assert isinstance(store, LocalStore)
    return list(store._uploads.partials.values())


class Rereading:
    """Has the server wait in the middle of an upload that it reads again, until the upload is abandoned.

    Args:
        offsets: where it read.
        was_abandoned: whether it went on because of that, and not because the test is tired of waiting.
    """

    def __init__(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offsets: list[int] = []
        self.was_abandoned = False
        self._running = running
        self._pread = os.pread
        monkeypatch.setattr(os, "pread", self._read)

    @property
    def is_waiting(self) -> bool:
        return MIB in self.offsets

    def _read(self, file: int, length: int, offset: int) -> bytes:
        self.offsets.append(offset)
        deadline = time.monotonic() + SECONDS
        while self.is_waiting and not self._is_abandoned() and time.monotonic() < deadline:
            time.sleep(0.001)
        self.was_abandoned = self._is_abandoned()
        return self._pread(file, length, offset)

    def _is_abandoned(self) -> bool:
        (partial,) = partials(self._running)
        return partial.owner is None or partial.owner._abandoned


async def upload_that_is_read_again(running: Running) -> tuple[UploadStream, bytes]:
    """Leave an upload that lacks its last block, and begin to go on with it."""
    data = content(BLOCKS * MIB)
    first = UploadStream(running.channel)
    await first.begin(size_bytes=len(data), digest=digest_of(data))
    await first.answer()
    for begin in range(0, len(data) - MIB, MIB):
        await first.send(data=data[begin : begin + MIB])
    await first.half_close()
    await until_held(running.channel, digest_of(data), len(data), at_least=len(data) - MIB)
    second = UploadStream(running.channel)
    await second.begin(size_bytes=len(data), digest=digest_of(data))
    return second, data


async def test_an_upload_whose_stream_ends_while_it_is_read_again_can_be_gone_on_with(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        rereading = Rereading(running, patch)
        stream, data = await upload_that_is_read_again(running)
        await until(lambda: rereading.is_waiting)

        stream.cancel()

        await until(lambda: partials(running)[0].owner is None)
        assert max(rereading.offsets) == MIB
    assert await held_bytes(running.channel, digest_of(data), len(data)) == len(data) - MIB
    assert running.server.store.expire_uploads(before_time=time.time() + 3600) == 1


async def test_a_server_that_stops_does_not_read_an_upload_again_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_server(tmp_path / "data") as running:
        rereading = Rereading(running, monkeypatch)
        await upload_that_is_read_again(running)
        await until(lambda: rereading.is_waiting)

        await running.server.stop(grace_seconds=0)

    assert rereading.was_abandoned
    assert max(rereading.offsets) == MIB


async def test_an_upload_whose_stream_ends_while_it_waits_to_be_published_can_be_gone_on_with(
    running: Running,
) -> None:
    stream = UploadStream(running.channel)
    async with held_writer(running):
        for number in range(PUBLISHING_MAXIMUM + 1):
            data = b"%d" % number
            header = {
                "namespace": "default",
                "size_bytes": len(data),
                "upload_id": f"{number}",
                "from_start": True,
            }
            await stream.send(header=header, data=data, finish={"digest": digest_of(data)})
        # All others have their bytes published, and wait to be recorded.
        await until(lambda: [partial.offset for partial in partials(running)] == [len(data)])

        stream.cancel()

        await until(lambda: all(partial.owner is None for partial in partials(running)))


async def test_a_download_that_breaks_off_while_its_file_is_opened_leaves_no_file_open(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = await stored_blob(running)
    opening, go_on, opened = threading.Event(), threading.Event(), threading.Event()
    system_open = os.open

    def open_late(path: Any, *arguments: Any, **options: Any) -> int:
        if path != blob:
            return system_open(path, *arguments, **options)
        opening.set()
        assert go_on.wait(SECONDS)
        number = system_open(path, *arguments, **options)
        opened.set()
        return number

    monkeypatch.setattr(os, "open", open_late)
    stream = download(running)
    await asyncio.to_thread(opening.wait, SECONDS)

    stream.cancel()
    await noticed(running)
    go_on.set()

    await asyncio.to_thread(opened.wait, SECONDS)
    await until(lambda: blob not in open_files())


async def test_a_download_that_breaks_off_closes_its_file_when_it_was_read(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = await stored_blob(running)
    reading, go_on = threading.Event(), threading.Event()
    was_open: list[bool] = []
    pread = os.pread

    def read_late(file: int, length: int, offset: int) -> bytes:
        reading.set()
        assert go_on.wait(SECONDS)
        was_open.append(blob in open_files())
        return pread(file, length, offset)

    monkeypatch.setattr(os, "pread", read_late)
    stream = download(running)
    await asyncio.to_thread(reading.wait, SECONDS)

    stream.cancel()
    await noticed(running)
    go_on.set()

    await until(lambda: blob not in open_files())
    assert was_open == [True]


async def stored_blob(running: Running) -> Path:
    """Make version 1 of default/m with one file, and return where its bytes are."""
    digest = await put(running.channel, b"weights")
    file = {"path": "f", "digest": digest, "size_bytes": 7}
    await call(running.channel, "CreateModel", {"name": "default/m"})
    await call(running.channel, "CreateVersion", {"model": "default/m", "content": {"files": [file]}})
    (blob,) = running.server.config.data_dir.rglob(digest.removeprefix("sha256:"))
    return blob


def download(running: Running) -> Any:
    """Begin to read that file."""
    request = request_class("ReadFile")(version={"model": "default/m", "number": 1}, path="f")
    method: Any = running.channel.unary_stream("/steelyard.v1.VersionService/ReadFile")
    return method(request.SerializeToString(), timeout=SECONDS)


async def noticed(running: Running) -> None:
    """Give the server time to notice what was cancelled, in calls and not in seconds."""
    for _ in range(100):
        await call(running.channel, "GetServerInfo")


def open_files() -> set[Path]:
    """Return the files that this process has open."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(link.readlink())
    return found
