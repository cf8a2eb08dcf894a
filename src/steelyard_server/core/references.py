"""References: finding the version that a number, alias, digest or semantic version means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Select, Table, bindparam, exists, or_, select

from steelyard_server.core import access, models, names, namespaces, roles
from steelyard_server.core.filters.scope import VersionScope
from steelyard_server.db import tables
from steelyard_server.errors import (
    AliasNotFound,
    NotDeleted,
    ResourceMismatch,
    VersionDeleted,
    VersionNotFound,
)
from steelyard_server.history import events

if TYPE_CHECKING:
    from steelyard_server.core.models import Model
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.caller import Caller

Kind = Literal["number", "alias", "digest", "semantic_version"]

_V, _A, _MV, _U = tables.versions.c, tables.aliases.c, tables.alias_moves.c, tables.undeletions.c
_VERSION = select(tables.versions).where(_V.model_id == bindparam("model"))
_BY: dict[Kind, Select[Any]] = {
    "number": _VERSION.where(_V.number == bindparam("value")),
    "digest": _VERSION.where(_V.digest == bindparam("value")),
    "semantic_version": _VERSION.where(_V.semantic_version == bindparam("value")),
    "alias": (
        select(tables.versions)
        .join(tables.aliases, (_A.model_id == _V.model_id) & (_A.number == _V.number))
        .where(_A.model_id == bindparam("model"), _A.name == bindparam("value"))
    ),
}
_MOVE_BEFORE = (
    select(_MV.to_number)
    .where(
        _MV.model_id == bindparam("model"),
        _MV.name == bindparam("value"),
        _MV.move_time <= bindparam("read_time"),
    )
    .order_by(_MV.sequence.desc())
    .limit(1)
)
_PURGED = select(tables.tombstones.c.purge_time).where(
    tables.tombstones.c.model_id == bindparam("model"), tables.tombstones.c.number == bindparam("number")
)


def _newest_at(table: Table) -> Select[Any]:
    """Select the newest of versions or tombstones that was there and not deleted at a moment."""
    column = table.c
    undone_since = exists().where(
        _U.model_id == column.model_id,
        _U.number == column.number,
        _U.delete_time <= bindparam("read_time"),
        _U.undelete_time > bindparam("read_time"),
    )
    return (
        select(column.number, column.digest, column.create_time)
        .where(
            column.model_id == bindparam("model"),
            column.create_time <= bindparam("read_time"),
            or_(column.delete_time.is_(None), column.delete_time > bindparam("read_time")),
            ~undone_since,
        )
        .order_by(column.number.desc())
        .limit(1)
    )


_NEWEST_AT = (_newest_at(tables.versions), _newest_at(tables.tombstones))


@dataclass(frozen=True, slots=True)
class Reference:
    """Which version of which model.

    Args:
        model: `namespace/model`.
        kind: what *value* is.
        value: number, alias, digest or semantic version.
        field: path of the request field, for errors.
    """

    model: str
    kind: Kind
    value: str | int
    field: str = "version"


def resolve(
    tx: Transaction,
    reference: Reference,
    *,
    read_time: int | None = None,
    lock: bool = False,
    model: Model | None = None,
) -> tuple[Model, Row]:
    """Return the model and the row of the version that *reference* means.

    Args:
        read_time: resolve an alias as it was then, in microseconds.
        lock: keep others from changing the model until the commit.
        model: that of *reference*, when this transaction has found it already.

    Raises:
        ModelNotFound, ModelDeleted: no such model.
        AliasNotFound: the model has no such alias, or had none at *read_time*.
        VersionNotFound: the model has no such version, or it was purged.
        VersionDeleted: it is deleted.
    """
    model, row = _located(tx, reference, read_time=read_time, lock=lock, model=model)
    if row.delete_time is not None:
        delete_time = events.time_text(row.delete_time)
        message = f"{model.text}:{row.number} was deleted at {delete_time}; restore it to use it again."
        raise VersionDeleted(message, model=model.text, number=row.number, delete_time=delete_time)
    return model, row


def resolve_deleted(tx: Transaction, reference: Reference) -> tuple[Model, Row]:
    """Return the model, locked until the commit, and the row of the deleted version that *reference* means.

    Raises:
        ModelNotFound, ModelDeleted: no such model.
        AliasNotFound, VersionNotFound: the model has no such version, or it was purged.
        NotDeleted: it is not deleted.
    """
    model, row = _located(tx, reference, lock=True)
    if row.delete_time is None:
        message = f"{model.text}:{row.number} is not deleted; only what is deleted can be restored or purged."
        raise NotDeleted(message, model=model.text, number=row.number)
    return model, row


def find_live(tx: Transaction, *, model: Model, number: int) -> Row | None:
    """Return the row of version *number*; None when it is deleted or purged."""
    row = tx.one(_BY["number"], model=model.id, value=number)
    return row if row is not None and row.delete_time is None else None


def newest_at(tx: Transaction, *, model: Model, read_time: int) -> Row | None:
    """Return number, digest and create_time of what `latest` meant at a moment; None for nothing."""
    rows = [tx.one(statement, model=model.id, read_time=read_time) for statement in _NEWEST_AT]
    return max((row for row in rows if row is not None), key=lambda row: row.number, default=None)


def scope(tx: Transaction, model: str, *, show_deleted: bool, caller: Caller) -> VersionScope:
    """Return the versions of a model, or of all models of a namespace that the caller may read.

    Args:
        model: `namespace/model`, or `namespace/-`.

    Raises:
        NamespaceNotFound, ModelNotFound, ModelDeleted: no such namespace or model.
    """
    space, _, short = model.partition("/")
    if short != names.ALL_MODELS:
        parent = models.find(tx, name=model)
        return VersionScope(parent.namespace_id, parent.id, show_deleted=show_deleted)
    names.namespace(space, field="model")
    readable = access.models_of(caller, roles.READ, namespace=space)
    key = namespaces.find_id(tx, name=space)
    return VersionScope(key, show_deleted=show_deleted, readable=readable)


def require_namespace(reference: Reference, *, namespace: str) -> None:
    """Demand that *reference* names a model of *namespace*.

    Raises:
        ResourceMismatch: it leads out of it.
    """
    field = f"{reference.field}.model"
    if names.model(reference.model, field=field)[0] != namespace:
        message = f"{names.quoted(reference.model)} is not in the namespace {namespace}."
        raise ResourceMismatch(message, field=field)


def _located(
    tx: Transaction,
    reference: Reference,
    *,
    read_time: int | None = None,
    lock: bool = False,
    model: Model | None = None,
) -> tuple[Model, Row]:
    kind, value = reference.kind, _checked(reference)
    model = model or models.find(tx, name=reference.model, field=f"{reference.field}.model", lock=lock)
    if kind == "alias" and read_time is not None:
        kind, value = "number", _number_at(tx, reference, model=model, read_time=read_time)
    elif kind == "alias" and value == names.LATEST:
        kind, value = "number", model.latest_number
    row = tx.one(_BY[kind], model=model.id, value=value)
    if row is None:
        raise not_found(tx, reference, model=model, number=value if kind == "number" else 0)
    return model, row


def _checked(reference: Reference) -> str | int:
    field, value = f"{reference.field}.{reference.kind}", reference.value
    if isinstance(value, int):
        return names.number(value, field=field, minimum=1)
    if reference.kind == "digest":
        return names.digest(value, field=field)
    if reference.kind == "semantic_version":
        return names.semantic_version(value, field=field)
    return value if value == names.LATEST else names.alias(value, field=field)


def _number_at(tx: Transaction, reference: Reference, *, model: Model, read_time: int) -> int:
    """Return the number of the version that an alias pointed to at a moment."""
    if reference.value == names.LATEST:
        newest = newest_at(tx, model=model, read_time=read_time)
        return newest.number if newest else 0
    move = tx.one(_MOVE_BEFORE, model=model.id, value=reference.value, read_time=read_time)
    if move is None or move.to_number is None:
        raise not_found(tx, reference, model=model)
    number: int = move.to_number
    return number


def not_found(
    tx: Transaction, reference: Reference, *, model: Model, number: str | int = 0
) -> AliasNotFound | VersionNotFound:
    """Return what to say when nothing is found; *number* is that of the version that was looked for, or 0."""
    purged = tx.one(_PURGED, model=model.id, number=number) if number else None
    if purged is not None:
        purge_time = events.time_text(purged.purge_time)
        message = f"{model.text}:{number} was purged at {purge_time}; its number is never used again."
        return VersionNotFound(message, model=model.text, version=number, purge_time=purge_time)
    if reference.kind == "alias" and reference.value != names.LATEST:
        message = f"{model.text} has no alias {reference.value}; list its aliases."
        return AliasNotFound(message, model=model.text, alias=reference.value)
    if model.last_number == 0:
        message = f"{model.text} has no versions yet; create one first."
    elif model.latest_number == 0:
        message = f"{model.text} has no version {reference.value}: all of its versions are deleted or purged."
    else:
        message = f"{model.text} has no version {reference.value}; its newest is {model.latest_number}."
    return VersionNotFound(message, model=model.text, version=reference.value)
