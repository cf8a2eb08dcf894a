"""References: finding the version that a number, alias, digest or semantic version means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy import bindparam, select

from steelyard_server.core import models, names
from steelyard_server.db import tables
from steelyard_server.errors import AliasNotFound, ResourceMismatch, VersionNotFound

if TYPE_CHECKING:
    from steelyard_server.core.models import Model
    from steelyard_server.db.database import Row, Transaction

_V, _A, _MV = tables.versions.c, tables.aliases.c, tables.alias_moves.c
_VERSION = select(tables.versions).where(_V.model_id == bindparam("model"))
_BY_NUMBER = _VERSION.where(_V.number == bindparam("value"))
_BY_DIGEST = _VERSION.where(_V.digest == bindparam("value"))
_BY_SEMANTIC_VERSION = _VERSION.where(_V.semantic_version == bindparam("value"))
_LATEST = _VERSION.order_by(_V.number.desc()).limit(1)
_LATEST_AT = _VERSION.where(_V.create_time <= bindparam("read_time")).order_by(_V.number.desc()).limit(1)
_BY_ALIAS = (
    select(tables.versions)
    .join(tables.aliases, (_A.model_id == _V.model_id) & (_A.number == _V.number))
    .where(_A.model_id == bindparam("model"), _A.name == bindparam("value"))
)
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

Kind = Literal["number", "alias", "digest", "semantic_version"]


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
        ModelNotFound: no such model.
        AliasNotFound: the model has no such alias, or had none at *read_time*.
        VersionNotFound: the model has no such version.
    """
    value = _checked(reference)
    if model is None:
        model = models.find(tx, name=reference.model, field=f"{reference.field}.model", lock=lock)
    row = _row(tx, reference.kind, value, model=model, read_time=read_time)
    if row is None:
        raise _not_found(reference, model=model)
    return model, row


def require_namespace(reference: Reference, *, namespace: str) -> None:
    """Demand that *reference* names a model of *namespace*.

    Raises:
        ResourceMismatch: it leads out of it.
    """
    field = f"{reference.field}.model"
    if names.model(reference.model, field=field)[0] != namespace:
        message = f"{names.quoted(reference.model)} is not in the namespace {namespace}."
        raise ResourceMismatch(message, field=field)


def _checked(reference: Reference) -> str | int:
    field, value = f"{reference.field}.{reference.kind}", reference.value
    if isinstance(value, int):
        return names.number(value, field=field, minimum=1)
    if reference.kind == "digest":
        return names.digest(value, field=field)
    if reference.kind == "semantic_version":
        return names.semantic_version(value, field=field)
    return value if value == names.LATEST else names.alias(value, field=field)


def _row(tx: Transaction, kind: Kind, value: str | int, *, model: Model, read_time: int | None) -> Row | None:
    if kind == "number":
        return tx.one(_BY_NUMBER, model=model.id, value=value)
    if kind == "digest":
        return tx.one(_BY_DIGEST, model=model.id, value=value)
    if kind == "semantic_version":
        return tx.one(_BY_SEMANTIC_VERSION, model=model.id, value=value)
    if read_time is not None:
        return _alias_at(tx, value, model=model, read_time=read_time)
    if value == names.LATEST:
        return tx.one(_LATEST, model=model.id)
    return tx.one(_BY_ALIAS, model=model.id, value=value)


def _alias_at(tx: Transaction, value: str | int, *, model: Model, read_time: int) -> Row | None:
    if value == names.LATEST:
        return tx.one(_LATEST_AT, model=model.id, read_time=read_time)
    move = tx.one(_MOVE_BEFORE, model=model.id, value=value, read_time=read_time)
    if move is None or move.to_number is None:
        return None
    return tx.one(_BY_NUMBER, model=model.id, value=move.to_number)


def _not_found(reference: Reference, *, model: Model) -> AliasNotFound | VersionNotFound:
    if reference.kind == "alias" and reference.value != names.LATEST:
        message = f"{model.text} has no alias {reference.value}; list its aliases."
        return AliasNotFound(message, model=model.text, alias=reference.value)
    if model.latest_number == 0:
        message = f"{model.text} has no versions yet; create one first."
    else:
        message = f"{model.text} has no version {reference.value}; its newest is {model.latest_number}."
    return VersionNotFound(message, model=model.text, version=reference.value)
