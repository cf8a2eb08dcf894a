"""grpc.health.v1, which load balancers ask.

The servicer that comes with gRPC writes to watchers under a lock; one that does not read would hold
up all others, and the shutdown.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpc import StatusCode
from grpc_health.v1 import health_pb2 as pb

from steelyard_server.errors import Draining

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard_server.api.call import Call, Stream

DESCRIPTOR = pb.DESCRIPTOR.services_by_name["Health"]
UNKNOWN = pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVICE_UNKNOWN)


class Health:
    """Say which services serve: each by its name, and the whole server under the empty name."""

    def __init__(self) -> None:
        self._statuses: dict[str, pb.HealthCheckResponse] = {}
        self._changed = asyncio.Event()
        self._over = False

    def set(self, names: Iterable[str], *, serving: bool) -> None:
        """Set the state of services and tell those who watch them."""
        response = pb.HealthCheckResponse
        status = response.SERVING if serving and not self._over else response.NOT_SERVING
        self._statuses |= {name: response(status=status) for name in names}
        self._changed.set()
        self._changed = asyncio.Event()

    def shut_down(self) -> None:
        """Say NOT_SERVING for all services, for good, and end the streams of those who watch."""
        self._over = True
        self.set(list(self._statuses), serving=False)

    async def Check(self, request: pb.HealthCheckRequest, call: Call) -> pb.HealthCheckResponse:
        status = self._statuses.get(request.service)
        if status is None:
            await call.context.abort(StatusCode.NOT_FOUND, "No service of this name is served here.")
        return status

    async def List(self, _: pb.HealthListRequest, __: Call) -> pb.HealthListResponse:
        return pb.HealthListResponse(statuses=self._statuses)

    async def Watch(self, request: pb.HealthCheckRequest, _: Call, stream: Stream) -> None:
        last = None
        while True:
            changed, over = self._changed, self._over
            status = self._statuses.get(request.service, UNKNOWN)
            if status != last:
                await stream.write(status.SerializeToString())
            if over:
                raise Draining("The server is shutting down; watch again.")
            last = status
            await changed.wait()
