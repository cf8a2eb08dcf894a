"""A process that keeps several streams busy: ``python -m benchmarks.streams JOB``.

The bytes are made up, so neither they nor a source file stand in the way of what is measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from benchmarks.measure import CHUNK_BYTES
from benchmarks.transfer import READ_FILE, WRITE_BLOBS, connected
from steelyard import tune_allocator
from steelyard.v1 import (
    blob_service_pb2,
    content_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    version_pb2,
    version_service_pb2,
    version_service_pb2_grpc,
)
from steelyard_server.api.envelope import data_message, data_of

MODEL = "default/streams"
BLOB_CHUNKS = 256


def busy(*, address: str, streams: int, seconds: float) -> dict[str, float]:
    """Upload blob after blob on each stream for *seconds*; say so when all have begun."""
    end = time.perf_counter() + seconds

    def upload_on(channel: grpc.Channel) -> int:
        sent = 0
        while time.perf_counter() < end:
            sent += _upload(channel, chunks=BLOB_CHUNKS)[1]
        return sent

    with connected(address) as channel, ThreadPoolExecutor(streams) as threads:
        working = [threads.submit(upload_on, channel) for _ in range(streams)]
        print("begun", flush=True)
        return {"sent_bytes": sum(each.result() for each in working)}


def up_and_down(*, address: str, streams: int, size_bytes: int) -> dict[str, float]:
    """Upload *size_bytes* in all as one blob a stream, then read them back."""
    chunks = size_bytes // streams // CHUNK_BYTES
    with connected(address) as channel, ThreadPoolExecutor(streams) as threads:
        files = list(threads.map(lambda _: _upload(channel, chunks=chunks), range(streams)))
        paths = _register(channel, files)
        received = sum(threads.map(lambda path: _read(channel, path), paths))
    assert received == sum(size for _, size in files)
    return {"sent_bytes": received}


def _upload(channel: grpc.Channel, *, chunks: int) -> tuple[str, int]:
    """Upload a blob of new bytes; return its digest and size."""
    write: Any = channel.stream_stream(WRITE_BLOBS)
    answers = [blob_service_pb2.WriteBlobsResponse.FromString(each) for each in write(_messages(chunks))]
    finished = answers[-1].finished
    return finished.digest, finished.size_bytes


def _messages(chunks: int) -> Iterator[bytes]:
    header = blob_service_pb2.BlobHeader(
        namespace="default", size_bytes=chunks * CHUNK_BYTES, upload_id=str(uuid.uuid4()), from_start=True
    )
    yield blob_service_pb2.WriteBlobsRequest(header=header).SerializeToString()
    chunk = os.urandom(CHUNK_BYTES)
    message = data_message(chunk)
    hashed = hashlib.sha256()
    for _ in range(chunks):
        hashed.update(chunk)
        yield message
    finish = blob_service_pb2.BlobFinish(digest=f"sha256:{hashed.hexdigest()}")
    yield blob_service_pb2.WriteBlobsRequest(finish=finish).SerializeToString()


def _register(channel: grpc.Channel, files: list[tuple[str, int]]) -> list[str]:
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    models.CreateModel(model_service_pb2.CreateModelRequest(name=MODEL))
    named = [
        content_pb2.File(path=f"{index}.bin", digest=digest, size_bytes=size_bytes)
        for index, (digest, size_bytes) in enumerate(files)
    ]
    request = version_service_pb2.CreateVersionRequest(model=MODEL, content=content_pb2.Content(files=named))
    version_service_pb2_grpc.VersionServiceStub(channel).CreateVersion(request)
    return [file.path for file in named]


def _read(channel: grpc.Channel, path: str) -> int:
    """Read a file and return its size."""
    reference = version_pb2.VersionRef(model=MODEL, number=1)
    request = version_service_pb2.ReadFileRequest(version=reference, path=path)
    read: Any = channel.unary_stream(READ_FILE)
    return sum(len(data_of(message) or b"") for message in read(request.SerializeToString()))


JOBS: dict[str, Any] = {each.__name__: each for each in (busy, up_and_down)}

if __name__ == "__main__":
    tune_allocator()
    job = json.loads(sys.argv[1])
    print(json.dumps(JOBS[job.pop("do")](**job)))
