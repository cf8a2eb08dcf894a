"""Access: who logged in, what they may do, and demanding it.

A call is admitted by rights that may be remembered. Its transaction compares the sequence they were
read at with that of the last change of access, which stands in the row of the registry, and reads them
anew when it moved: so a revocation that was committed before holds, however long the call has waited.
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
from sqlalchemy import bindparam, select, update

from steelyard_server.core import names, roles, scopes
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of
from steelyard_server.errors import PermissionMissing, TokenExpired, TokenRevoked, TokenUnknown
from steelyard_server.history import events
from steelyard_server.history.caller import Caller, Rights

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.events import Stamp

# Who may do everything, for lists that nobody is kept from.
UNLIMITED = Caller("unlimited")
_NOTHING: frozenset[str] = frozenset()
# Stands among the makers of a token that goes back over more than these many others.
UNTRACED: Final = ""
_LINKS = 100
# What is compared with the digest of a token that there is not.
_NO_DIGEST = 64 * "0"

_R, _T, _G = tables.registry.c, tables.tokens.c, tables.grants.c
_GR, _M, _S = tables.groups.c, tables.group_members.c, tables.namespaces.c
_SEQUENCE = select(_R.access_sequence).where(_R.id == 1)
_MOVE = update(tables.registry).where(_R.id == 1).values(access_sequence=bindparam("new"))
_TOKEN = select(tables.tokens).where(_T.uid == bindparam("uid"))
_GROUPS = (
    select(_GR.name)
    .join(tables.group_members, _M.group_id == _GR.id)
    .where(_M.principal == bindparam("principal"))
    .order_by(_GR.name)
)
_GRANTS = select(tables.grants).where(any_of(_G.subject, "subjects")).order_by(_G.id)
_PRESENT, _OTHER = tables.model_names.alias("present"), tables.model_names.alias("other")
# All names of the models that are granted by one of them: a call may use a former one.
_NAMES = (
    select(_G.role, _G.namespace, _OTHER.c.name_key)
    .join(tables.namespaces, _S.name == _G.namespace)
    .join(_PRESENT, (_PRESENT.c.namespace_id == _S.id) & (_PRESENT.c.name_key == _G.model_key))
    .join(_OTHER, _OTHER.c.model_id == _PRESENT.c.model_id)
    .where(any_of(_G.subject, "subjects"))
)


@dataclass(frozen=True, slots=True)
class Demand:
    """What the rule of a method asks of its caller.

    Args:
        within: a permission on something in the scope is enough.
    """

    permission: str
    scope: str
    within: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """Who logged in, and until when.

    Args:
        expire_time: in microseconds.
        token_uid: of the token of the registry, or empty.
        issuer: URL of the identity provider that vouched for them, or empty.
        groups: that the provider said they are in.
        makers: see `Rights`.
    """

    principal: str
    expire_time: int
    token_uid: str = ""
    issuer: str = ""
    groups: tuple[str, ...] = ()
    makers: frozenset[str] = _NOTHING


@dataclass(frozen=True, slots=True)
class Moved:
    """Tell listeners that who may do what was changed by the event *sequence*; before it was *previous*."""

    sequence: int
    previous: int


class AccessMoved(Exception):
    """Access changed while a transaction ran; it must run again."""


def allows(caller: Caller, permission: str, scope: str) -> bool:
    """Return whether *caller* has a permission on the scope of this text."""
    rights = caller.rights
    if rights is None:
        return True
    held = rights.permissions
    return any(permission in held.get(each, _NOTHING) for each in scopes.covering(scopes.key_of(scope)))


def allows_within(caller: Caller, permission: str, scope: str) -> bool:
    """Return whether *caller* has a permission on a scope, or on something in it."""
    if caller.rights is None or allows(caller, permission, scope):
        return True
    outer = scopes.key_of(scope)
    held = caller.rights.permissions.items()
    return any(permission in given and scopes.is_within(key, outer=outer) for key, given in held)


def namespaces_of(caller: Caller, permission: str) -> list[str] | None:
    """Return the namespaces in which *caller* has a permission on anything; None for all."""
    if caller.rights is None or allows(caller, permission, scopes.REGISTRY):
        return None
    given = (key for key, held in caller.rights.permissions.items() if permission in held)
    return sorted({key.partition("/")[0] for key in given if not key.startswith(scopes.ENVIRONMENT)})


def environments_of(caller: Caller, permission: str) -> list[str] | None:
    """Return the names of the environments on which *caller* has a permission; None for all."""
    if caller.rights is None or allows(caller, permission, scopes.REGISTRY):
        return None
    given = (key for key, held in caller.rights.permissions.items() if permission in held)
    return sorted(key.removeprefix(scopes.ENVIRONMENT) for key in given if key.startswith(scopes.ENVIRONMENT))


def models_of(caller: Caller, permission: str, *, namespace: str) -> tuple[str, ...] | None:
    """Return the folded names of the models of *namespace* on which a permission holds; None for all."""
    if caller.rights is None or allows(caller, permission, namespace):
        return None
    given = (key for key, held in caller.rights.permissions.items() if permission in held)
    inside = (key.partition("/") for key in given)
    return tuple(sorted(name for space, slash, name in inside if slash and space == namespace))


def require(caller: Caller, permission: str, scope: str) -> None:
    """Demand a permission on a scope.

    Raises:
        PermissionMissing: *caller* does not have it.
    """
    if not allows(caller, permission, scope):
        raise _missing(caller, permission, scope)


def meet(caller: Caller, demand: Demand) -> None:
    """Demand what the rule of a method asks.

    Raises:
        PermissionMissing: *caller* does not have it.
    """
    check = allows_within if demand.within else allows
    if not check(caller, demand.permission, demand.scope):
        raise _missing(caller, demand.permission, demand.scope)


def log_in(tx: Transaction, *, uid: str, digest: str) -> Caller:
    """Return who has the token of this uid, with their rights.

    Args:
        digest: of the whole text of the token.

    Raises:
        TokenUnknown: there is none, or its text is another.
        TokenRevoked, TokenExpired: it is not good any more.
    """
    row = tx.one(_TOKEN, uid=uid)
    known: str = _NO_DIGEST if row is None else row.digest
    if not hmac.compare_digest(known, digest) or row is None:
        raise TokenUnknown("The registry knows no such token; check that it is of this registry.")
    return entered(tx, _login(tx, row))


def entered(tx: Transaction, login: Login) -> Caller:
    """Return who logged in, with their rights.

    Raises:
        TokenExpired: the login is over.
    """
    require_unexpired(login.token_uid, expire_time=login.expire_time)
    members = (each.name for each in tx.all(_GROUPS, principal=login.principal))
    groups = tuple(sorted({*members, *login.groups}))
    permissions = _permissions(tx, _subjects(login.principal, groups))
    return Caller(
        login.principal,
        kind="service" if login.principal.startswith("service:") else "person",
        authenticated=True,
        method="oidc" if login.issuer else "token",
        token_uid=login.token_uid,
        issuer=login.issuer,
        groups=groups,
        rights=Rights(
            sequence(tx),
            expire_time=login.expire_time,
            permissions=permissions,
            claimed_groups=login.groups,
            makers=login.makers,
        ),
    )


def known(tx: Transaction, principal: str, *, groups: Sequence[str]) -> Caller:
    """Return somebody who need not be calling, with the rights that they have now.

    Args:
        groups: that an identity provider said they are in.
    """
    return entered(tx, Login(principal, expire_time=names.INT64_MAXIMUM, groups=tuple(groups)))


def renewed(tx: Transaction, caller: Caller, *, demand: Demand | None) -> Caller:
    """Return *caller* with rights that hold in this transaction, which still meet *demand*.

    Raises:
        PermissionMissing, TokenRevoked, TokenExpired: they do not any more.
    """
    if caller.rights is None or caller.rights.sequence == sequence(tx):
        return caller
    return current(tx, caller, demand=demand)


def current(tx: Transaction, caller: Caller, *, demand: Demand | None) -> Caller:
    """Read the rights of a caller who logged in anew, and demand of them what the call needs.

    Raises:
        PermissionMissing, TokenRevoked, TokenExpired: they do not have them any more.
    """
    found = entered(tx, _again(tx, caller))
    if demand is not None:
        meet(found, demand)
    return found


def confirm(tx: Transaction, act: Act) -> None:
    """Demand at its end that a transaction saw the last change of access that was committed before it.

    SQLite has one writer, so nothing can come between. On PostgreSQL a change may have been committed
    before this transaction locked the head, and after it read the rights.

    Raises:
        AccessMoved: one was.
    """
    if act.caller.rights is None or tx.dialect == "sqlite":
        return
    own = next((fact.previous for fact in tx.facts if isinstance(fact, Moved)), None)
    if act.caller.rights.sequence != (sequence(tx) if own is None else own):
        raise AccessMoved


def sequence(tx: Transaction) -> int:
    """Return the sequence of the last change of access."""
    row = tx.one(_SEQUENCE)
    return 0 if row is None else int(row.access_sequence)


def move(tx: Transaction, at: Stamp) -> None:
    """Note that the event of this transaction changes who may do what."""
    tx.after_commit(Moved(at.sequence, previous=sequence(tx)))
    tx.run(_MOVE, {"new": at.sequence})


def grants_of(tx: Transaction, caller: Caller) -> list[Row]:
    """Return the grants of a caller and of their groups, the oldest first."""
    return tx.all(_GRANTS, subjects=_subjects(caller.id, caller.groups))


def _again(tx: Transaction, caller: Caller) -> Login:
    """Return the login of a caller as it is now; a provider is not asked, for its logins only end."""
    if caller.issuer and caller.rights is not None:
        rights = caller.rights
        return Login(
            caller.id,
            expire_time=rights.expire_time,
            issuer=caller.issuer,
            groups=rights.claimed_groups,
        )
    row = tx.one(_TOKEN, uid=caller.token_uid)
    if row is None:
        raise TokenUnknown("The registry knows this token no longer.")
    return _login(tx, row)


def _login(tx: Transaction, row: Row) -> Login:
    if row.revoke_time is not None:
        revoke_time = events.time_text(row.revoke_time)
        message = f"The token {row.uid} was revoked at {revoke_time}; log in with another one."
        raise TokenRevoked(message, token=row.uid, revoke_time=revoke_time)
    makers = _makers(tx, row) - {row.principal}
    return Login(row.principal, expire_time=row.expire_time, token_uid=row.uid, makers=makers)


def _makers(tx: Transaction, row: Row | None) -> frozenset[str]:
    """Return who made a token, the token that it was made with, and so on.

    Who has a token can make others with it, so that one which somebody made for themselves is not theirs
    alone when the first of them was made by another. Names that nobody verified are passed over.
    """
    found: set[str] = set()
    for _ in range(_LINKS):
        creator = orjson.loads(row.creator) if row is not None else {}
        if not creator.get("authenticated"):
            return frozenset(found)
        found.add(creator["id"])
        row = tx.one(_TOKEN, uid=creator.get("token_uid", ""))
    return frozenset(found) | {UNTRACED}


def require_unexpired(uid: str, *, expire_time: int) -> None:
    """Demand that the time of a token is not over.

    Raises:
        TokenExpired: it is.
    """
    if expire_time <= time.time_ns() // 1000:
        when = events.time_text(expire_time)
        what = f"The token {uid} expired at {when}; log in with another one."
        message = what if uid else f"This login ended at {when}; log in again."
        raise TokenExpired(message, token=uid, expire_time=when)


def _subjects(principal: str, groups: Iterable[str]) -> list[str]:
    return [principal, *(f"{names.GROUP}{group}" for group in groups)]


def _permissions(tx: Transaction, subjects: list[str]) -> dict[str, frozenset[str]]:
    held: dict[str, frozenset[str]] = {}
    given = [(row.scope_key, row.role) for row in tx.all(_GRANTS, subjects=subjects)]
    given += [(f"{row.namespace}/{row.name_key}", row.role) for row in tx.all(_NAMES, subjects=subjects)]
    for key, role in given:
        held[key] = held.get(key, _NOTHING) | roles.ROLES.get(role, _NOTHING)
    return held


def _missing(caller: Caller, permission: str, scope: str) -> PermissionMissing:
    where = names.quoted(scope) if scope else "the registry"
    wanted = roles.allowing(permission)
    message = (
        f"{caller.id} may not do this: it needs the permission {permission} on {where}, which these roles "
        f"give: {', '.join(wanted)}. Ask an admin for one."
    )
    return PermissionMissing(message, permission=permission, scope=scope, roles=" ".join(wanted))
