"""Namespaces: a team's space and a wall between tenants."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson
from sqlalchemy import bindparam, delete, func, select, update

from steelyard_server.core import masks, names, pages
from steelyard_server.db import tables
from steelyard_server.db.statements import insert_generated
from steelyard_server.errors import NamespaceAlreadyExists, NamespaceNotEmpty, NamespaceNotFound, ReservedName
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change, Scope, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.canonical import Json

MUTABLE = ("description", "labels")
IMMUTABLE = ("name",)

_T = tables.namespaces.c
_BY_NAME = select(tables.namespaces).where(_T.name == bindparam("name"))
_LOCKED = _BY_NAME.with_for_update()
_PAGE = (
    select(tables.namespaces)
    .where(_T.name > bindparam("after_name"))
    .order_by(_T.name)
    .limit(bindparam("limit"))
)
_INSERT = insert_generated(tables.namespaces)
_UPDATE = (
    update(tables.namespaces)
    .where(_T.id == bindparam("namespace"))
    .values({name: bindparam(name) for name in ("description", "labels", "update_time", "sequence")})
)
_DELETE = delete(tables.namespaces).where(_T.id == bindparam("namespace"))
_DELETE_HOLDINGS = delete(tables.holdings).where(tables.holdings.c.namespace_id == bindparam("namespace"))
_COUNT_MODELS = (
    select(func.count().label("models"))
    .select_from(tables.models)
    .where(tables.models.c.namespace_id == bindparam("namespace"), tables.models.c.purge_time.is_(None))
)
# What is left of purged models: their names, which end with the namespace.
_DELETE_NAMES = delete(tables.model_names).where(tables.model_names.c.namespace_id == bindparam("namespace"))
_DELETE_MODELS = delete(tables.models).where(tables.models.c.namespace_id == bindparam("namespace"))


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


def create(
    tx: Transaction, act: Act, *, name: str, description: str = "", labels: Mapping[str, str] | None = None
) -> Namespace:
    """Create a namespace.

    Raises:
        NamespaceAlreadyExists: the name is taken.
    """
    names.namespace(name, field="name")
    names.description(description)
    checked = names.labels(labels or {})
    if tx.one(_BY_NAME, name=name) is not None:
        message = f"The namespace {name} exists already; use it, or choose another name."
        raise NamespaceAlreadyExists(message, namespace=name)
    at = events.stamp(tx)
    namespace = Namespace(0, str(uuid.uuid4()), name, description, checked, at.time, at.time, at.sequence)
    tx.one(_INSERT, **_row(namespace))
    events.append(tx, act, at, action="namespace.create", changes=[_change(namespace, previous=0)])
    return namespace


def get(tx: Transaction, *, name: str) -> Namespace:
    """Return the namespace called *name*.

    Raises:
        NamespaceNotFound: there is none.
    """
    names.namespace(name, field="name")
    return _found(tx.one(_BY_NAME, name=name), name=name)


def page(tx: Transaction, *, after_name: str = "", page_size: int = 0) -> tuple[list[Namespace], bool]:
    """Return the namespaces whose names follow *after_name*, and whether more follow."""
    rows, more = pages.take(
        tx,
        _PAGE,
        after={"after_name": after_name},
        key=lambda row: {"after_name": row.name},
        size_bytes=lambda row: pages.utf8_bytes(row.description, row.labels) + 256,
        rows_maximum=pages.page_size(page_size),
        values={},
    )
    return [_value(row) for row in rows], more


def modify(
    tx: Transaction,
    act: Act,
    *,
    name: str,
    description: str,
    labels: Mapping[str, str],
    mask: tuple[str, ...] | None,
    etag: str = "",
) -> Namespace:
    """Change description or labels, as far as *mask* names them.

    Raises:
        NamespaceNotFound: there is none of this name.
        EtagMismatch: it changed since *etag* was given out.
    """
    names.namespace(name, field="namespace.name")
    given = {
        "description": names.description(description, field="namespace.description"),
        "labels": names.labels(labels, field="namespace.labels"),
    }
    wanted = masks.chosen(given, mask, mutable=MUTABLE, immutable=IMMUTABLE)
    before = _found(tx.one(_LOCKED, name=name), name=name)
    masks.check_etag(etag, before.sequence)
    at = events.stamp(tx)
    after = replace(before, **wanted, update_time=at.time, sequence=at.sequence)
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
        message = f"The namespace {name} still has {counted.models} models; delete and purge them first."
        raise NamespaceNotEmpty(message, namespace=name, models=counted.models)
    at = events.stamp(tx)
    for statement in (_DELETE_HOLDINGS, _DELETE_NAMES, _DELETE_MODELS, _DELETE):
        tx.run(statement, {"namespace": before.id})
    change = Change(f"namespace/{name}", before.uid, before.sequence, after=None, scope=Scope(before.uid))
    return events.append(tx, act, at, action="namespace.delete", changes=[change])


def ensure_default(tx: Transaction, act: Act) -> None:
    """Create the namespace `default` in a registry that was never used."""
    if events.seen(tx) == 0:
        create(tx, act, name=names.DEFAULT_NAMESPACE)


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
    )


def _row(namespace: Namespace) -> dict[str, object]:
    return {
        "uid": namespace.uid,
        "name": namespace.name,
        "description": namespace.description,
        "labels": canonical.text(namespace.labels),
        "create_time": namespace.create_time,
        "update_time": namespace.update_time,
        "sequence": namespace.sequence,
    }


def _change(namespace: Namespace, *, previous: int) -> Change:
    after: dict[str, Json | Text] = {
        "name": namespace.name,
        "description": Text(namespace.description),
        "labels": namespace.labels,
        "create_time": events.time_text(namespace.create_time),
        "update_time": events.time_text(namespace.update_time),
    }
    name = f"namespace/{namespace.name}"
    return Change(name, namespace.uid, previous, after, Scope(namespace.uid))
