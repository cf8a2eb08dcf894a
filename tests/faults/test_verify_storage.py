"""Any bit that flips in a stored blob is found by a verification and never served; what is gone is named."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from isal.isal_zlib import crc32

from steelyard.v1.maintenance_service_pb2 import STORAGE_PROBLEM_KIND_DAMAGED as DAMAGED
from steelyard.v1.maintenance_service_pb2 import STORAGE_PROBLEM_KIND_MISSING as MISSING
from steelyard_server.blobs import disk
from steelyard_server.blobs.local import LocalStore
from tests.api.calls import Refused, call
from tests.api.uploads import UploadStream, digest_of, held_bytes, put
from tests.faults.blob_files import MIB, blob_path, flip, store_blob, sums_path
from tests.servers import Running, running_server

SIZES = (1000, 3 * MIB + 17)
FILE = {"version": {"model": "default/fraud", "number": 1}, "path": "f"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Name the directory of the store of `running`."""
    return tmp_path / "data" / "blobs"


async def store(running: Running, data: bytes, *, number: int = 1) -> None:
    """Upload bytes and make the file `f` of a version of them."""
    await upload(running, data)
    if number == 1:
        await call(running.channel, "CreateModel", {"name": "default/fraud"})
    files = [{"path": "f", "digest": digest_of(data), "size_bytes": len(data)}]
    content = {"files": files, "parameters": [{"name": "number", "integer": number}]}
    await call(running.channel, "CreateVersion", {"model": "default/fraud", "content": content})


async def upload(running: Running, data: bytes) -> None:
    if len(data) <= 1000:
        await put(running.channel, data)
        return
    stream = UploadStream(running.channel)
    await stream.begin(size_bytes=len(data), digest=digest_of(data))
    assert (await stream.answer()).ready.offset == 0
    for begin in range(0, len(data), MIB):
        await stream.send(data=data[begin : begin + MIB])
    await stream.send(finish={})
    assert (await stream.answer()).finished.digest == digest_of(data)
    await stream.half_close()


async def verify(running: Running, **fields: Any) -> Any:
    """Run a verification and return its last response, with the problems of all."""
    answers = await call(running.channel, "VerifyStorage", fields)
    assert [answer.done for answer in answers] == [False] * (len(answers) - 1) + [True]
    problems = [problem for answer in answers for problem in answer.problems]
    del answers[-1].problems[:]
    answers[-1].problems.extend(problems)
    return answers[-1]


async def read(running: Running, **range_: int) -> bytes:
    messages = await call(running.channel, "ReadFile", FILE | range_)
    return b"".join(message.data for message in messages)


async def test_what_is_sound_is_read_whole_and_nothing_is_wrong(running: Running) -> None:
    for number, size_bytes in enumerate(SIZES, start=1):
        await store(running, os.urandom(size_bytes), number=number)
    answer = await verify(running)
    assert (answer.blobs_count, answer.verified_blobs_count) == (2, 2)
    assert answer.total_bytes == answer.verified_bytes == sum(SIZES)
    assert (answer.problems_count, answer.stray_files_count) == (0, 0)


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_any_bit_that_flips_is_found_and_never_served(
    running: Running, root: Path, size_bytes: int
) -> None:
    """Bit by bit at both ends, at the borders of blocks and at random places."""
    data = os.urandom(size_bytes)
    await store(running, data)
    places = {0, size_bytes - 1, size_bytes // 2, int.from_bytes(os.urandom(4)) % size_bytes}
    places |= {place for place in (MIB - 1, MIB, 2 * MIB, 3 * MIB) if place < size_bytes}
    for place in sorted(places):
        flip(blob_path(root, data), place)
        answer = await verify(running)
        (problem,) = answer.problems
        assert (problem.digest, problem.kind) == (digest_of(data), DAMAGED), place
        assert (problem.size_bytes, list(problem.versions)) == (size_bytes, ["default/fraud:1"])
        assert (answer.verified_blobs_count, answer.verified_bytes) == (1, size_bytes)
        for range_ in ({}, {"offset": 0, "length": 1}, {"offset": size_bytes - 1}):
            with pytest.raises(Refused, match="BLOB_CORRUPT"):
                await read(running, **range_)
        await upload(running, data)
        assert await read(running) == data
        assert (await verify(running)).problems_count == 0


async def test_a_flipped_bit_in_the_checks_is_found_too(running: Running, root: Path) -> None:
    data = os.urandom(SIZES[1])
    await store(running, data)
    flip(sums_path(root, data), 5)
    assert [problem.kind for problem in (await verify(running)).problems] == [DAMAGED]


async def test_bytes_that_were_replaced_together_with_their_checks_are_found_and_not_served(
    running: Running, root: Path
) -> None:
    """Reads check blocks; only the digest of the whole tells that all of them are others."""
    data, other = os.urandom(2 * MIB), os.urandom(2 * MIB)
    await store(running, data)
    blob_path(root, data).write_bytes(other)
    sums = [crc32(other[begin : begin + MIB]) for begin in (0, MIB)]
    sums_path(root, data).write_bytes(struct.pack(">2I", *sums))
    assert [problem.kind for problem in (await verify(running)).problems] == [DAMAGED]
    with pytest.raises(Refused, match="BLOB_CORRUPT"):
        await read(running)

    await upload(running, data)
    assert await read(running) == data


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: os.truncate(path, 10)], ids=["gone", "cut"])
async def test_what_is_missing_is_named_and_asked_for_again(
    running: Running, root: Path, spoil: Callable[[Path], None]
) -> None:
    data = os.urandom(1000)
    await store(running, data)
    spoil(blob_path(root, data))
    (problem,) = (await verify(running)).problems
    assert (problem.kind, problem.versions_count) == (MISSING, 1)
    assert await held_bytes(running.channel, digest_of(data), 1000) == 0
    with pytest.raises(Refused, match="BLOB_LOST"):
        await read(running)
    await upload(running, data)
    assert (await verify(running)).problems_count == 0


async def test_bytes_that_were_restored_are_served_after_a_verification(running: Running, root: Path) -> None:
    data = os.urandom(SIZES[1])
    await store(running, data)
    flip(blob_path(root, data), 7)
    assert (await verify(running)).problems_count == 1
    flip(blob_path(root, data), 7)
    with pytest.raises(Refused, match="BLOB_CORRUPT"):
        await read(running)
    assert (await verify(running)).problems_count == 0
    assert await read(running) == data


async def test_quarantine_outlasts_a_restart(tmp_path: Path, root: Path) -> None:
    data = os.urandom(SIZES[1])
    async with running_server(tmp_path / "data") as running:
        await store(running, data)
        flip(blob_path(root, data), 7)
        await verify(running)
    async with running_server(tmp_path / "data") as running:
        with pytest.raises(Refused, match="BLOB_CORRUPT"):
            await read(running, offset=2 * MIB)


async def test_ten_versions_are_named_and_all_are_counted(running: Running, root: Path) -> None:
    data = os.urandom(1000)
    for number in range(1, 13):
        await store(running, data, number=number)
    flip(blob_path(root, data), 0)
    (problem,) = (await verify(running)).problems
    assert problem.versions_count == 12
    assert list(problem.versions) == [f"default/fraud:{number}" for number in range(1, 11)]


async def test_many_problems_come_in_several_responses(running: Running, root: Path) -> None:
    contents = [b"%03d" % number for number in range(250)]
    for data in contents:
        await put(running.channel, data)
    for data in contents:
        blob_path(root, data).unlink()
    answers = await call(running.channel, "VerifyStorage")
    assert max(len(answer.problems) for answer in answers) <= 100
    found = [problem.digest for answer in answers for problem in answer.problems]
    assert sorted(found) == sorted(map(digest_of, contents))
    assert answers[-1].problems_count == 250


async def test_strays_are_counted_and_what_is_no_blob_is_left_alone(running: Running, root: Path) -> None:
    data = os.urandom(1000)
    await put(running.channel, data)
    stray = blob_path(root, b"stray")
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"stray")
    stray.with_name("README.txt").write_bytes(b"not ours")
    answer = await verify(running)
    assert (answer.stray_files_count, answer.stray_bytes, answer.problems_count) == (1, 5, 0)


async def test_what_was_verified_since_is_left_out(running: Running) -> None:
    await put(running.channel, b"first")
    assert (await verify(running, verifiedBeforeTime="2000-01-01T00:00:00Z")).blobs_count == 0
    assert (await verify(running, verifiedBeforeTime="2100-01-01T00:00:00Z")).blobs_count == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is told what to forget")
def test_a_verification_leaves_nothing_of_a_blob_in_memory(tmp_path: Path) -> None:
    data = os.urandom(64 * MIB)
    with closing(LocalStore(tmp_path / "blobs")) as store:
        store_blob(store, data)
        path = blob_path(tmp_path / "blobs", data)
        with path.open("rb") as file:
            disk.drop_cached(file.fileno(), offset=0, length=len(data))
            if cached_bytes(path):
                pytest.skip("This file system keeps what it is told to forget.")
            file.read()
            assert cached_bytes(path) == len(data)
            store.verify(digest_of(data), size_bytes=len(data), pace=lambda _: None)
            assert cached_bytes(path) == 0


def cached_bytes(path: Path) -> int:
    """Return how many bytes of a file the kernel has in memory, without reading any."""
    size_bytes = path.stat().st_size
    pages = (ctypes.c_ubyte * (size_bytes // mmap.PAGESIZE))()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size_bytes, access=mmap.ACCESS_COPY) as mapped:
        begin = ctypes.c_char.from_buffer(mapped)
        address, length = ctypes.c_void_p(ctypes.addressof(begin)), ctypes.c_size_t(size_bytes)
        assert ctypes.CDLL(None).mincore(address, length, pages) == 0
        del begin
    return sum(page & 1 for page in pages) * mmap.PAGESIZE
