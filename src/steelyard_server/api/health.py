"""grpc.health.v1 over the servicer that comes with gRPC, behind our guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1.health import aio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard_server.api.call import Call, Stream

DESCRIPTOR = pb.DESCRIPTOR.services_by_name["Health"]


class Health:
    """Say which services serve: each by its name, and the whole server under the empty name."""

    def __init__(self) -> None:
        self._servicer = aio.HealthServicer()
        self._statuses: dict[str, pb.HealthCheckResponse] = {}

    async def set(self, names: Iterable[str], *, serving: bool) -> None:
        """Set the state of services and tell those who watch them."""
        status = pb.HealthCheckResponse.SERVING if serving else pb.HealthCheckResponse.NOT_SERVING
        for name in names:
            self._statuses[name] = pb.HealthCheckResponse(status=status)
            await self._servicer.set(name, status)

    async def shut_down(self) -> None:
        """Say NOT_SERVING for all services, for good."""
        await self.set(list(self._statuses), serving=False)
        await self._servicer.enter_graceful_shutdown()

    async def Check(self, request: pb.HealthCheckRequest, call: Call) -> pb.HealthCheckResponse:
        return await self._servicer.Check(request, call.context)

    async def List(self, _: pb.HealthListRequest, __: Call) -> pb.HealthListResponse:
        return pb.HealthListResponse(statuses=self._statuses)

    async def Watch(self, request: pb.HealthCheckRequest, call: Call, _: Stream) -> None:
        await self._servicer.Watch(request, call.context)
