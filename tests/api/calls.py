"""Calls by the name of the RPC, and what an error said."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
from google.protobuf import json_format, message_factory
from google.rpc import error_details_pb2, status_pb2

from steelyard.v1 import (
    access_service_pb2,
    alias_service_pb2,
    blob_service_pb2,
    environment_service_pb2,
    event_service_pb2,
    maintenance_service_pb2,
    model_service_pb2,
    namespace_service_pb2,
    policy_service_pb2,
    promotion_service_pb2,
    server_service_pb2,
    version_service_pb2,
)

MODULES = (
    access_service_pb2,
    alias_service_pb2,
    blob_service_pb2,
    environment_service_pb2,
    event_service_pb2,
    maintenance_service_pb2,
    model_service_pb2,
    namespace_service_pb2,
    policy_service_pb2,
    promotion_service_pb2,
    server_service_pb2,
    version_service_pb2,
)
METHODS = {
    method.name: method
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


class Refused(Exception):
    """What a call was refused with."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code().name
        self.message = error.details() or ""
        self.metadata = {str(key): value for key, value in error.trailing_metadata() or ()}
        self.info = error_details_pb2.ErrorInfo()
        self.fields: list[str] = []
        status = status_pb2.Status.FromString(self.metadata.get("grpc-status-details-bin", b""))
        for detail in status.details:
            detail.Unpack(self.info)
            request = error_details_pb2.BadRequest()
            if detail.Unpack(request):
                self.fields += [violation.field for violation in request.field_violations]
        super().__init__(f"{self.code} {self.info.reason}: {self.message}")

    @property
    def reason(self) -> str:
        reason: str = self.info.reason
        return reason


def request_class(rpc: str) -> Any:
    """Return the request message of an RPC."""
    return message_factory.GetMessageClass(METHODS[rpc].input_type)


async def call(
    channel: grpc.aio.Channel, rpc: str, fields: dict[str, Any] | None = None, **options: Any
) -> Any:
    """Call an RPC with a request in protobuf JSON; a stream is read to its end.

    Raises:
        Refused: with the status that came back.
    """
    request = json_format.ParseDict(fields or {}, request_class(rpc)())
    return await call_raw(channel, rpc, request.SerializeToString(), **options)


async def call_raw(channel: grpc.aio.Channel, rpc: str, *messages: bytes, **options: Any) -> Any:
    """Call an RPC with the raw bytes of its messages.

    Raises:
        Refused: with the status that came back.
    """
    method = METHODS[rpc]
    path = f"/{method.containing_service.full_name}/{rpc}"
    parse = message_factory.GetMessageClass(method.output_type).FromString
    options = {"timeout": 20} | options
    # Typed as it is, a channel would take no raw bytes without a serializer.
    raw: Any = channel
    try:
        if not method.server_streaming:
            return await raw.unary_unary(path, response_deserializer=parse)(messages[0], **options)
        if method.client_streaming:
            stream = raw.stream_stream(path, response_deserializer=parse)(_sent(messages), **options)
        else:
            stream = raw.unary_stream(path, response_deserializer=parse)(messages[0], **options)
        return [message async for message in stream]
    except grpc.aio.AioRpcError as error:
        raise Refused(error) from None


async def _sent(messages: tuple[bytes, ...]) -> Any:
    for message in messages:
        yield message
