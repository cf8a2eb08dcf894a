"""Tokens, grants and groups as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import access_pb2
from steelyard_server.api import convert
from steelyard_server.api.enums import ACCESS_ROLES
from steelyard_server.errors import OutOfBounds

if TYPE_CHECKING:
    from steelyard.v1 import access_service_pb2 as pb
    from steelyard_server.core.grants import Grant
    from steelyard_server.core.groups import Group
    from steelyard_server.core.tokens import Token
    from steelyard_server.issuers import Issuer


def token(value: Token) -> access_pb2.Token:
    """Turn a token into a message; it has no secret."""
    message = access_pb2.Token(
        uid=value.uid,
        principal=value.principal,
        description=value.description,
        create_time=convert.timestamp(value.create_time),
        expire_time=convert.timestamp(value.expire_time),
        creator=convert.actor(value.creator),
    )
    if value.revoke_time is not None:
        message.revoke_time.CopyFrom(convert.timestamp(value.revoke_time))
    if value.use_time is not None:
        message.last_use_time.CopyFrom(convert.timestamp(value.use_time))
    return message


def grant(value: Grant) -> access_pb2.Grant:
    """Turn a grant into a message."""
    return access_pb2.Grant(
        subject=value.subject,
        role=ACCESS_ROLES.number(value.role),
        scope=value.scope,
        uid=value.uid,
        create_time=convert.timestamp(value.create_time),
        creator=convert.actor(value.creator),
    )


def group(value: Group) -> access_pb2.Group:
    """Turn a group into a message."""
    return access_pb2.Group(
        name=value.name,
        description=value.description,
        members=value.members,
        uid=value.uid,
        create_time=convert.timestamp(value.create_time),
        update_time=convert.timestamp(value.update_time),
        etag=str(value.sequence),
    )


def issuer(value: Issuer) -> access_pb2.Issuer:
    """Say of an identity provider what its clients need."""
    return access_pb2.Issuer(
        url=value.url, audience=value.audience, client_id=value.client_id, scopes=value.scopes
    )


def lifetime_seconds(request: pb.CreateTokenRequest) -> int:
    """Read how long a token is to be good; 0 when the request does not say.

    Raises:
        OutOfBounds: it is no number of whole seconds above 0.
    """
    if not request.HasField("lifetime"):
        return 0
    seconds = request.lifetime.seconds
    if request.lifetime.nanos or seconds < 1:
        raise OutOfBounds("`lifetime` must be whole seconds, at least 1.", field="lifetime", minimum=1)
    return seconds
