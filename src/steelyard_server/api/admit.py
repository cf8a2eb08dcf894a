"""Who calls, and may they: the one check before a method runs.

A method without a rule is never served. Its permission is demanded on the scope that the request
names, once that is parsed and before anything else looks at it, so that a refusal does not depend on
what exists. The transaction of the call demands it again.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from steelyard.v1 import rule_pb2
from steelyard_server.api.enums import PERMISSIONS
from steelyard_server.core import names
from steelyard_server.core.access import Demand
from steelyard_server.errors import FieldRequired, TooLong
from steelyard_server.history.caller import Caller
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message

    Metadata = Iterable[tuple[str, str | bytes]]
    # Returns who calls, by the metadata of the call.
    LogIn = Callable[[Metadata], Awaitable[Caller]]
    # Returns what a request demands of its caller; None when any will do.
    Ask = Callable[[Message], Demand | None]

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
# For these it is enough to have logged in, or not even that.
_NO_DEMAND = frozenset({rule_pb2.PERMISSION_PUBLIC, rule_pb2.PERMISSION_CALLER})


def rule_of(method: MethodDescriptor) -> rule_pb2.Rule | None:
    """Return the rule of *method*; None for one that must not be served."""
    if method.containing_service.full_name in PUBLIC_SERVICES:
        return rule_pb2.Rule(permission=rule_pb2.PERMISSION_PUBLIC)
    rule = method.GetOptions().Extensions[rule_pb2.rule]
    return rule if rule.permission else None


def asking(rule: rule_pb2.Rule) -> Ask:
    """Return what reads from a request what *rule* demands of its caller."""
    if rule.permission in _NO_DEMAND:
        return lambda _: None
    permission = PERMISSIONS.word(rule.permission, field="rule")
    within, field = rule.within, rule.scope_field
    if not field:
        whole = Demand(permission, "")
        return lambda _: whole
    scope = _naming(field, prefix=rule.scope_prefix)
    if not rule.registry_permission:
        return lambda request: Demand(permission, scope(request), within)
    other = Demand(PERMISSIONS.word(rule.registry_permission, field="rule"), "")

    def ask(request: Message) -> Demand:
        found = scope(request)
        return Demand(permission, found, within) if found else other

    return ask


def _naming(field: str, *, prefix: str) -> Callable[[Any], str]:
    """Return what reads a scope from a request whose *field* names it, but for *prefix*."""
    named: Callable[[Any], str] = attrgetter(field)
    return (lambda request: prefix + named(request)) if prefix else named


async def stated(metadata: Metadata) -> Caller:
    """Return who a caller says that they are, where nobody has to log in.

    Raises:
        InvalidArgument: the stated name is empty, too long, or not printable.
    """
    given = [value for key, value in metadata if key == ACTOR_KEY]
    if not given:
        return ANONYMOUS
    name = given[0] if isinstance(given[0], str) else given[0].decode(errors="replace")
    if len(given) > 1 or not name.strip():
        raise FieldRequired(f"State one name in the metadata {ACTOR_KEY}.", field=ACTOR_KEY)
    if len(name) > LIMITS.actor_characters:
        message = f"The metadata {ACTOR_KEY} has more than {LIMITS.actor_characters} characters."
        raise TooLong(message, field=ACTOR_KEY)
    return Caller(names.text(name, field=ACTOR_KEY, maximum_bytes=4 * LIMITS.actor_characters))
