"""A server that is there and silent holds a transfer up no longer than the patience of the caller."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import steelyard
from steelyard import errors
from steelyard.progress import Progress
from steelyard.v1 import blob_service_pb2
from steelyard.v1 import version_service_pb2 as pb
from tests.client.hostile import MODEL, Hostile, hostile_server, takes_uploads
from tests.client.trees import MIB, large_file, tree_of, write_tree

LARGE = bytes(range(256)) * 4096 * 8
SMALL = {f"small-{number}": bytes([number]) * 100_000 for number in range(8)}
PATIENCE_SECONDS = 1.0
FOREVER_SECONDS = 3600.0
# What a machine that does other things too may take for a little.
SLACK_SECONDS = 20.0


@pytest.fixture
def evil() -> Iterator[Hostile]:
    with hostile_server() as service:
        yield service


@pytest.fixture
def victim(evil: Hostile) -> Iterator[steelyard.Client]:
    with steelyard.Client(evil.address, timeout_seconds=10, patience_seconds=PATIENCE_SECONDS) as client:
        yield client


def silence(context: grpc.ServicerContext) -> None:
    """Say nothing and end nothing until the client has gone."""
    gone = threading.Event()
    if context.add_callback(gone.set):
        gone.wait()


def stop_reading_out(evil: Hostile, *, after: int) -> threading.Event:
    """Let *evil* send so many messages of each file, and then nothing; return what is set then."""
    silent = threading.Event()

    def read_file(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        asked = pb.ReadFileRequest.FromString(next(requests))
        for number in range(after):
            begin = asked.offset + number * MIB
            yield pb.ReadFileResponse(data=LARGE[begin : begin + MIB]).SerializeToString()
        silent.set()
        silence(context)

    def read_files(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        asked = pb.ReadFilesRequest.FromString(next(requests))
        for path in list(asked.paths)[:after]:
            answer = pb.ReadFilesResponse()
            answer.parts.add(data=SMALL[path]).file.path = path
            yield answer.SerializeToString()
        silence(context)

    evil.raw.update(ReadFile=read_file, ReadFiles=read_files)
    return silent


def stop_taking(evil: Hostile, *, after: int) -> None:
    """Let *evil* take so many messages of each stream, and then nothing."""

    def write(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for number in range(after):
            if next(requests).header.size_bytes and not number:
                yield blob_service_pb2.WriteBlobsResponse(ready=blob_service_pb2.BlobReady())
        silence(context)

    takes_uploads(evil, write)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("what", ["large", "small"])
def test_a_pull_ends_when_nothing_comes_any_more(
    evil: Hostile, victim: steelyard.Client, tmp_path: Path, what: str, after: int
) -> None:
    for path, data in SMALL.items() if what == "small" else [("large", LARGE)]:
        evil.add(path, data)
    stop_reading_out(evil, after=after)
    before = time.monotonic()
    actions: list[Callable[[], object]] = [lambda: victim.pull(MODEL, tmp_path / "copy")]
    if what == "large":
        actions += [lambda: victim.verify(MODEL), lambda: victim.read(MODEL, "large")]
    for action in actions:
        with pytest.raises(errors.DeadlineExceeded, match=rf"Nothing moved .*{evil.address}"):
            action()
    assert time.monotonic() - before < len(actions) * (PATIENCE_SECONDS + SLACK_SECONDS)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("what", ["large", "small"])
def test_a_push_ends_when_nothing_is_taken_any_more(
    evil: Hostile, victim: steelyard.Client, tmp_path: Path, what: str, after: int
) -> None:
    if what == "large":
        directory = large_file(tmp_path / "large.bin", size_mib=64)
    else:
        directory = write_tree(tmp_path / "model", {f"{each}": bytes([each]) * 250_000 for each in range(99)})
    stop_taking(evil, after=after)
    before = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded, match=rf"Nothing moved .*{evil.address}"):
        victim.push("evil", directory)
    assert time.monotonic() - before < PATIENCE_SECONDS + SLACK_SECONDS


def test_a_reader_may_take_longer_than_the_patience_for_what_came(evil: Hostile, tmp_path: Path) -> None:
    evil.add("large", LARGE)
    watches: list[threading.Thread] = []
    with (
        steelyard.Client(evil.address, patience_seconds=0.2) as client,
        client.open(MODEL, "large") as chunks,
    ):
        first = next(chunks)
        watches += [each for each in threading.enumerate() if each.name == "steelyard-watch"]
        watches[0].join(0.5)
        assert watches[0].is_alive()
        assert first + b"".join(chunks) == LARGE


def test_a_transfer_ends_at_once_when_another_thread_stops_it(evil: Hostile, tmp_path: Path) -> None:
    evil.add("large", LARGE)
    stop_reading_out(evil, after=2)
    stop = steelyard.Stop()

    def give_up(progress: Progress) -> None:
        if progress.done_bytes == 2 * MIB:
            threading.Thread(target=stop.set).start()

    with steelyard.Client(evil.address, patience_seconds=FOREVER_SECONDS) as client:
        for transfer in (
            lambda: client.pull(MODEL, tmp_path / "copy", progress=give_up, stop=stop),
            lambda: client.verify(MODEL, progress=give_up, stop=stop),
        ):
            with pytest.raises(errors.Stopped):
                transfer()
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("what", ["hash", "from the cache", "here"])
def test_what_needs_no_server_ends_too_when_another_thread_stops_it(
    evil: Hostile, tmp_path: Path, what: str
) -> None:
    evil.add("large", LARGE)
    takes_uploads(evil, lambda requests, context: iter(()))
    write_tree(tmp_path / "copy", {"large": LARGE})
    stop = steelyard.Stop()
    steps: list[Progress] = []

    def give_up(progress: Progress) -> None:
        steps.append(progress)
        stop.set()

    with steelyard.Client(evil.address) as client:
        client.pull(MODEL, tmp_path / "first")
        write_tree(tmp_path / "small", {"small": SMALL["small-1"]})
        actions: dict[str, Callable[[], object]] = {
            "hash": lambda: client.push("evil", tmp_path / "small", progress=give_up, stop=stop),
            "from the cache": lambda: client.pull(MODEL, tmp_path / "new", progress=give_up, stop=stop),
            "here": lambda: client.verify(MODEL, tmp_path / "copy", progress=give_up, stop=stop),
        }
        with pytest.raises(errors.Stopped):
            actions[what]()
    assert len(steps) == 1
    assert not (tmp_path / "new").exists()


def test_a_transfer_of_a_cancelled_task_does_not_keep_the_loop_from_ending(
    evil: Hostile, tmp_path: Path
) -> None:
    """The loop waits for its threads, and the thread of the transfer for the server."""
    evil.add("large", LARGE)
    # Closing it would break the streams too.
    client = steelyard.AsyncClient(evil.address, patience_seconds=FOREVER_SECONDS)

    async def give_up() -> None:
        stop_reading_out(evil, after=2)
        all_that_comes = asyncio.Event()

        def show(progress: Progress) -> None:
            if progress.done_bytes == 2 * MIB:
                all_that_comes.set()

        pull = asyncio.create_task(client.pull(MODEL, tmp_path / "copy", progress=show))
        await all_that_comes.wait()
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        silent = stop_reading_out(evil, after=2)
        reading = asyncio.create_task(client.read(MODEL, "large"))
        await asyncio.to_thread(silent.wait, SLACK_SECONDS)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(give_up())
    evil.raw.clear()
    asyncio.run(client.pull(MODEL, tmp_path / "copy"))
    asyncio.run(client.close())
    assert tree_of(tmp_path / "copy") == {"large": LARGE}


def test_what_progress_raises_on_the_loop_ends_the_transfer_and_reaches_the_task(
    evil: Hostile, tmp_path: Path
) -> None:
    evil.add("large", LARGE)
    stop_reading_out(evil, after=2)
    raised = OSError("of the callback")
    steps: list[Progress] = []

    def refuse(progress: Progress) -> None:
        steps.append(progress)
        raise raised

    async def pull() -> None:
        async with steelyard.AsyncClient(evil.address, patience_seconds=FOREVER_SECONDS) as client:
            await client.pull(MODEL, tmp_path / "copy", progress=refuse)

    with pytest.raises(OSError, match="of the callback") as caught:
        asyncio.run(pull())
    assert caught.value is raised
    assert len(steps) == 1
    assert not (tmp_path / "copy").exists()
