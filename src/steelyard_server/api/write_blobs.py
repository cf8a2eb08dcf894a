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
from steelyard_server.api.small_blobs import SmallBlob, SmallBlobs
from steelyard_server.core import blobs as core
from steelyard_server.core import names
from steelyard_server.errors import (
    ChunkTooLarge,
    DigestMismatch,
    InvalidName,
    MalformedMessage,
    OneofRequired,
    RegistryError,
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

# A stop gives the client this long to stop writing before the status comes.
STOP_SECONDS = 5.0
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
        self._publishing: dict[str, asyncio.Task[None]] = {}
        self._small = SmallBlobs(
            database=database, blobs=blobs, claims=claims, threads=threads, answer=self._answer
        )
        self._reading: asyncio.Task[bytes | None] | None = None

    async def receive(self) -> None:
        """Take messages until the client half-closes; on trouble say `stop`, then raise.

        Raises:
            RegistryError: as the RPC lists them.
        """
        try:
            while (message := await self._read()) is not None:
                await self._take(message)
            await self._settle()
        except RegistryError as error:
            await self._stop(error)
            raise
        finally:
            await self._close()

    async def _read(self) -> bytes | None:
        """Wait for the next message, or for the failure of a blob that is being published."""
        if self._reading is None and not self._publishing:
            return await self._stream.read(timeout_seconds=LIMITS.upload_idle_seconds, late=UploadIdle)
        # A read that lost the race goes on, for breaking it off would break the stream.
        reading = self._reading = self._reading or asyncio.create_task(self._stream.next())
        while not reading.done():
            done, _ = await asyncio.wait(
                {reading, *self._publishing.values()},
                timeout=LIMITS.upload_idle_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                seconds = LIMITS.upload_idle_seconds
                message = f"No message came for {seconds} seconds; resume the upload."
                raise UploadIdle(message, limit_seconds=seconds)
            await self._raise_failures()
        self._reading = None
        return reading.result()

    async def _take(self, message: bytes) -> None:
        data = data_of(message)
        if data is not None:
            await self._write(data)
            return
        try:
            request = pb.WriteBlobsRequest.FromString(message)
        except DecodeError:
            raise MalformedMessage("A message of the stream is not a WriteBlobsRequest.") from None
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
        await self._raise_failures(wait_for=key)
        if await self._held(header):
            present = pb.BlobPresent(digest=header.digest)
            await self._answer(pb.WriteBlobsResponse(index=index, already_present=present))
            if header.from_start:
                self._incoming = Incoming(index, key, header, upload=None)
            return
        upload = await self._run(
            partial(self._blobs.begin_upload, key, size_bytes=header.size_bytes, from_start=header.from_start)
        )
        self._incoming = Incoming(index, key, header, upload)
        if not header.from_start:
            await self._answer(pb.WriteBlobsResponse(index=index, ready=pb.BlobReady(offset=upload.offset)))

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
        await self._raise_failures()
        self._small.add(SmallBlob(index, header.digest, request.data))
        if SMALL_KEY not in self._publishing:
            store = self._small.store(namespace=self._namespace)
            self._publishing[SMALL_KEY] = asyncio.create_task(store)

    def _check(self, header: pb.BlobHeader) -> None:
        names.namespace(header.namespace, field="header.namespace")
        self._namespace = self._namespace or header.namespace
        if header.namespace != self._namespace:
            message = f"The stream began in {self._namespace}; open another one for {header.namespace}."
            raise InvalidName(message, field="header.namespace")
        names.number(header.size_bytes, field="header.size_bytes", maximum=LIMITS.file_bytes)
        if bool(header.digest) == bool(header.upload_id):
            message = "A header needs exactly one of `digest` and `upload_id`."
            raise OneofRequired(message, field="header", allowed="digest, upload_id")
        if header.digest:
            names.digest(header.digest, field="header.digest")
        else:
            names.upload_id(header.upload_id, field="header.upload_id")

    async def _held(self, header: pb.BlobHeader) -> bool:
        """Return whether the namespace holds a blob, and goes on to until a version can name it."""
        wanted: dict[str, Any] = {
            "namespace": header.namespace,
            "digest": header.digest,
            "size_bytes": header.size_bytes,
        }
        seconds = await self._database.read_hot(core.lease_seconds, **wanted)
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
        while len(self._publishing) >= PUBLISHING_MAXIMUM:
            await asyncio.wait(self._publishing.values(), return_when=asyncio.FIRST_COMPLETED)
            await self._raise_failures()
        publish = self._publish(incoming, upload, digest=digest)
        self._publishing[incoming.key] = asyncio.create_task(publish)

    async def _publish(self, incoming: Incoming, upload: Upload, *, digest: str) -> None:
        namespace, size_bytes = incoming.header.namespace, incoming.header.size_bytes

        async def store() -> None:
            try:
                await self._run(partial(upload.finish, digest))
            finally:
                await self._run(upload.close)
            await self._database.write(core.record, namespace=namespace, blobs=[(digest, size_bytes)])

        await self._claims.store([digest], store)
        finished = pb.BlobFinished(digest=digest, size_bytes=size_bytes)
        await self._answer(pb.WriteBlobsResponse(index=incoming.index, finished=finished))

    async def _settle(self) -> None:
        """Wait for all blobs that are being published."""
        while self._publishing:
            await asyncio.wait(self._publishing.values(), return_when=asyncio.FIRST_COMPLETED)
            await self._raise_failures()

    async def _raise_failures(self, *, wait_for: str = "") -> None:
        """Forget the blobs that are published, and raise what went wrong with one.

        Args:
            wait_for: wait for this upload first, if it is being published.
        """
        if wait_for in self._publishing:
            await asyncio.wait([self._publishing[wait_for]])
        for key, task in list(self._publishing.items()):
            if task.done():
                del self._publishing[key]
                task.result()

    def _required(self, what: str) -> Incoming:
        if self._incoming is None:
            message = f"A message has {what} and no blob was begun; send a header first."
            raise UploadHeaderRequired(message, field="header", index=self._next_index)
        return self._incoming

    async def _stop(self, error: RegistryError) -> None:
        """Tell the client to stop, and read on so that it can hear it."""
        stop = pb.BlobStop(reason=error.reason, message=error.message)
        index = self._incoming.index if self._incoming else max(self._next_index - 1, 0)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._answer(pb.WriteBlobsResponse(index=index, stop=stop))
                while await (self._reading or self._stream.next()) is not None:
                    self._reading = None
        except TimeoutError:
            return

    async def _close(self) -> None:
        tasks = [*self._publishing.values(), *([self._reading] if self._reading else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._incoming is not None and self._incoming.upload is not None:
            await asyncio.shield(self._run(self._incoming.upload.close))

    async def _answer(self, response: pb.WriteBlobsResponse) -> None:
        await self._stream.write(response.SerializeToString())

    async def _run(self, function: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)


def upload_key(principal: str, *, namespace: str, digest: str = "", upload_id: str = "") -> str:
    """Name the partial upload that belongs to a caller, a namespace and a digest or upload id."""
    parts = (principal, namespace, digest, upload_id)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
