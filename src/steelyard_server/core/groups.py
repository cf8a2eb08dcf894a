"""Groups: named sets of principals, to which roles are granted like to one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, insert, select, update

from steelyard_server.core import access, grants, masks, names, pages
from steelyard_server.db import tables
from steelyard_server.db.statements import insert_generated
from steelyard_server.errors import GroupAlreadyExists, GroupNotFound, ReservedName
from steelyard_server.history import events
from steelyard_server.history.events import Change, Scope, Text
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.canonical import Json

MUTABLE, IMMUTABLE = ("description", "members"), ("name",)

_G, _M = tables.groups.c, tables.group_members.c
_BY_NAME = select(tables.groups).where(_G.name == bindparam("name"))
_LOCKED = _BY_NAME.with_for_update()
_MEMBERS = select(_M.principal).where(_M.group_id == bindparam("group")).order_by(_M.principal)
_PAGE = (
    select(tables.groups).where(_G.name > bindparam("after_name")).order_by(_G.name).limit(bindparam("limit"))
)
_INSERT = insert_generated(tables.groups)
_INSERT_MEMBER = insert(tables.group_members)
_UPDATE = (
    update(tables.groups)
    .where(_G.id == bindparam("group"))
    .values(
        description=bindparam("description"),
        update_time=bindparam("update_time"),
        sequence=bindparam("sequence"),
    )
)
_DELETE_MEMBERS = delete(tables.group_members).where(_M.group_id == bindparam("group"))
_DELETE = delete(tables.groups).where(_G.id == bindparam("group"))


@dataclass(frozen=True, slots=True)
class Group:
    """A group as it stands; times are microseconds."""

    id: int
    uid: str
    name: str
    description: str
    members: Sequence[str]
    create_time: int
    update_time: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Draft:
    """What a caller says of a group, unchecked."""

    description: str = ""
    members: Sequence[str] = ()

    def check(self, *, prefix: str = "") -> dict[str, Any]:
        """Return the checked values by name; *prefix* leads to them in the request."""
        field = f"{prefix}members"
        names.at_most(len(self.members), LIMITS.group_members_count, field=field)
        names.distinct(self.members, field=field)
        for index, member in enumerate(self.members):
            names.principal(member, field=f"{field}[{index}]")
        return {
            "description": names.description(self.description, field=f"{prefix}description"),
            "members": sorted(self.members),
        }


def create(tx: Transaction, act: Act, *, name: str, draft: Draft, foreign: tuple[str, ...] = ()) -> Group:
    """Create a group.

    Args:
        foreign: how names of the groups of identity providers begin.

    Raises:
        ReservedName: the name is one of a provider's groups.
        GroupAlreadyExists: the name is taken.
        RoleNotForOneself: it has a role that decides on promotions, and the caller would be in it.
    """
    names.group(name)
    if name.startswith(foreign):
        message = f"{name} is a name of groups of an identity provider, which says who is in them."
        raise ReservedName(f"{message} Choose another.", field="name", name=name)
    fields = draft.check()
    if tx.one(_BY_NAME, name=name) is not None:
        raise GroupAlreadyExists(
            f"The group {name} exists already; use it, or choose another name.", group=name
        )
    at = events.stamp(tx)
    group = Group(
        id=0,
        uid=str(uuid.uuid4()),
        name=name,
        **fields,
        create_time=at.time,
        update_time=at.time,
        sequence=at.sequence,
    )
    _require_others(tx, act, group, before=())
    inserted = tx.one(_INSERT, **_row(group))
    if inserted is None:
        raise RuntimeError("An insert returned no key.")
    _set_members(tx, replace(group, id=inserted.id))
    access.move(tx, at)
    events.append(tx, act, at, action="group.create", changes=[_change(group, previous=0)])
    return group


def modify(
    tx: Transaction, act: Act, *, name: str, draft: Draft, mask: tuple[str, ...] | None, etag: str = ""
) -> Group:
    """Change what *draft* says, as far as *mask* names it.

    Raises:
        GroupNotFound: there is none of this name.
        EtagMismatch: it changed since *etag* was given out.
        RoleNotForOneself: it has a role that decides on promotions, and the caller would come into it.
    """
    names.group(name, field="group.name")
    wanted = masks.chosen(draft.check(prefix="group."), mask, mutable=MUTABLE, immutable=IMMUTABLE)
    before = _found(tx, name)
    masks.check_etag(etag, before.sequence)
    at = events.stamp(tx)
    after = replace(before, **wanted, update_time=at.time, sequence=at.sequence)
    _require_others(tx, act, after, before=before.members)
    tx.run(_UPDATE, _row(after) | {"group": after.id})
    tx.run(_DELETE_MEMBERS, {"group": after.id})
    _set_members(tx, after)
    access.move(tx, at)
    events.append(tx, act, at, action="group.update", changes=[_change(after, previous=before.sequence)])
    return after


def remove(tx: Transaction, act: Act, *, name: str, etag: str = "") -> int:
    """Delete a group with all grants that it has, and return the sequence of the event.

    Raises:
        GroupNotFound: there is none of this name.
        EtagMismatch: it changed since *etag* was given out.
    """
    names.group(name)
    before = _found(tx, name)
    masks.check_etag(etag, before.sequence)
    at = events.stamp(tx)
    for statement in (_DELETE_MEMBERS, _DELETE):
        tx.run(statement, {"group": before.id})
    grants.end_subject(tx, names.GROUP + name)
    access.move(tx, at)
    change = Change(f"group/{name}", before.uid, before.sequence, after=None, scope=Scope())
    return events.append(tx, act, at, action="group.delete", changes=[change])


def page(tx: Transaction, *, after_name: str = "", page_size: int = 0) -> tuple[list[Group], bool]:
    """Return the groups whose names follow *after_name*, and whether more follow."""
    members: dict[int, list[str]] = {}

    def size_bytes(row: Row) -> int:
        members[row.id] = _members(tx, row.id)
        return pages.utf8_bytes(row.description, *members[row.id]) + 4 * len(members[row.id]) + 256

    rows, more = pages.take(
        tx,
        _PAGE,
        after={"after_name": after_name},
        key=lambda row: {"after_name": row.name},
        size_bytes=size_bytes,
        rows_maximum=pages.page_size(page_size),
        values={},
    )
    return [_value(row, members=members[row.id]) for row in rows], more


def _require_others(tx: Transaction, act: Act, group: Group, *, before: Sequence[str]) -> None:
    """Demand that nobody comes to decide on promotions by their own will; whoever is in it may stay."""
    new, subject = set(group.members) - set(before), names.GROUP + group.name
    if new and (role := grants.deciding(tx, subject)):
        grants.require_others(act.caller, role, subject=subject, members=new)


def _found(tx: Transaction, name: str) -> Group:
    """Return the group called *name*, locked until the commit."""
    row = tx.one(_LOCKED, name=name)
    if row is None:
        raise GroupNotFound(f"There is no group {name}; create it, or correct the name.", group=name)
    return _value(row, members=_members(tx, row.id))


def _members(tx: Transaction, key: int) -> list[str]:
    return [row.principal for row in tx.all(_MEMBERS, group=key)]


def _set_members(tx: Transaction, group: Group) -> None:
    tx.run(_INSERT_MEMBER, [{"group_id": group.id, "principal": member} for member in group.members])


def _row(group: Group) -> dict[str, object]:
    return {
        "uid": group.uid,
        "name": group.name,
        "description": group.description,
        "create_time": group.create_time,
        "update_time": group.update_time,
        "sequence": group.sequence,
    }


def _value(row: Row, *, members: Sequence[str]) -> Group:
    return Group(
        id=row.id,
        uid=row.uid,
        name=row.name,
        description=row.description,
        members=members,
        create_time=row.create_time,
        update_time=row.update_time,
        sequence=row.sequence,
    )


def _change(group: Group, *, previous: int) -> Change:
    after: dict[str, Json | Text] = {
        "name": group.name,
        "description": Text(group.description),
        "members": list(group.members),
        "create_time": events.time_text(group.create_time),
        "update_time": events.time_text(group.update_time),
    }
    return Change(f"group/{group.name}", group.uid, previous, after, Scope())
