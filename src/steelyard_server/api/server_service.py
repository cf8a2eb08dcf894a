"""ServerService: what server this is, and who it takes the caller for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard.v1 import limits_pb2
from steelyard.v1 import server_service_pb2 as pb
from steelyard_server.api import convert, convert_access
from steelyard_server.api.transact import observe
from steelyard_server.core import access, grants
from steelyard_server.history import events
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from steelyard_server.api.call import Call
    from steelyard_server.db.database import Database, Row, Transaction
    from steelyard_server.history.caller import Caller
    from steelyard_server.issuers import Issuer


@dataclass(frozen=True, slots=True)
class About:
    """What a server says of itself; it does not change while it runs.

    Args:
        request_read_seconds: the limit as this server is set.
        authentication: whether callers must log in.
        issuers: identity providers whose logins are taken.
    """

    server_version: str
    request_read_seconds: float
    authentication: bool = False
    issuers: tuple[Issuer, ...] = ()


class ServerService:
    """Answer for the server itself."""

    def __init__(self, database: Database, *, about: About) -> None:
        self._database = database
        self._about = about
        self._audiences = {each.url: each.audience for each in about.issuers}
        limits = vars(LIMITS) | {"request_read_seconds": round(about.request_read_seconds)}
        self._limits = limits_pb2.Limits(**limits)

    async def GetServerInfo(self, _: pb.GetServerInfoRequest, __: Call) -> pb.GetServerInfoResponse:
        head = await self._database.read_hot(events.head)
        return pb.GetServerInfoResponse(
            server_version=self._about.server_version,
            registry_uid=head.registry,
            epoch=head.epoch,
            sequence=head.sequence,
            server_time=convert.timestamp(time.time_ns() // 1000),
            limits=self._limits,
            database=self._database.name,
            authentication=self._about.authentication,
            issuers=[convert_access.issuer(each) for each in self._about.issuers],
        )

    async def WhoAmI(self, _: pb.WhoAmIRequest, call: Call) -> pb.WhoAmIResponse:
        """Answer who calls, with the roles that they have as of now."""
        if call.caller.rights is None:
            return pb.WhoAmIResponse(actor=convert.caller(call.caller))
        (caller, held), _sequence = await observe(
            self._database, call, _held, minimum_sequence=0, filtered=True
        )
        return pb.WhoAmIResponse(
            actor=convert.caller(caller),
            groups=convert.groups(caller),
            grants=[convert_access.grant(grants.value(row)) for row in held],
            expire_time=convert.timestamp(caller.rights.expire_time) if caller.rights else None,
            audience=self._audiences.get(caller.issuer, ""),
        )


def _held(tx: Transaction, *, caller: Caller) -> tuple[Caller, list[Row]]:
    return caller, access.grants_of(tx, caller)
