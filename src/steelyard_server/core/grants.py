"""Grants: roles of subjects in scopes. They bind to names, and end with what they are on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import bindparam, delete, func, or_, select, true, update

from steelyard_server.core import access, names, pages, roles, scopes
from steelyard_server.db import tables
from steelyard_server.db.statements import insert_generated
from steelyard_server.errors import EnumInvalid, GrantNotFound, LimitExceeded, RoleNotForOneself
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change, Text
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from sqlalchemy import ColumnElement, Select

    from steelyard_server.core.scopes import Scope
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.caller import Caller
    from steelyard_server.history.canonical import Json
    from steelyard_server.history.events import Stamp

_GM, _GR = tables.group_members.c, tables.groups.c
_G, _M, _N, _S = tables.grants.c, tables.models.c, tables.model_names.c, tables.namespaces.c
_FIND = select(tables.grants).where(
    _G.subject == bindparam("subject"), _G.role == bindparam("role"), _G.scope_key == bindparam("scope_key")
)
_COUNT = select(func.count().label("grants")).where(_G.subject == bindparam("subject"))
_DECIDING = (
    select(_G.role)
    .where(_G.subject == bindparam("subject"), or_(*(_G.role == role for role in roles.DECIDING)))
    .limit(1)
)
_MEMBERS = (
    select(_GM.principal).join(tables.groups, _GR.id == _GM.group_id).where(_GR.name == bindparam("group"))
)
_INSERT = insert_generated(tables.grants)
_DELETE = delete(tables.grants).where(_G.id == bindparam("grant"))
# The name that a model has now which has or had another.
_PRESENT = (
    select(_M.name)
    .join(tables.model_names, _N.model_id == _M.id)
    .join(tables.namespaces, _S.id == _N.namespace_id)
    .where(_S.name == bindparam("namespace"), _N.name_key == bindparam("key"))
)

_OF_MODEL = (_G.namespace == bindparam("space"), _G.model_key == bindparam("old_key"))
_SAME = tables.grants.alias("same")
# What a subject has on both names of a model already.
_DROP_DOUBLE = delete(tables.grants).where(
    *_OF_MODEL,
    select(_SAME.c.id)
    .where(
        _SAME.c.subject == _G.subject,
        _SAME.c.role == _G.role,
        _SAME.c.scope_key == bindparam("new_scope_key"),
    )
    .exists(),
)
_FOLLOW = (
    update(tables.grants)
    .where(*_OF_MODEL)
    .values(
        scope=bindparam("new_scope"), scope_key=bindparam("new_scope_key"), model_key=bindparam("new_key")
    )
)
_REWRITE = (
    update(tables.grants)
    .where(_G.namespace == bindparam("space"), _G.model_key == bindparam("new_key"))
    .values(scope=bindparam("new_scope"))
)
_END_MODEL = delete(tables.grants).where(*_OF_MODEL)
_END_NAMESPACE = delete(tables.grants).where(_G.namespace == bindparam("space"))
_END_SCOPE = delete(tables.grants).where(_G.scope_key == bindparam("gone"))
_END_SUBJECT = delete(tables.grants).where(_G.subject == bindparam("gone"))


@dataclass(frozen=True, slots=True)
class Grant:
    """A role of a subject in a scope; times are microseconds."""

    id: int
    uid: str
    subject: str
    role: str
    scope: str
    creator: Mapping[str, Any]
    create_time: int
    sequence: int


def grant(tx: Transaction, act: Act, *, subject: str, role: str, scope: str) -> tuple[Grant, bool, int]:
    """Give a role; return the grant, whether it is new, and the sequence of its event or of the last one.

    Raises:
        InvalidArgument: subject, role or scope is of another form.
        LimitExceeded: the subject has too many.
        RoleNotForOneself: it decides on promotions, and the caller would have it.
    """
    _check(subject=subject, role=role)
    found = _find(tx, subject=subject, role=role, scope=present(tx, scope))
    if found is not None:
        return value(found), False, events.seen(tx)
    at = events.stamp(tx)
    _require_room(tx, subject)
    if role in roles.DECIDING:
        require_others(act.caller, role, subject=subject, members=_members(tx, act.caller, subject))
    # Once more, behind the lock of the head: a rename that came first is seen.
    where = present(tx, scope)
    made = Grant(
        id=0,
        uid=str(uuid.uuid4()),
        subject=subject,
        role=role,
        scope=where.text,
        creator=act.caller.as_json(),
        create_time=at.time,
        sequence=at.sequence,
    )
    tx.one(_INSERT, **_row(made, where))
    access.move(tx, at)
    events.append(tx, act, at, action="role.grant", changes=[_change(made)])
    return made, True, at.sequence


def require_others(caller: Caller, role: str, *, subject: str, members: AbstractSet[str]) -> None:
    """Demand that a caller who logged in does not give a role that decides on promotions to themselves.

    Args:
        members: who get it; among them must be nobody who made the token of the caller either.

    Raises:
        RoleNotForOneself: they would have it.
    """
    if caller.rights is None:
        return
    if not members.isdisjoint(caller.rights.makers | {caller.id}):
        who = f"as {caller.id} would by {subject}"
        message = f"Nobody gives themselves the role {role}, {who}; let another admin."
        raise RoleNotForOneself(message, role=role, subject=subject)


def deciding(tx: Transaction, subject: str) -> str:
    """Return a role of a subject that decides on promotions, empty for none."""
    row = tx.one(_DECIDING, subject=subject)
    return "" if row is None else row.role


def revoke(tx: Transaction, act: Act, *, subject: str, role: str, scope: str) -> int:
    """Take a role away and return the sequence of the event.

    Raises:
        GrantNotFound: the subject does not have it on this scope itself.
    """
    _check(subject=subject, role=role)
    row = _find(tx, subject=subject, role=role, scope=present(tx, scope))
    if row is None:
        where = scope or "the registry"
        message = f"{subject} does not have the role {role} on {where} itself; list the grants."
        raise GrantNotFound(message, subject=subject, role=role, scope=scope)
    at = events.stamp(tx)
    tx.run(_DELETE, {"grant": row.id})
    access.move(tx, at)
    gone = Change(f"grant/{row.uid}", row.uid, row.sequence, after=None, scope=events.Scope())
    return events.append(tx, act, at, action="role.revoke", changes=[gone])


def page(
    tx: Transaction, *, scope: str = "", subject: str = "", after: int = 0, page_size: int = 0
) -> tuple[list[Grant], bool]:
    """Return the grants on a scope and on what is in it, and whether more follow."""
    kind, values = _inside(present(tx, scope))
    if subject:
        values |= {"subject": names.subject(subject)}
    rows, more = pages.take(
        tx,
        _PAGES[kind, bool(subject)],
        after={"after": after},
        key=lambda row: {"after": row.id},
        size_bytes=lambda row: pages.utf8_bytes(row.scope, row.subject, row.creator) + 256,
        rows_maximum=pages.page_size(page_size),
        values=values,
    )
    return [value(row) for row in rows], more


def present(tx: Transaction, text: str) -> Scope:
    """Check a scope; one that is a model by a former name is returned by its present name.

    Raises:
        InvalidArgument: it is of another form.
    """
    scope = scopes.parse(text)
    row = tx.one(_PRESENT, namespace=scope.namespace, key=scope.model_key) if scope.model_key else None
    return scope if row is None else scopes.parse(f"{scope.namespace}/{row.name}")


def follow(tx: Transaction, at: Stamp, *, old: str, new: str) -> None:
    """Let grants on the model *old* be on its new name; the event of the rename says so.

    What was granted on the new name before holds for the model too.
    """
    before, after = scopes.parse(old), scopes.parse(new)
    bound = {"space": before.namespace, "old_key": before.model_key, "new_scope_key": after.key}
    moved = 0
    if before.key != after.key:
        moved += tx.run(_DROP_DOUBLE, bound)
        moved += tx.run(_FOLLOW, bound | {"new_key": after.model_key, "new_scope": after.text})
    rewritten = {"space": after.namespace, "new_key": after.model_key, "new_scope": after.text}
    if tx.run(_REWRITE, rewritten) + moved:
        access.move(tx, at)


def end_model(tx: Transaction, at: Stamp, *, model: str) -> None:
    """End the grants on a model that is purged; its event says so."""
    where = scopes.parse(model)
    if tx.run(_END_MODEL, {"space": where.namespace, "old_key": where.model_key}):
        access.move(tx, at)


def end_namespace(tx: Transaction, at: Stamp, *, namespace: str) -> None:
    """End the grants in a namespace that is deleted: the next of its name may be another team's."""
    if tx.run(_END_NAMESPACE, {"space": namespace}):
        access.move(tx, at)


def end_environment(tx: Transaction, at: Stamp, *, environment: str) -> None:
    """End the grants on an environment that is deleted: the next of its name may be for something else."""
    if tx.run(_END_SCOPE, {"gone": scopes.of_environment(environment)}):
        access.move(tx, at)


def end_subject(tx: Transaction, subject: str) -> None:
    """End the grants of a group that is deleted; whoever deletes it notes that access changed."""
    tx.run(_END_SUBJECT, {"gone": subject})


def _check(*, subject: str, role: str) -> None:
    names.subject(subject)
    if role not in roles.ROLES:
        raise EnumInvalid(
            f"{names.quoted(role)} is no role; use one of {', '.join(roles.ROLES)}.", field="role"
        )


def _members(tx: Transaction, caller: Caller, subject: str) -> set[str]:
    """Return who gets what a subject gets, as far as it is known; *caller* by groups of a provider too."""
    group = subject.removeprefix(names.GROUP)
    claimed = {caller.id} if group in caller.groups else set()
    return claimed | {subject} | {row.principal for row in tx.all(_MEMBERS, group=group)}


def _find(tx: Transaction, *, subject: str, role: str, scope: Scope) -> Row | None:
    return tx.one(_FIND, subject=subject, role=role, scope_key=scope.key)


def _require_room(tx: Transaction, subject: str) -> None:
    counted = tx.one(_COUNT, subject=subject)
    if counted is not None and counted.grants >= LIMITS.grants_count:
        message = f"{subject} has {counted.grants} grants; grant wider roles, or roles to a group."
        raise LimitExceeded(message, field="subject", limit=LIMITS.grants_count, actual=counted.grants + 1)


def _page_of(*inside: ColumnElement[bool]) -> Select[Any]:
    return (
        select(tables.grants)
        .where(*inside, _G.id > bindparam("after"))
        .order_by(_G.id)
        .limit(bindparam("limit"))
    )


_OF_SUBJECT = _G.subject == bindparam("subject")
_INSIDE: dict[str, ColumnElement[bool]] = {
    "registry": true(),
    "namespace": _G.namespace == bindparam("scope"),
    # A model or an environment, in which there is nothing else.
    "other": _G.scope_key == bindparam("scope"),
}
_PAGES = {
    (kind, of_subject): _page_of(inside, _OF_SUBJECT) if of_subject else _page_of(inside)
    for kind, inside in _INSIDE.items()
    for of_subject in (False, True)
}


def _inside(scope: Scope) -> tuple[str, dict[str, str]]:
    """Return which statement finds what is on a scope and in it, and its binds."""
    if scope.key == scopes.REGISTRY:
        return "registry", {}
    return ("namespace" if scope.key == scope.namespace else "other"), {"scope": scope.key}


def _row(made: Grant, where: Scope) -> dict[str, object]:
    return {
        "uid": made.uid,
        "subject": made.subject,
        "role": made.role,
        "scope": where.text,
        "scope_key": where.key,
        "namespace": where.namespace,
        "model_key": where.model_key,
        "create_time": made.create_time,
        "creator": canonical.text(made.creator),
        "sequence": made.sequence,
    }


def value(row: Row) -> Grant:
    """Return the grant of a row."""
    return Grant(
        id=row.id,
        uid=row.uid,
        subject=row.subject,
        role=row.role,
        scope=row.scope,
        creator=orjson.loads(row.creator),
        create_time=row.create_time,
        sequence=row.sequence,
    )


def _change(made: Grant) -> Change:
    after: dict[str, Json | Text] = {
        "subject": made.subject,
        "role": made.role,
        "scope": made.scope,
        "creator": made.creator,
        "create_time": events.time_text(made.create_time),
    }
    return Change(f"grant/{made.uid}", made.uid, 0, after, events.Scope())
