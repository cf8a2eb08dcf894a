"""AccessService: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import access_service_pb2 as pb
from steelyard_server.api import convert, convert_access
from steelyard_server.api.enums import ACCESS_ROLES
from steelyard_server.api.transact import mutate, observe
from steelyard_server.core import grants, groups, tokens

if TYPE_CHECKING:
    from steelyard.v1 import access_pb2
    from steelyard_server.api.call import Call
    from steelyard_server.api.pages import Pages
    from steelyard_server.api.server_service import About
    from steelyard_server.core.grants import Grant
    from steelyard_server.core.groups import Group
    from steelyard_server.core.tokens import Token
    from steelyard_server.db.database import Database


class AccessService:
    """Serve tokens, grants and groups from the database."""

    def __init__(self, database: Database, *, pages: Pages, about: About) -> None:
        self._database = database
        self._pages = pages
        begins = (each.group_names_begin_with for each in about.issuers)
        self._foreign_groups = tuple(each for each in begins if each)

    async def CreateToken(self, request: pb.CreateTokenRequest, call: Call) -> bytes:
        """Make a token; only the answer of the call that made it has its secret."""
        secret = tokens.make()

        def answer(made: Token) -> pb.CreateTokenResponse:
            return pb.CreateTokenResponse(token=convert_access.token(made), sequence=made.sequence)

        # What is remembered for a request id has no secret, so it is put in behind that.
        encoded = await mutate(
            self._database,
            call,
            request,
            tokens.create,
            answer,
            uid=secret.uid,
            digest=secret.digest,
            principal=request.principal,
            description=request.description,
            lifetime_seconds=convert_access.lifetime_seconds(request),
        )
        response = pb.CreateTokenResponse.FromString(encoded)
        if response.token.uid == secret.uid:
            response.secret = secret.text
        return response.SerializeToString()

    async def ListTokens(self, request: pb.ListTokensRequest, call: Call) -> pb.ListTokensResponse:
        """Answer a page of tokens."""
        query = ("tokens", request.principal)
        (found, more), sequence = await observe(
            self._database,
            call,
            tokens.page,
            minimum_sequence=request.minimum_sequence,
            filtered=True,
            principal=request.principal,
            after=self._pages.decode(query, request.page_token, int) or 0,
            page_size=request.page_size,
        )
        return pb.ListTokensResponse(
            tokens=[convert_access.token(each) for each in found],
            next_page_token=self._pages.encode(query, found[-1].id) if more else "",
            sequence=sequence,
        )

    async def RevokeToken(self, request: pb.RevokeTokenRequest, call: Call) -> bytes:
        """End a token."""

        def answer(revoked: tuple[Token, int]) -> pb.RevokeTokenResponse:
            token, sequence = revoked
            return pb.RevokeTokenResponse(token=convert_access.token(token), sequence=sequence)

        return await mutate(self._database, call, request, tokens.revoke, answer, uid=request.uid)

    async def GrantRole(self, request: pb.GrantRoleRequest, call: Call) -> bytes:
        """Give a role."""

        def answer(granted: tuple[Grant, bool, int]) -> pb.GrantRoleResponse:
            grant, created, sequence = granted
            message = convert_access.grant(grant)
            return pb.GrantRoleResponse(grant=message, created=created, sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            grants.grant,
            answer,
            subject=request.subject,
            role=ACCESS_ROLES.word(request.role, field="role"),
            scope=request.scope,
        )

    async def RevokeRole(self, request: pb.RevokeRoleRequest, call: Call) -> bytes:
        """Take a role away."""

        def answer(sequence: int) -> pb.RevokeRoleResponse:
            return pb.RevokeRoleResponse(sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            grants.revoke,
            answer,
            subject=request.subject,
            role=ACCESS_ROLES.word(request.role, field="role"),
            scope=request.scope,
        )

    async def ListGrants(self, request: pb.ListGrantsRequest, call: Call) -> pb.ListGrantsResponse:
        """Answer a page of grants."""
        query = ("grants", request.scope, request.subject)
        (found, more), sequence = await observe(
            self._database,
            call,
            grants.page,
            minimum_sequence=request.minimum_sequence,
            scope=request.scope,
            subject=request.subject,
            after=self._pages.decode(query, request.page_token, int) or 0,
            page_size=request.page_size,
        )
        return pb.ListGrantsResponse(
            grants=[convert_access.grant(each) for each in found],
            next_page_token=self._pages.encode(query, found[-1].id) if more else "",
            sequence=sequence,
        )

    async def CreateGroup(self, request: pb.CreateGroupRequest, call: Call) -> bytes:
        """Create a group."""

        def answer(created: Group) -> pb.CreateGroupResponse:
            return pb.CreateGroupResponse(group=convert_access.group(created), sequence=created.sequence)

        return await mutate(
            self._database,
            call,
            request,
            groups.create,
            answer,
            name=request.name,
            draft=_draft(request),
            foreign=self._foreign_groups,
        )

    async def UpdateGroup(self, request: pb.UpdateGroupRequest, call: Call) -> bytes:
        """Change description or members."""

        def answer(changed: Group) -> pb.UpdateGroupResponse:
            return pb.UpdateGroupResponse(group=convert_access.group(changed), sequence=changed.sequence)

        return await mutate(
            self._database,
            call,
            request,
            groups.modify,
            answer,
            name=request.group.name,
            draft=_draft(request.group),
            mask=convert.mask(request.update_mask, present=request.HasField("update_mask")),
            etag=request.etag,
        )

    async def DeleteGroup(self, request: pb.DeleteGroupRequest, call: Call) -> bytes:
        """Delete a group."""

        def answer(sequence: int) -> pb.DeleteGroupResponse:
            return pb.DeleteGroupResponse(sequence=sequence)

        return await mutate(
            self._database, call, request, groups.remove, answer, name=request.name, etag=request.etag
        )

    async def ListGroups(self, request: pb.ListGroupsRequest, call: Call) -> pb.ListGroupsResponse:
        """Answer a page of groups."""
        query = ("groups",)
        (found, more), sequence = await observe(
            self._database,
            call,
            groups.page,
            minimum_sequence=request.minimum_sequence,
            after_name=self._pages.decode(query, request.page_token, str) or "",
            page_size=request.page_size,
        )
        return pb.ListGroupsResponse(
            groups=[convert_access.group(each) for each in found],
            next_page_token=self._pages.encode(query, found[-1].name) if more else "",
            sequence=sequence,
        )


def _draft(message: pb.CreateGroupRequest | access_pb2.Group) -> groups.Draft:
    return groups.Draft(message.description, members=tuple(message.members))
