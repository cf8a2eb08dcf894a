"""A push keeps to what the server says, whatever happens meanwhile, and ends where that cannot be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import steelyard
from steelyard import errors
from steelyard.progress import Progress
from steelyard.v1 import blob_service_pb2 as pb
from tests.client.hostile import Hostile, digest_of, hostile_server, takes_uploads
from tests.client.trees import MIB, large_file, write_tree

SECONDS = 20
UNREADABLE = b"\xff\xff\xff"


@pytest.fixture
def evil() -> Iterator[Hostile]:
    with hostile_server() as service:
        yield service


@pytest.fixture
def victim(evil: Hostile) -> Iterator[steelyard.Client]:
    with steelyard.Client(evil.address, timeout_seconds=10, patience_seconds=5) as client:
        yield client


def test_nothing_is_sent_of_a_blob_that_turns_out_to_be_there(
    evil: Hostile, victim: steelyard.Client, tmp_path: Path
) -> None:
    """Also while a callback takes its time with the news."""
    path = large_file(tmp_path / "large.bin", size_mib=1)
    sent: list[str] = []
    sent_something = threading.Event()

    def write(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        next(requests)
        present = pb.BlobPresent(digest=digest_of(path.read_bytes()))
        yield pb.WriteBlobsResponse(already_present=present)
        for request in requests:
            sent.append("data" if request.data else "finish")
            sent_something.set()

    def take_time(progress: Progress) -> None:
        if progress.phase == "upload":
            sent_something.wait(0.3)

    takes_uploads(evil, write)
    pushed = victim.push("evil", path, progress=take_time)
    assert (sent, pushed.uploaded_bytes) == ([], 0)


def test_a_push_stops_sending_when_the_server_says_so_and_reads_why(
    evil: Hostile, victim: steelyard.Client, tmp_path: Path
) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(1024 * MIB)
    received_bytes = [0]
    half_closed = threading.Event()

    def write(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        next(requests)
        yield pb.WriteBlobsResponse(ready=pb.BlobReady(offset=0))
        next(requests)
        yield pb.WriteBlobsResponse(stop=pb.BlobStop(reason="STORAGE_FULL", message="Full."))
        for request in requests:
            received_bytes[0] += len(request.data)
        half_closed.set()
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "No room for you.")

    takes_uploads(evil, write)
    with pytest.raises(errors.PermissionDenied, match="No room for you"):
        victim.push("evil", path)
    assert half_closed.wait(SECONDS)
    assert received_bytes[0] < 512 * MIB


def test_small_files_that_were_there_are_shown_once(
    evil: Hostile, victim: steelyard.Client, tmp_path: Path
) -> None:
    directory = write_tree(tmp_path / "model", {f"{number}": bytes([number]) * 1000 for number in range(20)})
    steps: list[Progress] = []

    def write(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for index, request in enumerate(requests):
            present = pb.BlobPresent(digest=request.header.digest)
            yield pb.WriteBlobsResponse(index=index, already_present=present)

    takes_uploads(evil, write)
    victim.push("evil", directory, progress=steps.append)
    assert max(step.done_bytes for step in steps if step.phase == "upload") == 20_000


BROKEN = {
    "a blob that was not begun": pb.WriteBlobsResponse(index=7, ready=pb.BlobReady()),
    "a blob before the first": pb.WriteBlobsResponse(index=-1, finished=pb.BlobFinished()),
    "an offset behind the end": pb.WriteBlobsResponse(ready=pb.BlobReady(offset=MIB + 1)),
    "an offset before the beginning": pb.WriteBlobsResponse(ready=pb.BlobReady(offset=-1)),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_an_answer_that_cannot_be_is_an_error_of_the_server(
    evil: Hostile, victim: steelyard.Client, tmp_path: Path, answer: pb.WriteBlobsResponse
) -> None:
    def write(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        next(requests)
        yield answer
        yield from (pb.WriteBlobsResponse() for _ in requests)

    takes_uploads(evil, write)
    with pytest.raises(errors.Internal, match="The server"):
        victim.push("evil", large_file(tmp_path / "large.bin", size_mib=1))


@pytest.mark.parametrize("method", ["CreateVersion", "FindMissingBlobs", "WriteBlobs"])
def test_an_answer_that_cannot_be_read_is_an_error_of_the_server(
    evil: Hostile, victim: steelyard.Client, tmp_path: Path, method: str
) -> None:
    def answer(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        next(requests)
        yield UNREADABLE

    takes_uploads(evil, lambda requests, context: iter(()))
    evil.raw[method] = answer
    with pytest.raises(errors.Internal):
        victim.push("evil", large_file(tmp_path / "large.bin", size_mib=1))
