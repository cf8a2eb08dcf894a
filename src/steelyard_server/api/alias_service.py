"""AliasService: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import alias_pb2
from steelyard.v1 import alias_service_pb2 as pb
from steelyard_server.api import convert
from steelyard_server.api.transact import mutate, observe
from steelyard_server.core import aliases

if TYPE_CHECKING:
    from steelyard_server.api.call import Call
    from steelyard_server.api.pages import Pages
    from steelyard_server.core.pointers import Alias
    from steelyard_server.db.database import Database


class AliasService:
    """Serve aliases from the database."""

    def __init__(self, database: Database, *, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    async def SetAlias(self, request: pb.SetAliasRequest, call: Call) -> bytes:
        """Point an alias to a version."""

        def answer(moved: tuple[Alias, int]) -> pb.SetAliasResponse:
            alias, sequence = moved
            if request.validate_only:
                return pb.SetAliasResponse(alias=_rehearsed(alias))
            return pb.SetAliasResponse(alias=convert.alias(alias), sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            aliases.put,
            answer,
            validate_only=request.validate_only,
            reference=convert.reference(request.version),
            name=request.alias,
            etag=request.etag,
            must_not_exist=request.must_not_exist,
        )

    async def GetAlias(self, request: pb.GetAliasRequest, call: Call) -> pb.GetAliasResponse:
        """Answer one alias, now or earlier."""
        read_time = convert.read_time(request)
        found, sequence = await observe(
            self._database,
            call,
            aliases.get,
            minimum_sequence=request.minimum_sequence,
            # The way back to an earlier time may be long.
            hot=read_time is None,
            model=request.model,
            name=request.alias,
            read_time=read_time,
        )
        return pb.GetAliasResponse(alias=convert.alias(found), sequence=sequence)

    async def ListAliases(self, request: pb.ListAliasesRequest, call: Call) -> pb.ListAliasesResponse:
        """Answer a page of aliases, now or earlier."""
        read_time = convert.read_time(request)
        query = ("aliases", request.model, read_time)
        (found, more), sequence = await observe(
            self._database,
            call,
            aliases.page,
            minimum_sequence=request.minimum_sequence,
            model=request.model,
            read_time=read_time,
            after_name=self._pages.decode(query, request.page_token, str) or "",
            page_size=request.page_size,
        )
        return pb.ListAliasesResponse(
            aliases=[convert.alias(each) for each in found],
            next_page_token=self._pages.encode(query, found[-1].name) if more else "",
            sequence=sequence,
        )

    async def DeleteAlias(self, request: pb.DeleteAliasRequest, call: Call) -> bytes:
        """Delete an alias."""

        def answer(sequence: int) -> pb.DeleteAliasResponse:
            return pb.DeleteAliasResponse(sequence=0 if request.validate_only else sequence)

        return await mutate(
            self._database,
            call,
            request,
            aliases.remove,
            answer,
            validate_only=request.validate_only,
            model=request.model,
            name=request.alias,
            etag=request.etag,
        )

    async def RollbackAlias(self, request: pb.RollbackAliasRequest, call: Call) -> bytes:
        """Point an alias back to where it pointed before."""

        def answer(moved: tuple[Alias, int]) -> pb.RollbackAliasResponse:
            alias, sequence = moved
            if request.validate_only:
                return pb.RollbackAliasResponse(alias=_rehearsed(alias))
            return pb.RollbackAliasResponse(alias=convert.alias(alias), sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            aliases.rollback,
            answer,
            validate_only=request.validate_only,
            model=request.model,
            name=request.alias,
            etag=request.etag,
        )

    async def ListAliasMoves(
        self, request: pb.ListAliasMovesRequest, call: Call
    ) -> pb.ListAliasMovesResponse:
        """Answer a page of moves."""
        query = ("alias moves", request.model, request.alias)
        (found, more), sequence = await observe(
            self._database,
            call,
            aliases.moves,
            minimum_sequence=request.minimum_sequence,
            model=request.model,
            name=request.alias,
            after=self._pages.decode(query, request.page_token, int),
            page_size=request.page_size,
        )
        return pb.ListAliasMovesResponse(
            moves=[convert.move(each) for each in found],
            next_page_token=self._pages.encode(query, found[-1].sequence) if more else "",
            sequence=sequence,
        )


def _rehearsed(value: Alias) -> alias_pb2.Alias:
    """Turn an alias as it would be into a message, without what only a commit gives."""
    message = convert.alias(value)
    for name in ("uid", "create_time", "update_time", "etag"):
        message.ClearField(name)
    return message
