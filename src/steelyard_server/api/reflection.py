"""Server reflection over the servicer that comes with gRPC, so that grpcurl works without proto files.

Version 1 and 1alpha of the service have the same messages; both names are served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha import reflection_pb2 as pb

from steelyard_server.errors import MalformedMessage, UploadIdle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from google.protobuf.descriptor import FileDescriptor

    from steelyard_server.api.call import Call, Stream

DESCRIPTOR = pb.DESCRIPTOR.services_by_name["ServerReflection"]
NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
IDLE_SECONDS = 60.0


class Reflection:
    """Describe the services called *names*."""

    def __init__(self, names: Iterable[str]) -> None:
        self._servicer = reflection.aio.ReflectionServicer(tuple(names), pool=_Pool())

    async def ServerReflectionInfo(self, call: Call, stream: Stream) -> None:
        async for answer in self._servicer.ServerReflectionInfo(_requests(stream), call.context):
            await stream.write(answer.SerializeToString())


class _Pool:
    """The pool of all descriptors, as the servicer asks it.

    protobuf's own pool does not find the file of a method by its name (https://github.com/grpc/grpc/issues/34743).
    """

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        pool = descriptor_pool.Default()
        try:
            return pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return pool.FindMethodByName(symbol).containing_service.file

    def __getattr__(self, name: str) -> Any:
        return getattr(descriptor_pool.Default(), name)


async def _requests(stream: Stream) -> AsyncIterator[pb.ServerReflectionRequest]:
    while (raw := await stream.read(timeout_seconds=IDLE_SECONDS, late=UploadIdle)) is not None:
        try:
            yield pb.ServerReflectionRequest.FromString(raw)
        except DecodeError:
            raise MalformedMessage("A message is not a ServerReflectionRequest.") from None
