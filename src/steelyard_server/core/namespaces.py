"""Namespaces: a team's space and a wall between tenants."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import orjson
from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from steelyard_server.core import access, grants, masks, names, pages, quotas, roles, stage_usage, stages
from steelyard_server.core.quotas import Quota, Usage
from steelyard_server.core.retention import KEEP_ALL, Retention
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of, insert_generated
from steelyard_server.errors import NamespaceAlreadyExists, NamespaceNotEmpty, NamespaceNotFound, ReservedName
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change, Scope, Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.caller import Caller
    from steelyard_server.history.canonical import Json

# Fields of a field that can be named one by one.
PARTS = {
    "quota": ("quota.size_bytes", "quota.versions_count"),
    "retention": tuple(f"retention.{name}" for name in Retention.__slots__),
}
MUTABLE = ("description", "labels", "stages", *PARTS["quota"], *PARTS["retention"])
IMMUTABLE = ("name",)

_T, _U = tables.namespaces.c, tables.namespace_usages.c
_ALL = select(
    tables.namespaces, _U.size_bytes.label("used_bytes"), _U.versions_count.label("used_versions")
).join(tables.namespace_usages, _U.namespace_id == _T.id)
_BY_NAME = _ALL.where(_T.name == bindparam("name"))
_LOCKED = _BY_NAME.with_for_update(of=tables.namespaces)
_PAGE = _ALL.where(_T.name > bindparam("after_name")).order_by(_T.name).limit(bindparam("limit"))
_PAGE_AMONG = _PAGE.where(any_of(_T.name, "among"))
_RULED = (
    _ALL.where(
        _T.name > bindparam("after_name"),
        or_(*(tables.namespaces.c[f"retention_{name}"] > 0 for name in Retention.__slots__)),
    )
    .order_by(_T.name)
    .limit(1)
)
_INSERT = insert_generated(tables.namespaces)
_INSERT_USAGE = insert(tables.namespace_usages)
_CHANGING = (
    *("description", "labels", "quota_size_bytes", "quota_versions_count"),
    *(f"retention_{name}" for name in Retention.__slots__),
    *("stages", "update_time", "sequence"),
)
_UPDATE = (
    update(tables.namespaces)
    .where(_T.id == bindparam("namespace"))
    .values({name: bindparam(name) for name in _CHANGING})
)
_DELETE = delete(tables.namespaces).where(_T.id == bindparam("namespace"))
_DELETE_USAGE = delete(tables.namespace_usages).where(_U.namespace_id == bindparam("namespace"))
_DELETE_HOLDINGS = delete(tables.holdings).where(tables.holdings.c.namespace_id == bindparam("namespace"))
_COUNT_MODELS = (
    select(func.count().label("models"))
    .select_from(tables.models)
    .where(tables.models.c.namespace_id == bindparam("namespace"), tables.models.c.purge_time.is_(None))
)
# What is left of purged models: their names, which end with the namespace.
_DELETE_NAMES = delete(tables.model_names).where(tables.model_names.c.namespace_id == bindparam("namespace"))
_DELETE_POLICIES = delete(tables.policies).where(tables.policies.c.namespace_id == bindparam("namespace"))
_DELETE_PROMOTIONS = delete(tables.promotions).where(
    tables.promotions.c.namespace_id == bindparam("namespace")
)
_DELETE_MODELS = delete(tables.models).where(tables.models.c.namespace_id == bindparam("namespace"))

_DELETE_ALL = (
    *(_DELETE_HOLDINGS, _DELETE_USAGE, _DELETE_PROMOTIONS, _DELETE_POLICIES),
    *(_DELETE_NAMES, _DELETE_MODELS, _DELETE),
)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace as it stands; times are microseconds, `id` is the key of its row."""

    id: int
    uid: str
    name: str
    description: str
    labels: Mapping[str, str]
    create_time: int
    update_time: int
    sequence: int
    quota: Quota
    retention: Retention
    stages: Sequence[str]
    usage: Usage = quotas.NOTHING


@dataclass(frozen=True, slots=True)
class Draft:
    """What a caller says of a namespace, unchecked."""

    description: str = ""
    labels: Mapping[str, str] | None = None
    quota: Quota = quotas.ANY_AMOUNT
    retention: Retention = KEEP_ALL
    stages: Sequence[str] = ()

    def check(self, *, prefix: str = "") -> dict[str, Any]:
        """Return the checked values by name; *prefix* leads to them in the request."""
        return {
            "description": names.description(self.description, field=f"{prefix}description"),
            "labels": names.labels(self.labels or {}, field=f"{prefix}labels"),
            "quota": self.quota.check(field=f"{prefix}quota"),
            "retention": self.retention.check(field=f"{prefix}retention"),
            "stages": stages.check(self.stages, field=f"{prefix}stages"),
        }


NOTHING_SAID: Final = Draft()


def create(tx: Transaction, act: Act, *, name: str, draft: Draft = NOTHING_SAID) -> Namespace:
    """Create a namespace.

    Raises:
        NamespaceAlreadyExists: the name is taken.
    """
    names.namespace(name, field="name")
    fields = draft.check()
    if tx.one(_BY_NAME, name=name) is not None:
        message = f"The namespace {name} exists already; use it, or choose another name."
        raise NamespaceAlreadyExists(message, namespace=name)
    at = events.stamp(tx)
    namespace = Namespace(
        id=0,
        uid=str(uuid.uuid4()),
        name=name,
        create_time=at.time,
        update_time=at.time,
        sequence=at.sequence,
        **fields,
    )
    inserted = tx.one(_INSERT, **_row(namespace))
    if inserted is None:
        raise RuntimeError("An insert returned no key.")
    tx.run(_INSERT_USAGE, {"namespace_id": inserted.id, "size_bytes": 0, "versions_count": 0})
    events.append(tx, act, at, action="namespace.create", changes=[_change(namespace, previous=0)])
    return namespace


def get(tx: Transaction, *, name: str) -> Namespace:
    """Return the namespace called *name*.

    Raises:
        NamespaceNotFound: there is none.
    """
    names.namespace(name, field="name")
    return _found(tx.one(_BY_NAME, name=name), name=name)


def page(
    tx: Transaction, *, after_name: str = "", page_size: int = 0, caller: Caller = access.UNLIMITED
) -> tuple[list[Namespace], bool]:
    """Return the namespaces whose names follow *after_name*, and whether more follow.

    Args:
        caller: who gets only those in which they may read anything.
    """
    among = access.namespaces_of(caller, roles.READ)
    rows, more = pages.take(
        tx,
        _PAGE if among is None else _PAGE_AMONG,
        after={"after_name": after_name},
        key=lambda row: {"after_name": row.name},
        size_bytes=lambda row: pages.utf8_bytes(row.description, row.labels) + 256,
        rows_maximum=pages.page_size(page_size),
        values={} if among is None else {"among": among},
    )
    return [_value(row) for row in rows], more


def modify(
    tx: Transaction, act: Act, *, name: str, draft: Draft, mask: tuple[str, ...] | None, etag: str = ""
) -> Namespace:
    """Change what *draft* says, as far as *mask* names it.

    Raises:
        NamespaceNotFound: there is none of this name.
        EtagMismatch: it changed since *etag* was given out.
        StageInUse: a stage that is not listed any more is needed.
    """
    names.namespace(name, field="namespace.name")
    given = draft.check(prefix="namespace.")
    for whole in PARTS:
        given |= masks.parts(whole, given.pop(whole))
    wanted = masks.chosen(given, mask, mutable=MUTABLE, immutable=IMMUTABLE, parts=PARTS)
    before = _found(tx.one(_LOCKED, name=name), name=name)
    masks.check_etag(etag, before.sequence)
    at = events.stamp(tx)
    after = replace(masks.changed(before, wanted), update_time=at.time, sequence=at.sequence)
    stage_usage.require_unused(tx, before=before, after=after)
    tx.run(_UPDATE, _row(after) | {"namespace": after.id})
    events.append(tx, act, at, action="namespace.update", changes=[_change(after, previous=before.sequence)])
    return after


def remove(tx: Transaction, act: Act, *, name: str, etag: str = "") -> int:
    """Delete a namespace without models, purged ones aside, and return the sequence of the event.

    Raises:
        NamespaceNotFound: there is none of this name.
        NamespaceNotEmpty: it has models, deleted ones included.
        ReservedName: it is `default`.
    """
    names.namespace(name, field="name")
    if name == names.DEFAULT_NAMESPACE:
        raise ReservedName(f"The namespace {name} belongs to the server and stays.", field="name", name=name)
    before = _found(tx.one(_LOCKED, name=name), name=name)
    masks.check_etag(etag, before.sequence)
    counted = tx.one(_COUNT_MODELS, namespace=before.id)
    if counted is not None and counted.models:
        left = "1 model" if counted.models == 1 else f"{counted.models} models"
        message = f"The namespace {name} still has {left}; delete and purge what is in it first."
        raise NamespaceNotEmpty(message, namespace=name, models=counted.models)
    at = events.stamp(tx)
    for statement in _DELETE_ALL:
        tx.run(statement, {"namespace": before.id})
    grants.end_namespace(tx, at, namespace=name)
    change = Change(f"namespace/{name}", before.uid, before.sequence, after=None, scope=Scope(before.uid))
    return events.append(tx, act, at, action="namespace.delete", changes=[change])


def ensure_default(tx: Transaction, act: Act) -> None:
    """Create the namespace `default` in a registry that was never used."""
    if events.seen(tx) == 0:
        create(tx, act, name=names.DEFAULT_NAMESPACE)


def next_with_retention(tx: Transaction, *, after_name: str) -> Namespace | None:
    """Return the first namespace behind *after_name* from which anything goes by itself."""
    row = tx.one(_RULED, after_name=after_name)
    return None if row is None else _value(row)


def find(tx: Transaction, *, name: str, lock: bool = False) -> Namespace:
    """Return the namespace called *name*, whose form was checked before.

    With *lock* nobody can delete it until the commit.

    Raises:
        NamespaceNotFound: there is none.
    """
    return _found(tx.one(_LOCKED if lock else _BY_NAME, name=name), name=name)


def find_id(tx: Transaction, *, name: str) -> int:
    """Return the row key of the namespace called *name*, whose form was checked before.

    Raises:
        NamespaceNotFound: there is none.
    """
    return find(tx, name=name).id


def _found(row: Row | None, *, name: str) -> Namespace:
    if row is None:
        message = f"There is no namespace {name}; create it, or correct the name."
        raise NamespaceNotFound(message, namespace=name)
    return _value(row)


def _value(row: Row) -> Namespace:
    return Namespace(
        id=row.id,
        uid=row.uid,
        name=row.name,
        description=row.description,
        labels=orjson.loads(row.labels),
        create_time=row.create_time,
        update_time=row.update_time,
        sequence=row.sequence,
        quota=Quota(row.quota_size_bytes, row.quota_versions_count),
        retention=Retention(
            keep_versions_count=row.retention_keep_versions_count,
            keep_seconds=row.retention_keep_seconds,
            purge_after_seconds=row.retention_purge_after_seconds,
        ),
        stages=orjson.loads(row.stages),
        usage=Usage(row.used_bytes, row.used_versions),
    )


def _row(namespace: Namespace) -> dict[str, object]:
    return {
        "uid": namespace.uid,
        "name": namespace.name,
        "description": namespace.description,
        "labels": canonical.text(namespace.labels),
        "quota_size_bytes": namespace.quota.size_bytes,
        "quota_versions_count": namespace.quota.versions_count,
        **{f"retention_{name}": getattr(namespace.retention, name) for name in Retention.__slots__},
        "stages": canonical.text(namespace.stages),
        "create_time": namespace.create_time,
        "update_time": namespace.update_time,
        "sequence": namespace.sequence,
    }


def _change(namespace: Namespace, *, previous: int) -> Change:
    after: dict[str, Json | Text] = {
        "name": namespace.name,
        "description": Text(namespace.description),
        "labels": namespace.labels,
        "quota": namespace.quota.as_json,
        "retention": namespace.retention.as_json,
        "stages": namespace.stages,
        "create_time": events.time_text(namespace.create_time),
        "update_time": events.time_text(namespace.update_time),
    }
    name = f"namespace/{namespace.name}"
    return Change(name, namespace.uid, previous, after, Scope(namespace.uid))
