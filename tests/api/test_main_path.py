"""The main path over the wire: a model, its bytes, a version, an alias, and the bytes back."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from steelyard.v1 import (
    alias_service_pb2,
    alias_service_pb2_grpc,
    blob_service_pb2,
    blob_service_pb2_grpc,
    content_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    version_pb2,
    version_service_pb2,
    version_service_pb2_grpc,
)
from tests.servers import Running

DATA = bytes(range(256)) * 10_000
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


async def upload() -> AsyncIterator[blob_service_pb2.WriteBlobsRequest]:
    header = blob_service_pb2.BlobHeader(
        namespace="default", size_bytes=len(DATA), digest=DIGEST, from_start=True
    )
    yield blob_service_pb2.WriteBlobsRequest(header=header)
    for begin in range(0, len(DATA), 1_000_000):
        yield blob_service_pb2.WriteBlobsRequest(data=DATA[begin : begin + 1_000_000])
    yield blob_service_pb2.WriteBlobsRequest(finish=blob_service_pb2.BlobFinish())


async def test_a_model_goes_in_and_comes_back_byte_for_byte(running: Running) -> None:
    models = model_service_pb2_grpc.ModelServiceStub(running.channel)
    blobs = blob_service_pb2_grpc.BlobServiceStub(running.channel)
    versions = version_service_pb2_grpc.VersionServiceStub(running.channel)
    aliases = alias_service_pb2_grpc.AliasServiceStub(running.channel)

    await models.CreateModel(model_service_pb2.CreateModelRequest(name="default/fraud"))
    answers = [answer async for answer in blobs.WriteBlobs(upload())]
    content = content_pb2.Content(
        files=[content_pb2.File(path="weights/a.bin", digest=DIGEST, size_bytes=len(DATA))],
        metrics=[content_pb2.Metric(name="precision", dataset="holdout", value=0.93)],
    )
    created = await versions.CreateVersion(
        version_service_pb2.CreateVersionRequest(model="default/fraud", content=content)
    )
    by_number = version_pb2.VersionRef(model="default/fraud", number=1)
    await aliases.SetAlias(alias_service_pb2.SetAliasRequest(version=by_number, alias="champion"))
    by_alias = version_pb2.VersionRef(model="default/fraud", alias="champion")
    found = await versions.GetVersion(version_service_pb2.GetVersionRequest(version=by_alias))
    read = versions.ReadFile(version_service_pb2.ReadFileRequest(version=by_alias, path="weights/a.bin"))
    messages = [message async for message in read]

    assert answers[-1].finished.digest == DIGEST
    assert created.created
    assert found.version.digest == created.version.digest
    assert list(found.version.aliases) == ["champion"]
    assert messages[0].header.length == len(DATA)
    assert b"".join(message.data for message in messages) == DATA
