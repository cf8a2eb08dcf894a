"""Calls about aliases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard import pages, types
from steelyard.connection import new_request_id
from steelyard.v1 import alias_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.connection import Connection
    from steelyard.refs import References
    from steelyard.types import Alias, AliasMove, Version


class Aliases:
    """Move aliases, roll them back, and see their moves."""

    def __init__(self, connection: Connection, *, references: References) -> None:
        self._connection = connection
        self._references = references

    def set(
        self,
        ref: str | Version,
        alias: str,
        *,
        etag: str = "",
        must_not_exist: bool = False,
        validate_only: bool = False,
        reason: str = "",
    ) -> Alias:
        """Point an alias to a version.

        Args:
            etag: of the alias as it was read; it moves only if it has not moved since.
            must_not_exist: only make a new alias.
            validate_only: change nothing, and return it as it would be.

        Raises:
            AliasChanged: it moved since *etag* was read, or exists and must not.
        """
        request = pb.SetAliasRequest(
            version=self._references.version(ref, exact=True),
            alias=alias,
            etag=etag,
            must_not_exist=must_not_exist,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("AliasService/SetAlias", request, pb.SetAliasResponse)
        return types.alias(answer.alias)

    def get(self, model: str, alias: str) -> Alias:
        """Return an alias.

        Raises:
            AliasNotFound: the model has none with this name.
        """
        request = pb.GetAliasRequest(model=self._references.model(model), alias=alias)
        answer = self._connection.ask("AliasService/GetAlias", request, pb.GetAliasResponse)
        return types.alias(answer.alias)

    def list(self, model: str) -> Iterator[Alias]:
        """Yield the aliases of a model in the order of their names."""

        def ask(request: pb.ListAliasesRequest) -> pb.ListAliasesResponse:
            return self._connection.ask("AliasService/ListAliases", request, pb.ListAliasesResponse)

        request = pb.ListAliasesRequest(model=self._references.model(model))
        yield from map(types.alias, pages.entries(request, field="aliases", ask=ask))

    def delete(self, model: str, alias: str, *, etag: str = "", reason: str = "") -> int:
        """Delete an alias and return the sequence of the event; its moves stay in the history.

        Raises:
            AliasNotFound: the model has none with this name.
        """
        request = pb.DeleteAliasRequest(
            model=self._references.model(model),
            alias=alias,
            etag=etag,
            request_id=new_request_id(),
            reason=reason,
        )
        return self._connection.ask("AliasService/DeleteAlias", request, pb.DeleteAliasResponse).sequence

    def rollback(
        self, model: str, alias: str, *, etag: str = "", validate_only: bool = False, reason: str = ""
    ) -> Alias:
        """Point an alias back to where it pointed before; again goes one further back.

        Args:
            validate_only: change nothing, and return it as it would be.

        Raises:
            NoRollbackTarget: it has not pointed anywhere before.
        """
        request = pb.RollbackAliasRequest(
            model=self._references.model(model),
            alias=alias,
            etag=etag,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("AliasService/RollbackAlias", request, pb.RollbackAliasResponse)
        return types.alias(answer.alias)

    def moves(self, model: str, alias: str = "") -> Iterator[AliasMove]:
        """Yield the moves of one alias, or of all, the newest first."""

        def ask(request: pb.ListAliasMovesRequest) -> pb.ListAliasMovesResponse:
            return self._connection.ask("AliasService/ListAliasMoves", request, pb.ListAliasMovesResponse)

        request = pb.ListAliasMovesRequest(model=self._references.model(model), alias=alias)
        yield from map(types.alias_move, pages.entries(request, field="moves", ask=ask))
