"""Who calls, and may they: the one check before a method runs.

Until there are logins everybody may do everything, under a name that they state. The rule of each
method is read here already, so that a method without one is never served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import rule_pb2
from steelyard_server.core import names
from steelyard_server.errors import FieldRequired, TooLong
from steelyard_server.history.caller import Caller
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import MethodDescriptor

ACTOR_KEY = "steelyard-actor"
ANONYMOUS = Caller("anonymous")
# Services that come with gRPC itself; anybody may ask them.
PUBLIC_SERVICES = frozenset(
    {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
)


def rule_of(method: MethodDescriptor) -> rule_pb2.Rule | None:
    """Return the rule of *method*; None for one that must not be served."""
    if method.containing_service.full_name in PUBLIC_SERVICES:
        return rule_pb2.Rule(permission=rule_pb2.PERMISSION_PUBLIC)
    rule = method.GetOptions().Extensions[rule_pb2.rule]
    return rule if rule.permission else None


def require(who: Caller, permission: rule_pb2.Permission.ValueType, scope: str) -> None:
    """Demand a permission on a scope that a request names beside that of its rule.

    Raises:
        PermissionDenied: *who* does not have it; nobody is refused until there are logins.
    """
    del who, permission, scope


def caller(metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
    """Return who calls, by the metadata of the call.

    Raises:
        InvalidArgument: the stated name is empty, too long, or not printable.
    """
    stated = [value for key, value in metadata if key == ACTOR_KEY]
    if not stated:
        return ANONYMOUS
    name = stated[0] if isinstance(stated[0], str) else stated[0].decode(errors="replace")
    if len(stated) > 1 or not name.strip():
        raise FieldRequired(f"State one name in the metadata {ACTOR_KEY}.", field=ACTOR_KEY)
    if len(name) > LIMITS.actor_characters:
        message = f"The metadata {ACTOR_KEY} has more than {LIMITS.actor_characters} characters."
        raise TooLong(message, field=ACTOR_KEY)
    return Caller(names.text(name, field=ACTOR_KEY, maximum_bytes=4 * LIMITS.actor_characters))
