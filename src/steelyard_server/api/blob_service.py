"""BlobService: translate, call, translate; the stream itself is in ``write_blobs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import blob_service_pb2 as pb
from steelyard_server.api.method import last_message
from steelyard_server.api.transact import note
from steelyard_server.api.write_blobs import BlobStream, stop, upload_key
from steelyard_server.core import blobs

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from steelyard_server.api.call import Call, Stream
    from steelyard_server.blobs.claims import Claims
    from steelyard_server.blobs.store import BlobStore
    from steelyard_server.db.database import Database


class BlobService:
    """Take blobs into the store and tell which are missing.

    Args:
        claims: what keeps the collector away from blobs that are being stored.
        threads: where bytes are hashed and written.
    """

    def __init__(self, database: Database, *, store: BlobStore, claims: Claims, threads: Executor) -> None:
        self._database = database
        self._store = store
        self._claims = claims
        self._threads = threads

    async def FindMissingBlobs(
        self, request: pb.FindMissingBlobsRequest, call: Call
    ) -> pb.FindMissingBlobsResponse:
        """Answer what is missing, and how much of it came already."""
        missing = await note(
            self._database,
            call,
            blobs.find_missing,
            namespace=request.namespace,
            wanted=[(blob.digest, blob.size_bytes) for blob in request.blobs],
            sizes_bytes=list(request.sizes_bytes),
        )
        answer = pb.FindMissingBlobsResponse(
            held_sizes_bytes=missing.held_sizes_bytes,
            available_bytes=missing.available_bytes,
            available_versions_count=missing.available_versions_count,
        )
        absent, damaged = set(missing.digests), self._damaged(request)
        for blob in request.blobs:
            if blob.digest in absent or blob.digest in damaged:
                key = upload_key(call.caller.id, namespace=request.namespace, digest=blob.digest)
                answer.missing.add(digest=blob.digest, held_bytes=self._store.held_bytes(key))
        if answer.HasField("available_bytes"):
            # What is only to be mended is counted already.
            answer.available_bytes += sum(size for digest, size in damaged.items() if digest not in absent)
        return answer

    @last_message(stop)
    async def WriteBlobs(self, call: Call, stream: Stream) -> None:
        """Receive blobs."""
        receiver = BlobStream(
            call,
            stream,
            database=self._database,
            blobs=self._store,
            claims=self._claims,
            threads=self._threads,
        )
        await receiver.receive()

    def _damaged(self, request: pb.FindMissingBlobsRequest) -> dict[str, int]:
        """Return the sizes of the blobs asked for whose bytes are damaged."""
        return {blob.digest: blob.size_bytes for blob in request.blobs if self._store.is_damaged(blob.digest)}
