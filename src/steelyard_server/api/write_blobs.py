"""One stream of WriteBlobs: header, data, finish, blob after blob.

Bytes are hashed and written in threads. The last step of a blob (sync, publish, record) goes on
while the next blob comes in, so that many small files do not wait for the disk one by one.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import DecodeError

from steelyard.v1 import blob_service_pb2 as pb
from steelyard_server.api.envelope import data_of
from steelyard_server.api.publishing import Publishing
from steelyard_server.api.small_blobs import SmallBlob, SmallBlobs
from steelyard_server.api.transact import note
from steelyard_server.core import blobs as core
from steelyard_server.core import names
from steelyard_server.errors import (
    ChunkTooLarge,
    DigestMismatch,
    FieldRequired,
    MalformedMessage,
    OneofRequired,
    RegistryError,
    ResourceMismatch,
    UploadHeaderDuplicate,
    UploadHeaderRequired,
    UploadIdle,
)
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from steelyard_server.api.call import Call, Stream
    from steelyard_server.blobs.claims import Claims
    from steelyard_server.blobs.store import BlobStore, Upload
    from steelyard_server.db.database import Database

# Bytes between two reports of what is durable.
PROGRESS_BYTES = 64 * 1024 * 1024
# The task that stores small blobs, among those that publish; no upload has such a key.
SMALL_KEY = "small"
# A blob whose lease is shorter gets a new one before the client hears that it need not be sent.
LEASE_SECONDS_MINIMUM = LIMITS.lease_seconds / 2
# Blobs of one stream that may be on their last step at once.
PUBLISHING_MAXIMUM = 16

Result = TypeVar("Result")


@dataclass(slots=True)
class Incoming:
    """The blob that a stream is receiving; `upload` is None when its bytes are dropped."""

    index: int
    key: str
    header: pb.BlobHeader
    upload: Upload | None


class BlobStream:
    """Receive the blobs of one stream."""

    def __init__(
        self,
        call: Call,
        stream: Stream,
        *,
        database: Database,
        blobs: BlobStore,
        claims: Claims,
        threads: Executor,
    ) -> None:
        self._call = call
        self._stream = stream
        self._database = database
        self._blobs = blobs
        self._claims = claims
        self._threads = threads
        self._next_index = 0
        self._namespace = ""
        self._incoming: Incoming | None = None
        # By key, until they are finished: whatever is left here is closed when the stream ends.
        self._uploads: dict[str, Upload] = {}
        self._publishing = Publishing()
        self._small = SmallBlobs(
            record=self._record, blobs=blobs, claims=claims, threads=threads, answer=self._answer
        )

    async def receive(self) -> None:
        """Take messages until the client half-closes and all blobs are stored.

        Raises:
            RegistryError: as the RPC lists them.
        """
        try:
            while (message := await self._read()) is not None:
                await self._take(message)
            await self._publishing.wait_for_fewer(1)
        except RegistryError as error:
            error.metadata.setdefault("index", str(max(self._next_index - 1, 0)))
            raise
        finally:
            await self._close()

    async def _read(self) -> bytes | None:
        """Wait for the next message, or for the failure of a blob that is being published."""
        reading = self._stream.reading()
        while not reading.done():
            # Who waits for what the server does is not idle.
            idle_seconds = None if self._publishing.tasks else LIMITS.upload_idle_seconds
            done, _ = await asyncio.wait(
                {reading, *self._publishing.tasks.values()},
                timeout=idle_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                message = f"No message came for {idle_seconds} seconds; resume the upload."
                raise UploadIdle(message, limit_seconds=idle_seconds)
            self._publishing.raise_failures()
        return await self._stream.take()

    async def _take(self, message: bytes) -> None:
        if data := data_of(message):
            await self._write(data)
            return
        try:
            request = pb.WriteBlobsRequest.FromString(message)
        except DecodeError:
            raise MalformedMessage("A message of the stream is not a WriteBlobsRequest.") from None
        if not request.ListFields():
            # It would keep an idle stream alive.
            text = "A message of the stream is empty; send a header, data or a finish."
            raise FieldRequired(text, field="data")
        if request.HasField("header"):
            await self._call.permit(request)
        if SmallBlobs.takes(request) and self._incoming is None:
            await self._take_small(request)
            return
        if request.HasField("header"):
            await self._begin(request.header)
        if request.data:
            await self._write(memoryview(request.data))
        if request.HasField("finish"):
            await self._finish(request.finish)

    async def _begin(self, header: pb.BlobHeader) -> None:
        if self._incoming is not None:
            message = f"Blob {self._incoming.index} of the stream is not finished; finish it first."
            raise UploadHeaderDuplicate(message, field="header", index=self._incoming.index)
        index, self._next_index = self._next_index, self._next_index + 1
        self._check(header)
        key = upload_key(
            self._call.caller.id,
            namespace=header.namespace,
            digest=header.digest,
            upload_id=header.upload_id,
        )
        await self._publishing.wait_for(key)
        if await self._held(header):
            present = pb.BlobPresent(digest=header.digest)
            await self._answer(pb.WriteBlobsResponse(index=index, already_present=present))
            if header.from_start:
                self._incoming = Incoming(index, key, header, upload=None)
            return
        upload = self._uploads[key] = self._blobs.begin_upload(key)
        self._incoming = Incoming(index, key, header, upload)
        offset = await self._run(
            partial(upload.open, size_bytes=header.size_bytes, from_start=header.from_start)
        )
        if not header.from_start:
            await self._answer(pb.WriteBlobsResponse(index=index, ready=pb.BlobReady(offset=offset)))

    async def _take_small(self, request: pb.WriteBlobsRequest) -> None:
        """Put a whole blob into a batch; parts of it that an earlier stream left expire by themselves."""
        header = request.header
        index, self._next_index = self._next_index, self._next_index + 1
        self._check(header)
        if await self._held(header):
            present = pb.BlobPresent(digest=header.digest)
            await self._answer(pb.WriteBlobsResponse(index=index, already_present=present))
            return
        await self._small.wait_for_room()
        self._publishing.raise_failures()
        self._small.add(SmallBlob(index, header.digest, request.data))
        if SMALL_KEY not in self._publishing.tasks:
            self._publishing.start(SMALL_KEY, self._small.store())

    def _check(self, header: pb.BlobHeader) -> None:
        names.namespace(header.namespace, field="header.namespace")
        self._namespace = self._namespace or header.namespace
        if header.namespace != self._namespace:
            message = f"The stream began in {self._namespace}; open another one for {header.namespace}."
            raise ResourceMismatch(message, field="header.namespace")
        names.number(header.size_bytes, field="header.size_bytes", maximum=LIMITS.file_bytes)
        if bool(header.digest) == bool(header.upload_id):
            message = "A header needs exactly one of `digest` and `upload_id`."
            raise OneofRequired(message, field="header", allowed="digest, upload_id")
        if header.digest:
            names.digest(header.digest, field="header.digest")
        else:
            names.upload_id(header.upload_id, field="header.upload_id")

    async def _held(self, header: pb.BlobHeader) -> bool:
        """Return whether the namespace holds a blob, and goes on to until a version can name it.

        Raises:
            QuotaExceeded: it does not, and has no room for it.
        """
        wanted: dict[str, Any] = {
            "namespace": header.namespace,
            "digest": header.digest,
            "size_bytes": header.size_bytes,
        }
        seconds = await self._database.read_hot(core.admit, **wanted)
        # Damaged bytes are taken again: publishing replaces what is not sound.
        if seconds is None or self._blobs.is_damaged(header.digest):
            return False
        return seconds >= LEASE_SECONDS_MINIMUM or await self._database.write(core.renew, **wanted)

    async def _write(self, data: memoryview) -> None:
        incoming = self._required("data")
        if len(data) > LIMITS.chunk_bytes:
            message = f"A message has {len(data)} bytes of data; at most {LIMITS.chunk_bytes} are allowed."
            raise ChunkTooLarge(message, field="data", limit_bytes=LIMITS.chunk_bytes, size_bytes=len(data))
        upload = incoming.upload
        if upload is None:
            return
        await self._run(partial(upload.write, data))
        if upload.offset - upload.durable_offset >= PROGRESS_BYTES:
            progress = pb.BlobProgress(durable_bytes=await self._run(upload.flush))
            await self._answer(pb.WriteBlobsResponse(index=incoming.index, progress=progress))

    async def _finish(self, finish: pb.BlobFinish) -> None:
        incoming = self._required("finish")
        digest = finish.digest or incoming.header.digest
        names.digest(digest, field="finish.digest")
        self._incoming = None
        upload = incoming.upload
        if upload is None:
            return
        if incoming.header.digest and digest != incoming.header.digest:
            await self._run(upload.discard)
            message = f"The header says {incoming.header.digest} and the finish {digest}."
            raise DigestMismatch(
                message, field="finish.digest", expected=incoming.header.digest, actual=digest
            )
        await self._publishing.wait_for_fewer(PUBLISHING_MAXIMUM)
        self._publishing.start(incoming.key, self._publish(incoming, upload, digest=digest))

    async def _publish(self, incoming: Incoming, upload: Upload, *, digest: str) -> None:
        size_bytes = incoming.header.size_bytes

        async def store() -> None:
            await self._run(partial(upload.finish, digest))
            del self._uploads[incoming.key]
            await self._record([(digest, size_bytes)])

        try:
            await self._claims.store([digest], store)
        except RegistryError as error:
            error.metadata["index"] = str(incoming.index)
            raise
        finished = pb.BlobFinished(digest=digest, size_bytes=size_bytes)
        await self._answer(pb.WriteBlobsResponse(index=incoming.index, finished=finished))

    async def _record(self, blobs: list[tuple[str, int]]) -> None:
        await note(self._database, self._call, core.record, namespace=self._namespace, blobs=blobs)

    def _required(self, what: str) -> Incoming:
        if self._incoming is None:
            message = f"A message has {what} and no blob was begun; send a header first."
            raise UploadHeaderRequired(message, field="header", index=self._next_index)
        return self._incoming

    async def _close(self) -> None:
        for upload in self._uploads.values():
            upload.abandon()
        await self._publishing.close()
        closing = (self._run(upload.close) for upload in self._uploads.values())
        # A cancelled call closes them all the same; one that a disk holds up must not hide why the call ends.
        await asyncio.shield(asyncio.gather(*closing, return_exceptions=True))

    async def _answer(self, response: pb.WriteBlobsResponse) -> None:
        await self._stream.write(response.SerializeToString())

    async def _run(self, function: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)


def stop(error: RegistryError) -> pb.WriteBlobsResponse:
    """Make the last answer of a stream that ends with an error."""
    index = int(error.metadata.get("index", 0))
    return pb.WriteBlobsResponse(index=index, stop=pb.BlobStop(reason=error.reason, message=error.message))


def upload_key(principal: str, *, namespace: str, digest: str = "", upload_id: str = "") -> str:
    """Name the partial upload that belongs to a caller, a namespace and a digest or upload id."""
    parts = (principal, namespace, digest, upload_id)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
