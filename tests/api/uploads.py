"""A stream of WriteBlobs that a test drives message by message."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import Any

import grpc.aio

from steelyard.v1 import blob_service_pb2 as pb
from tests.api.calls import Refused, call

SECONDS = 20


def digest_of(data: bytes) -> str:
    """Name *data* as the registry does."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class UploadStream:
    """One stream, as the caller *actor*, or as *metadata* says."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        actor: str = "ada",
        metadata: tuple[tuple[str, str], ...] | None = None,
    ) -> None:
        path = "/steelyard.v1.BlobService/WriteBlobs"
        method = channel.stream_stream(
            path,
            request_serializer=pb.WriteBlobsRequest.SerializeToString,
            response_deserializer=pb.WriteBlobsResponse.FromString,
        )
        self._call = method(metadata=metadata or (("steelyard-actor", actor),), timeout=SECONDS)

    async def send(self, **fields: Any) -> None:
        """Send a message with these of header, data and finish."""
        await self._call.write(pb.WriteBlobsRequest(**fields))

    async def begin(self, *, size_bytes: int, **fields: Any) -> None:
        """Send a header, in the namespace `default` unless told otherwise."""
        await self.send(header={"namespace": "default", "size_bytes": size_bytes} | fields)

    async def answer(self) -> pb.WriteBlobsResponse:
        """Wait for the next answer.

        Raises:
            Refused: the stream ended with an error.
        """
        try:
            answer: Any = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from None
        if answer is grpc.aio.EOF:
            if await self._call.code() is not grpc.StatusCode.OK:
                raise await self.refusal()
            raise EOFError
        received: pb.WriteBlobsResponse = answer
        return received

    async def accepted(self) -> pb.WriteBlobsResponse:
        """Wait for the next answer, which is not to be a stop.

        Raises:
            Refused: the server said stop, or ended the stream.
        """
        answer = await self.answer()
        if answer.stop.reason:
            await self.half_close()
            raise await self.refusal()
        return answer

    async def refusal(self) -> Refused:
        """Wait for the status of a stream that fails."""
        code, details = await self._call.code(), await self._call.details()
        error = grpc.aio.AioRpcError(
            code, await self._call.initial_metadata(), await self._call.trailing_metadata(), details=details
        )
        return Refused(error)

    async def half_close(self) -> None:
        """Say that no more messages come, and read on to the end, whatever the status."""
        await self._call.done_writing()
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await self._call.read() is not grpc.aio.EOF:
                pass

    @property
    def is_over(self) -> bool:
        """Whether a status came."""
        return bool(self._call.done())

    def cancel(self) -> None:
        """Break the stream off, as a lost connection does."""
        self._call.cancel()


async def put(
    channel: grpc.aio.Channel, data: bytes, *, actor: str = "ada", namespace: str = "default"
) -> str:
    """Upload *data* in one message and return its digest."""
    digest = digest_of(data)
    stream = UploadStream(channel, actor=actor)
    header = {"namespace": namespace, "size_bytes": len(data), "digest": digest, "from_start": True}
    await stream.send(header=header, data=data, finish={})
    answer = await stream.accepted()
    assert digest in {answer.finished.digest, answer.already_present.digest}
    await stream.half_close()
    return digest


async def held_bytes(
    channel: grpc.aio.Channel, digest: str, size_bytes: int, *, actor: str = "ada", namespace: str = "default"
) -> int | None:
    """Return the bytes of a partial upload; None when the blob is held whole."""
    fields = {"namespace": namespace, "blobs": [{"digest": digest, "size_bytes": size_bytes}]}
    found = await call(channel, "FindMissingBlobs", fields, metadata=(("steelyard-actor", actor),))
    return found.missing[0].held_bytes if found.missing else None


async def until_held(channel: grpc.aio.Channel, digest: str, size_bytes: int, *, at_least: int) -> int:
    """Wait until a partial upload has *at_least* bytes and return how many it has."""
    async with asyncio.timeout(SECONDS):
        while (held := await held_bytes(channel, digest, size_bytes) or 0) < at_least:
            await asyncio.sleep(0.01)
    return held
