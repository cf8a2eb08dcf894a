"""Bytes that are damaged on the server are mended by uploading them again, as the error advises."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.api.calls import Refused, call
from tests.api.uploads import UploadStream, digest_of, held_bytes, put
from tests.servers import Running, running_server

VERSION = {"model": "default/fraud", "number": 1}


async def test_what_was_found_damaged_is_known_after_a_restart(tmp_path: Path) -> None:
    data = os.urandom(1000)
    async with running_server(tmp_path / "data") as running:
        digest = await store(running, data)
        (path,) = (tmp_path / "data" / "blobs" / "sha256").rglob(digest.removeprefix("sha256:"))
        damage(path)
        with pytest.raises(Refused, match="BLOB_CORRUPT"):
            await read(running)
    async with running_server(tmp_path / "data") as running:
        assert await held_bytes(running.channel, digest, len(data)) == 0
        await upload(running, data)
        assert await read(running) == data
    async with running_server(tmp_path / "data") as running:
        assert await held_bytes(running.channel, digest, len(data)) is None


async def test_damage_is_noted_outside_of_the_event_loop(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = await store(running, b"weights")
    (path,) = (running.server.config.data_dir / "blobs" / "sha256").rglob(digest.removeprefix("sha256:"))
    damage(path)
    opened: list[tuple[str, bool]] = []
    system_open = os.open

    def note(path: Any, *arguments: Any, **options: Any) -> int:
        opened.append((Path(path).parent.name, threading.current_thread() is threading.main_thread()))
        return system_open(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", note)
        with pytest.raises(Refused, match="BLOB_CORRUPT"):
            await read(running)

    assert ("damaged", False) in opened
    assert {is_on_the_loop for _, is_on_the_loop in opened} == {False}


async def store(running: Running, data: bytes) -> str:
    """Upload bytes and make the file `f` of a version of them."""
    digest = await upload(running, data)
    await call(running.channel, "CreateModel", {"name": "default/fraud"})
    files = [{"path": "f", "digest": digest, "size_bytes": len(data)}]
    await call(running.channel, "CreateVersion", {"model": "default/fraud", "content": {"files": files}})
    return digest


async def read(running: Running) -> bytes:
    messages = await call(running.channel, "ReadFile", {"version": VERSION, "path": "f"})
    return b"".join(message.data for message in messages)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("size_bytes", [1000, 3_000_000], ids=["in a batch", "in chunks"])
@pytest.mark.parametrize("spoil", [damage, Path.unlink], ids=["damaged", "lost"])
async def test_a_damaged_blob_is_asked_for_again_and_replaced(
    running: Running, tmp_path: Path, size_bytes: int, spoil: object
) -> None:
    data = os.urandom(size_bytes)
    digest = await store(running, data)
    (path,) = (tmp_path / "data").rglob(digest.removeprefix("sha256:"))
    assert callable(spoil)
    spoil(path)

    with pytest.raises(Refused, match="DATA_LOSS"):
        await read(running)
    assert await held_bytes(running.channel, digest, size_bytes) == 0
    await upload(running, data)

    assert await held_bytes(running.channel, digest, size_bytes) is None
    assert await read(running) == data


async def upload(running: Running, data: bytes) -> str:
    """Upload in one message where that is allowed, else in chunks."""
    if len(data) < 100_000:
        return await put(running.channel, data)
    stream = UploadStream(running.channel)
    await stream.begin(size_bytes=len(data), digest=digest_of(data))
    assert (await stream.answer()).ready.offset == 0
    for start in range(0, len(data), 1_000_000):
        await stream.send(data=data[start : start + 1_000_000])
    await stream.send(finish={})
    assert (await stream.answer()).finished.digest == digest_of(data)
    await stream.half_close()
    return digest_of(data)
