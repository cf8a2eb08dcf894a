"""A server that answers what a test tells it, whatever harm that may do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from steelyard.v1 import blob_service_pb2, content_pb2, version_pb2, version_service_pb2_grpc
from steelyard.v1 import version_service_pb2 as pb

MODEL = "default/evil"
# Takes the messages of a call as they came, and yields those to answer.
Behaviour = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]


def digest_of(data: bytes) -> str:
    """Name *data* as the registry does."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Hostile(version_service_pb2_grpc.VersionServiceServicer):
    """Serves one version, with those methods of VersionService that a pull calls.

    Args:
        files: members of the manifest.
        sent: for each path the messages of its bytes.
        digest: of the version; by default the right one.
        encoded: the manifest instead of one with *files*.
        answered_as: what small files are called when they are sent.
        denied: status that every call for a version ends with.
        raw: what methods do instead, by name.
    """

    files: list[dict[str, Any]]
    sent: dict[str, list[bytes]] = field(default_factory=dict)
    digest: str = ""
    encoded: bytes = b""
    answered_as: str = ""
    denied: grpc.StatusCode | None = None
    raw: dict[str, Behaviour] = field(default_factory=dict)
    address: str = ""

    def add(self, path: str, data: bytes, **members: str) -> None:
        """Name a file, with the bytes that are sent for it."""
        entry = {"path": path, "digest": digest_of(data), "size_bytes": str(len(data)), "role": "other"}
        self.files.append(entry | members)
        self.sent[path] = [data[start : start + 1_000_000] for start in range(0, len(data), 1_000_000)]

    def manifest(self) -> bytes:
        """Return the bytes of the manifest."""
        return self.encoded or json.dumps({"format": "1", "files": self.files}).encode()

    def GetVersion(  # noqa: N802  the proto names it
        self, request: pb.GetVersionRequest, context: grpc.ServicerContext
    ) -> pb.GetVersionResponse:
        if self.denied is not None:
            context.abort(self.denied, "You may not.")
        version = version_pb2.Version(
            model=MODEL, number=1, digest=self.digest or digest_of(self.manifest()), file_count=1
        )
        return pb.GetVersionResponse(version=version)

    def GetManifest(  # noqa: N802
        self, request: pb.GetManifestRequest, context: grpc.ServicerContext
    ) -> pb.GetManifestResponse:
        return pb.GetManifestResponse(manifest=self.manifest(), digest=digest_of(self.manifest()), number=1)

    def ReadFile(  # noqa: N802
        self, request: pb.ReadFileRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ReadFileResponse]:
        yield pb.ReadFileResponse(header=pb.ReadFileHeader(number=1))
        rest = b"".join(self.sent[request.path])[request.offset :]
        for start in range(0, len(rest), 1_000_000):
            yield pb.ReadFileResponse(data=rest[start : start + 1_000_000])

    def ReadFiles(  # noqa: N802
        self, request: pb.ReadFilesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ReadFilesResponse]:
        for path in request.paths:
            file = content_pb2.File(path=self.answered_as or path)
            part = pb.FilePart(file=file, data=b"".join(self.sent.get(path, ())))
            yield pb.ReadFilesResponse(parts=[part], number=1)


class _Raw(grpc.ServerInterceptor):
    """Puts a behaviour in the place of a method."""

    def __init__(self, behaviours: dict[str, Behaviour]) -> None:
        self._behaviours = behaviours

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        behaviour = self._behaviours.get(handler_call_details.method.rpartition("/")[2])
        if behaviour is None:
            return continuation(handler_call_details)
        return grpc.stream_stream_rpc_method_handler(behaviour)


def takes_uploads(
    evil: Hostile, write: Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]]
) -> None:
    """Let *evil* answer all that a push asks for before its bytes, and *write* answer those."""

    def create(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        del context
        next(requests)
        yield pb.CreateVersionResponse(version=version_pb2.Version(model=MODEL, number=1)).SerializeToString()

    def find(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        del context
        asked = blob_service_pb2.FindMissingBlobsRequest.FromString(next(requests))
        missing = [blob_service_pb2.MissingBlob(digest=blob.digest) for blob in asked.blobs]
        yield blob_service_pb2.FindMissingBlobsResponse(missing=missing).SerializeToString()

    def receive(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        parsed = map(blob_service_pb2.WriteBlobsRequest.FromString, requests)
        for answer in write(parsed, context):
            yield answer.SerializeToString()

    evil.raw.update(CreateVersion=create, FindMissingBlobs=find, WriteBlobs=receive)


@contextmanager
def hostile_server() -> Iterator[Hostile]:
    """Run one on a free port until the block ends."""
    service = Hostile([])  # type: ignore[abstract]  # the other methods are UNIMPLEMENTED
    server = grpc.server(
        ThreadPoolExecutor(8), interceptors=[_Raw(service.raw)], options=[("grpc.so_reuseport", 0)]
    )
    version_service_pb2_grpc.add_VersionServiceServicer_to_server(service, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield service
    finally:
        server.stop(grace=None).wait()
