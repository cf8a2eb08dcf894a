"""A process that moves one large file and says how long that took: ``python -m benchmarks.transfer JOB``."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from benchmarks.measure import CHUNK_BYTES
from steelyard import tune_allocator
from steelyard.v1 import blob_service_pb2 as pb
from steelyard.v1 import version_pb2, version_service_pb2
from steelyard_server.api.envelope import data_message, data_of

WRITE_BLOBS = "/steelyard.v1.BlobService/WriteBlobs"
FIND_MISSING_BLOBS = "/steelyard.v1.BlobService/FindMissingBlobs"
READ_FILE = "/steelyard.v1.VersionService/ReadFile"
OPTIONS = [("grpc.max_receive_message_length", 8 << 20), ("grpc.use_local_subchannel_pool", 1)]
PIECE_BYTES = 1 << 20
CONNECT_SECONDS = 30
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
NAME, WARM_NAME = "weights.bin", "warm.bin"
# Sent before the clock starts, so that both processes have their memory and the connection its windows.
WARM_CHUNKS = 64
WARM_BYTES = WARM_CHUNKS * CHUNK_BYTES


def upload(*, address: str, path: str, digest: str = "") -> float:
    """Send a file, computing its digest in the same pass when it is not known; return seconds."""
    with connected(address) as channel:
        _send(channel, [os.urandom(CHUNK_BYTES)] * WARM_CHUNKS, size_bytes=WARM_BYTES)
        begin = time.perf_counter()
        size_bytes = Path(path).stat().st_size
        _ask(channel, size_bytes=size_bytes, digest=digest)
        _send(channel, _chunks(Path(path)), size_bytes=size_bytes, digest=digest)
        return time.perf_counter() - begin


def download(*, address: str, model: str, target: str, digest: str) -> float:
    """Receive a file, compare its digest and write it; return seconds."""
    with connected(address) as channel:
        _receive(channel, Path(target), model=model, length=WARM_BYTES)
        begin = time.perf_counter()
        received = _receive(channel, Path(target), model=model)
        seconds = time.perf_counter() - begin
    assert received == digest
    return seconds


def copy(*, path: str, target: str, durable: bool) -> float:
    """Read, hash and write a file, and sync it when *durable*: the floor; return seconds."""
    begin = time.perf_counter()
    hashed = hashlib.sha256()
    buffer = memoryview(bytearray(PIECE_BYTES))
    with Path(path).open("rb", buffering=0) as source, Path(target).open("wb", buffering=0) as file:
        while count := source.readinto(buffer):
            hashed.update(buffer[:count])
            file.write(buffer[:count])
        if durable:
            os.fsync(file.fileno())
    Path(target).rename(f"{target}.done")
    return time.perf_counter() - begin


def mlflow_upload(*, address: str, path: str) -> float:
    """Send a file to MLflow, which computes no digest; return seconds."""
    connection = http.client.HTTPConnection(address, blocksize=PIECE_BYTES)
    _put(connection, WARM_NAME, [os.urandom(CHUNK_BYTES)] * WARM_CHUNKS, size_bytes=WARM_BYTES)
    begin = time.perf_counter()
    with Path(path).open("rb") as file:
        _put(connection, NAME, file, size_bytes=Path(path).stat().st_size)
    return time.perf_counter() - begin


def mlflow_download(*, address: str, target: str) -> float:
    """Receive a file from MLflow and write it, unverified; return seconds."""
    connection = http.client.HTTPConnection(address)
    _fetch(connection, WARM_NAME, Path(target))
    begin = time.perf_counter()
    _fetch(connection, NAME, Path(target))
    return time.perf_counter() - begin


@contextmanager
def connected(address: str) -> Iterator[grpc.Channel]:
    """Open a channel and wait until it is ready."""
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
        yield channel


def _put(connection: http.client.HTTPConnection, name: str, body: Any, *, size_bytes: int) -> None:
    connection.request("PUT", ARTIFACTS + name, body=body, headers={"Content-Length": str(size_bytes)})
    response = connection.getresponse()
    assert response.status == http.HTTPStatus.OK, response.read()
    response.read()


def _fetch(connection: http.client.HTTPConnection, name: str, target: Path) -> None:
    connection.request("GET", ARTIFACTS + name)
    response = connection.getresponse()
    assert response.status == http.HTTPStatus.OK, response.read()
    with target.open("wb", buffering=0) as file:
        while piece := response.read(PIECE_BYTES):
            file.write(piece)


def _ask(channel: grpc.Channel, *, size_bytes: int, digest: str) -> None:
    """Ask whether the file is there already, as every client does."""
    keys = [pb.BlobKey(digest=digest, size_bytes=size_bytes)] if digest else []
    request = pb.FindMissingBlobsRequest(namespace="default", blobs=keys, sizes_bytes=[size_bytes])
    ask: Any = channel.unary_unary(FIND_MISSING_BLOBS)
    answer = pb.FindMissingBlobsResponse.FromString(ask(request.SerializeToString()))
    assert not answer.held_sizes_bytes


def _send(channel: grpc.Channel, chunks: Iterable[bytes], *, size_bytes: int, digest: str = "") -> None:
    write: Any = channel.stream_stream(WRITE_BLOBS)
    sent = write(_messages(chunks, size_bytes=size_bytes, digest=digest))
    answers = [pb.WriteBlobsResponse.FromString(answer) for answer in sent]
    assert answers[-1].finished.digest


def _messages(chunks: Iterable[bytes], *, size_bytes: int, digest: str) -> Iterator[bytes]:
    known = {"digest": digest} if digest else {"upload_id": str(uuid.uuid4())}
    header = pb.BlobHeader(namespace="default", size_bytes=size_bytes, from_start=True, **known)
    yield pb.WriteBlobsRequest(header=header).SerializeToString()
    hashed = hashlib.sha256()
    for chunk in chunks:
        if not digest:
            hashed.update(chunk)
        yield data_message(chunk)
    finish = pb.BlobFinish(digest=digest or f"sha256:{hashed.hexdigest()}")
    yield pb.WriteBlobsRequest(finish=finish).SerializeToString()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _receive(channel: grpc.Channel, target: Path, *, model: str, length: int = 0) -> str:
    """Write the file, or its first *length* bytes, and return the digest of what came."""
    reference = version_pb2.VersionRef(model=model, number=1)
    request = version_service_pb2.ReadFileRequest(version=reference, path=NAME, length=length)
    read: Any = channel.unary_stream(READ_FILE)
    hashed = hashlib.sha256()
    with target.open("wb", buffering=0) as file:
        for message in read(request.SerializeToString()):
            if data := data_of(message):
                hashed.update(data)
                file.write(data)
    return f"sha256:{hashed.hexdigest()}"


JOBS = {each.__name__: each for each in (upload, download, copy, mlflow_upload, mlflow_download)}

if __name__ == "__main__":
    tune_allocator()
    job = json.loads(sys.argv[1])
    print(json.dumps(JOBS[job.pop("do")](**job)))
