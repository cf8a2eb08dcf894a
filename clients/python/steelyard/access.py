"""Calls about who may do what: tokens, roles and groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from steelyard import enums, pages, types
from steelyard.connection import new_request_id
from steelyard.v1 import access_pb2, server_service_pb2
from steelyard.v1 import access_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.connection import Connection
    from steelyard.types import Actor


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret; times are in UTC, None for what was not."""

    uid: str
    principal: str
    description: str
    create_time: datetime
    expire_time: datetime
    revoke_time: datetime | None
    last_use_time: datetime | None
    message: access_pb2.Token = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made, with what its principal logs in with, which is nowhere else."""

    token: Token
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role of a subject in a scope, which is empty for the whole registry."""

    subject: str
    role: str
    scope: str
    create_time: datetime
    message: access_pb2.Grant = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of principals."""

    name: str
    description: str
    members: tuple[str, ...]
    etag: str
    message: access_pb2.Group = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the server takes you for, what you and your groups may do, and when the login ends.

    Nothing of the latter two without logins.
    """

    actor: Actor
    groups: tuple[str, ...]
    grants: tuple[Grant, ...]
    expire_time: datetime | None
    message: server_service_pb2.WhoAmIResponse = field(repr=False, compare=False)


class Access:
    """Make and revoke tokens, give and take roles, keep groups."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def identity(self) -> Identity:
        """Return who the server takes you for, and what you may do."""
        request = server_service_pb2.WhoAmIRequest()
        answer = self._connection.ask("ServerService/WhoAmI", request, server_service_pb2.WhoAmIResponse)
        grants = tuple(map(_grant, answer.grants))
        return Identity(
            types.actor(answer.actor),
            tuple(answer.groups),
            grants,
            expire_time=types.time(answer.expire_time) if answer.HasField("expire_time") else None,
            message=answer,
        )

    def create_token(
        self,
        principal: str = "",
        *,
        description: str = "",
        lifetime_seconds: int | None = None,
        reason: str = "",
    ) -> NewToken:
        """Make a token; its secret is answered this once.

        Args:
            principal: who logs in with it, `user:ada` or `service:ci`; empty for yourself.
            lifetime_seconds: how long it is good; the server's default when not given.

        Raises:
            PermissionMissing: it is for somebody else, and you do not administer the registry.
        """
        lifetime = None if lifetime_seconds is None else Duration(seconds=lifetime_seconds)
        request = pb.CreateTokenRequest(
            principal=principal,
            description=description,
            lifetime=lifetime,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("AccessService/CreateToken", request, pb.CreateTokenResponse)
        return NewToken(_token(answer.token), answer.secret)

    def tokens(self, principal: str = "") -> Iterator[Token]:
        """Yield the tokens of a principal, or all that you may see, the oldest first."""

        def ask(request: pb.ListTokensRequest) -> pb.ListTokensResponse:
            return self._connection.ask("AccessService/ListTokens", request, pb.ListTokensResponse)

        request = pb.ListTokensRequest(principal=principal)
        yield from map(_token, pages.entries(request, field="tokens", ask=ask))

    def revoke_token(self, uid: str, *, reason: str = "") -> Token:
        """End a token for good.

        Raises:
            TokenNotFound: there is none of this uid that you may revoke.
        """
        request = pb.RevokeTokenRequest(uid=uid, request_id=new_request_id(), reason=reason)
        answer = self._connection.ask("AccessService/RevokeToken", request, pb.RevokeTokenResponse)
        return _token(answer.token)

    def grant(self, subject: str, role: str, scope: str = "", *, reason: str = "") -> Grant:
        """Give a role; one that is there already stays as it is.

        Args:
            subject: `user:ada`, `service:ci` or `group:fraud-team`.
            role: for example `writer` or `break-glass`.
            scope: empty for the whole registry, `risk`, `risk/fraud` or `environment:production-eu`.

        Raises:
            RoleNotForOneself: the role decides on promotions, and would be yours.
        """
        request = pb.GrantRoleRequest(
            subject=subject,
            role=enums.number(access_pb2.Role, role),
            scope=scope,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("AccessService/GrantRole", request, pb.GrantRoleResponse)
        return _grant(answer.grant)

    def revoke(self, subject: str, role: str, scope: str = "", *, reason: str = "") -> None:
        """Take a role away.

        Raises:
            GrantNotFound: the subject does not have it on this scope itself.
        """
        request = pb.RevokeRoleRequest(
            subject=subject,
            role=enums.number(access_pb2.Role, role),
            scope=scope,
            request_id=new_request_id(),
            reason=reason,
        )
        self._connection.ask("AccessService/RevokeRole", request, pb.RevokeRoleResponse)

    def grants(self, scope: str = "", *, subject: str = "") -> Iterator[Grant]:
        """Yield the grants on a scope and on what is in it, the oldest first."""

        def ask(request: pb.ListGrantsRequest) -> pb.ListGrantsResponse:
            return self._connection.ask("AccessService/ListGrants", request, pb.ListGrantsResponse)

        request = pb.ListGrantsRequest(scope=scope, subject=subject)
        yield from map(_grant, pages.entries(request, field="grants", ask=ask))

    def create_group(
        self, name: str, members: Iterable[str] = (), *, description: str = "", reason: str = ""
    ) -> Group:
        """Create a group of principals.

        Raises:
            GroupAlreadyExists: there is one with this name.
        """
        request = pb.CreateGroupRequest(
            name=name,
            description=description,
            members=members,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("AccessService/CreateGroup", request, pb.CreateGroupResponse)
        return _group(answer.group)

    def update_group(
        self,
        name: str,
        *,
        members: Iterable[str] | None = None,
        description: str | None = None,
        etag: str = "",
        reason: str = "",
    ) -> Group:
        """Change the members or the description of a group; what is None stays.

        Raises:
            GroupNotFound: there is none with this name.
            EtagMismatch: it changed since *etag* was read.
        """
        given = {"members": members, "description": description}
        request = pb.UpdateGroupRequest(
            group=access_pb2.Group(name=name, members=members or (), description=description or ""),
            update_mask=FieldMask(paths=[path for path, value in given.items() if value is not None]),
            etag=etag,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("AccessService/UpdateGroup", request, pb.UpdateGroupResponse)
        return _group(answer.group)

    def delete_group(self, name: str, *, etag: str = "", reason: str = "") -> None:
        """Delete a group with all roles that it has.

        Raises:
            GroupNotFound: there is none with this name.
        """
        request = pb.DeleteGroupRequest(name=name, etag=etag, request_id=new_request_id(), reason=reason)
        self._connection.ask("AccessService/DeleteGroup", request, pb.DeleteGroupResponse)

    def groups(self) -> Iterator[Group]:
        """Yield all groups in the order of their names."""

        def ask(request: pb.ListGroupsRequest) -> pb.ListGroupsResponse:
            return self._connection.ask("AccessService/ListGroups", request, pb.ListGroupsResponse)

        yield from map(_group, pages.entries(pb.ListGroupsRequest(), field="groups", ask=ask))


def _token(message: access_pb2.Token) -> Token:
    return Token(
        uid=message.uid,
        principal=message.principal,
        description=message.description,
        create_time=types.time(message.create_time),
        expire_time=types.time(message.expire_time),
        revoke_time=types.time(message.revoke_time) if message.HasField("revoke_time") else None,
        last_use_time=types.time(message.last_use_time) if message.HasField("last_use_time") else None,
        message=message,
    )


def _grant(message: access_pb2.Grant) -> Grant:
    return Grant(
        subject=message.subject,
        role=enums.word(access_pb2.Role, message.role),
        scope=message.scope,
        create_time=types.time(message.create_time),
        message=message,
    )


def _group(message: access_pb2.Group) -> Group:
    return Group(
        name=message.name,
        description=message.description,
        members=tuple(message.members),
        etag=message.etag,
        message=message,
    )
