"""Models: a line of versions under a name that may change."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import bindparam, insert, select, update

from steelyard_server.core import access, closing, grants, masks, names, namespaces, pages, roles, terms
from steelyard_server.core.filters import search
from steelyard_server.core.filters.fields import MODEL_FIELDS
from steelyard_server.core.filters.scope import ModelScope
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of, insert_generated
from steelyard_server.errors import (
    EnumInvalid,
    LimitExceeded,
    ModelAlreadyExists,
    ModelDeleted,
    ModelNotFound,
    NameDeleted,
    NameRetired,
    ResourceMismatch,
)
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change, Scope, Text
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.caller import Caller
    from steelyard_server.history.canonical import Json

MUTABLE = ("description", "labels", "owners", "metric_directions")
IMMUTABLE = ("name",)
DIRECTIONS = frozenset({"higher-is-better", "lower-is-better"})

_M, _N, _S = tables.models.c, tables.model_names.c, tables.namespaces.c
_NAMED = (
    select(tables.models, _S.name.label("namespace"), _S.uid.label("namespace_uid"))
    .join(tables.model_names, _N.model_id == _M.id)
    .join(tables.namespaces, _S.id == _N.namespace_id)
)
_BY_NAME = _NAMED.where(_S.name == bindparam("namespace"), _N.name_key == bindparam("key"))
_LOCKED = _BY_NAME.with_for_update(of=tables.models)
_BY_IDS = (
    select(tables.models, _S.name.label("namespace"), _S.uid.label("namespace_uid"))
    .join(tables.namespaces, _S.id == _M.namespace_id)
    .where(any_of(_M.id, "ids"))
)
_FORMER = select(_N.name).where(_N.model_id == bindparam("model")).order_by(_N.name)
_INSERT = insert_generated(tables.models)
_INSERT_NAME = insert(tables.model_names)
_UPDATE_NAME = (
    update(tables.model_names)
    .where(_N.namespace_id == bindparam("space"), _N.name_key == bindparam("key"))
    .values(name=bindparam("new_name"))
)
_CHANGING = ("name", "description", "labels", "owners", "metric_directions", "update_time", "sequence")
_UPDATE = (
    update(tables.models)
    .where(_M.id == bindparam("model"))
    .values({name: bindparam(name) for name in _CHANGING})
)


@dataclass(frozen=True, slots=True)
class Draft:
    """What a caller says of a model, unchecked."""

    description: str = ""
    labels: Mapping[str, str] | None = None
    owners: Sequence[str] = ()
    metric_directions: Mapping[str, str] | None = None

    def check(self, *, prefix: str = "") -> dict[str, Any]:
        """Return the checked values by name; *prefix* leads to them in the request."""
        return {
            "description": names.description(self.description, field=f"{prefix}description"),
            "labels": names.labels(self.labels or {}, field=f"{prefix}labels"),
            "owners": _owners(self.owners, field=f"{prefix}owners"),
            "metric_directions": _directions(
                self.metric_directions or {}, field=f"{prefix}metric_directions"
            ),
        }


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it stands; times are microseconds, `id` and `namespace_id` are keys of rows.

    `latest_number` is of the newest version that is not deleted, `last_number` the highest ever given out.
    """

    id: int
    uid: str
    namespace_id: int
    namespace_uid: str
    namespace: str
    name: str
    description: str
    labels: Mapping[str, str]
    owners: Sequence[str]
    metric_directions: Mapping[str, str]
    creator: Mapping[str, Any]
    create_time: int
    update_time: int
    sequence: int
    latest_number: int
    last_number: int
    delete_time: int | None = None
    former_names: Sequence[str] = ()

    @property
    def text(self) -> str:
        """Write the model as `namespace/model`."""
        return f"{self.namespace}/{self.name}"

    @property
    def scope(self) -> Scope:
        """Say whose history its changes belong to."""
        return Scope(self.namespace_uid, self.uid)


def create(tx: Transaction, act: Act, *, name: str, draft: Draft) -> Model:
    """Create a model without versions.

    Raises:
        NamespaceNotFound: no such namespace.
        ModelAlreadyExists: a model has the name, letter case aside.
        NameRetired: the name redirects to a renamed model, or was one of a purged model.
        NameDeleted: the name is one of a deleted model.
    """
    namespace, short = names.model(name, field="name")
    fields = draft.check()
    _check_free(tx, namespace=namespace, name=short)
    # Before the stamp, as a deletion of the namespace does: else the two could wait for each other.
    space = namespaces.find(tx, name=namespace, lock=True)
    at = events.stamp(tx)
    model = Model(
        id=0,
        uid=str(uuid.uuid4()),
        namespace_id=space.id,
        namespace_uid=space.uid,
        namespace=namespace,
        name=short,
        **fields,
        creator=act.caller.as_json(),
        create_time=at.time,
        update_time=at.time,
        sequence=at.sequence,
        latest_number=0,
        last_number=0,
    )
    unset = {"latest_number": 0, "last_number": 0, "delete_time": None, "purge_time": None}
    inserted = tx.one(_INSERT, **_row(model), **unset)
    if inserted is None:
        raise RuntimeError("An insert returned no key.")
    stored = replace(model, id=inserted.id)
    _insert_name(tx, stored)
    _set_terms(tx, stored)
    events.append(tx, act, at, action="model.create", changes=[change(model, previous=0)])
    return model


def get(tx: Transaction, *, name: str) -> Model:
    """Return the model that has or had *name*, with its former names.

    Raises:
        NamespaceNotFound: no such namespace.
        ModelNotFound: no such model.
        ModelDeleted: it is deleted.
    """
    return with_former_names(tx, find(tx, name=name, field="name"))


def find(
    tx: Transaction, *, name: str, field: str = "model", lock: bool = False, deleted: bool = False
) -> Model:
    """Return the model that has or had *name*, letter case aside.

    Args:
        lock: keep others from changing it, and from adding versions to it, until the commit.
        deleted: return it also when it is deleted.

    Raises:
        NamespaceNotFound: no such namespace.
        ModelNotFound: no such model, or it was purged.
        ModelDeleted: it is deleted.
    """
    namespace, short = names.model(name, field=field)
    statement = _LOCKED if lock else _BY_NAME
    row = tx.one(statement, namespace=namespace, key=names.model_key(short))
    if row is None:
        namespaces.find_id(tx, name=namespace)
        raise ModelNotFound(f"There is no model {name}; create it, or correct the name.", model=name)
    model = _value(row)
    if row.purge_time is not None:
        purge_time = events.time_text(row.purge_time)
        message = f"The model {model.text} was purged at {purge_time}; its names are never used again."
        raise ModelNotFound(message, model=name, purge_time=purge_time)
    if model.delete_time is not None and not deleted:
        delete_time = events.time_text(model.delete_time)
        message = f"The model {model.text} was deleted at {delete_time}; restore it to use it again."
        raise ModelDeleted(message, model=model.text, delete_time=delete_time)
    return model


def by_ids(tx: Transaction, ids: Sequence[int]) -> dict[int, Model]:
    """Return models by the keys of their rows, without former names."""
    return {row.id: _value(row) for row in tx.all(_BY_IDS, ids=list(ids))}


def page(
    tx: Transaction,
    *,
    namespace: str,
    filter: str = "",  # noqa: A002 - as the request calls it
    order_by: str = "",
    after: search.Position | None = None,
    page_size: int = 0,
    show_deleted: bool = False,
    caller: Caller = access.UNLIMITED,
) -> search.Page[Model]:
    """Return a page of the models of a namespace that pass a filter and follow *after*.

    They come without former names. Deleted ones are left out unless *show_deleted*; purged ones always.

    Args:
        caller: who gets only those that they may read.

    Raises:
        NamespaceNotFound: no such namespace.
        FilterInvalid, OrderByInvalid, TooLong: with the column where one stands.
    """
    names.namespace(namespace)
    readable = access.models_of(caller, roles.READ, namespace=namespace)
    space = namespaces.find_id(tx, name=namespace)
    scope = ModelScope(space, show_deleted=show_deleted, readable=readable)
    found = search.page(
        tx,
        search.Listing(MODEL_FIELDS, scope, unique=("name",)),
        statement=_BY_IDS,
        size_bytes=_listed_bytes,
        page_size=page_size,
        filter=filter,
        order_by=order_by,
        after=after,
    )
    return found.of([_value(row) for row in found.entries])


def modify(
    tx: Transaction,
    act: Act,
    *,
    name: str,
    draft: Draft,
    mask: tuple[str, ...] | None,
    etag: str = "",
) -> Model:
    """Change what may change of a model, as far as *mask* names it.

    Raises:
        ModelNotFound: no such model.
        EtagMismatch: it changed since *etag* was given out.
    """
    wanted = masks.chosen(draft.check(prefix="model."), mask, mutable=MUTABLE, immutable=IMMUTABLE)
    before = find(tx, name=name, field="model.name", lock=True)
    masks.check_etag(etag, before.sequence)
    at = events.stamp(tx)
    after = replace(before, **wanted, update_time=at.time, sequence=at.sequence)
    return _save(tx, act, at, action="model.update", before=before, after=after)


def rename(tx: Transaction, act: Act, *, name: str, new_name: str, etag: str = "") -> Model:
    """Give a model another name in its namespace; the old one goes on to find it.

    Raises:
        PermissionMissing: the caller may not create a model of the new name.
        ModelNotFound: no such model.
        ModelAlreadyExists: another model has the new name.
        NameRetired: the new name redirects to another model, or was one of a purged model.
        NameDeleted: the new name is one of a deleted model.
        LimitExceeded: it had Limits.former_names_count other names already.
        EtagMismatch: it changed since *etag* was given out.
    """
    before = find(tx, name=name, field="name", lock=True)
    namespace, short = names.model(new_name, field="new_name")
    # Else who may see one model only would learn which names others have.
    access.require(act.caller, roles.WRITE, new_name)
    if namespace != before.namespace:
        message = f"A model stays in its namespace; write {before.namespace}/{short}."
        raise ResourceMismatch(message, field="new_name")
    masks.check_etag(etag, before.sequence)
    if short == before.name:
        return with_former_names(tx, before)
    known = _check_free(tx, namespace=namespace, name=short, owner=before.id)
    if not known:
        _require_room_for_names(tx, before)
    at = events.stamp(tx)
    after = replace(before, name=short, update_time=at.time, sequence=at.sequence)
    if known:
        key = names.model_key(short)
        tx.run(_UPDATE_NAME, {"space": before.namespace_id, "key": key, "new_name": short})
    else:
        _insert_name(tx, after)
    grants.follow(tx, at, old=before.text, new=after.text)
    closing.renamed(tx, model=after)
    return _save(tx, act, at, action="model.rename", before=before, after=after)


def _save(tx: Transaction, act: Act, at: events.Stamp, *, action: str, before: Model, after: Model) -> Model:
    tx.run(_UPDATE, {name: _row(after)[name] for name in _CHANGING} | {"model": after.id})
    _set_terms(tx, after)
    after = with_former_names(tx, after)
    events.append(tx, act, at, action=action, changes=[change(after, previous=before.sequence)])
    return after


def _set_terms(tx: Transaction, model: Model) -> None:
    terms.set_model(
        tx,
        terms.OfModel(model.id, model.namespace_id),
        name=model.name,
        description=model.description,
        labels=model.labels,
        owners=model.owners,
        metric_directions=model.metric_directions,
    )


def _check_free(tx: Transaction, *, namespace: str, name: str, owner: int | None = None) -> bool:
    """Demand that no other model has or had *name*; return whether *owner* itself did."""
    row = tx.one(_BY_NAME, namespace=namespace, key=names.model_key(name))
    if row is None:
        return False
    if row.id == owner:
        return True
    taken = _value(row)
    wanted = f"{namespace}/{name}"
    if row.purge_time is not None:
        message = f"{wanted} was a name of the purged model {taken.text}; choose another name."
        raise NameRetired(message, name=wanted, model=taken.text)
    if taken.delete_time is not None:
        message = f"{wanted} is a name of the deleted model {taken.text}; restore it, or choose another name."
        delete_time = events.time_text(taken.delete_time)
        raise NameDeleted(message, name=wanted, model=taken.text, delete_time=delete_time)
    if names.model_key(taken.name) == names.model_key(name):
        message = f"The model {taken.text} exists already; use it, or choose another name."
        raise ModelAlreadyExists(message, model=taken.text)
    message = f"{wanted} was a name of {taken.text} and redirects there; choose another name."
    raise NameRetired(message, name=wanted, model=taken.text)


def _insert_name(tx: Transaction, model: Model) -> None:
    tx.run(
        _INSERT_NAME,
        {
            "namespace_id": model.namespace_id,
            "name_key": names.model_key(model.name),
            "name": model.name,
            "model_id": model.id,
        },
    )


def with_former_names(tx: Transaction, model: Model) -> Model:
    """Return *model* with the names that redirect to it."""
    return replace(model, former_names=_former_names(tx, model))


def _former_names(tx: Transaction, model: Model) -> list[str]:
    rows = tx.all(_FORMER, model=model.id)
    return [f"{model.namespace}/{row.name}" for row in rows if row.name != model.name]


def _require_room_for_names(tx: Transaction, model: Model) -> None:
    count = len(_former_names(tx, model))
    if count >= LIMITS.former_names_count:
        message = f"{model.text} has {count} former names, which redirect for ever; keep its name."
        raise LimitExceeded(message, field="new_name", limit=LIMITS.former_names_count, actual=count)


def _owners(owners: Sequence[str], *, field: str) -> list[str]:
    names.at_most(len(owners), LIMITS.owners_count, field=field)
    names.distinct(owners, field=field)
    return [names.key(owner, field=f"{field}[{index}]") for index, owner in enumerate(owners)]


def _directions(directions: Mapping[str, str], *, field: str) -> dict[str, str]:
    names.at_most(len(directions), LIMITS.directions_count, field=field)
    for metric, direction in directions.items():
        names.key(metric, field=field)
        if direction not in DIRECTIONS:
            message = f"`{field}[{names.quoted(metric)}]` must say whether higher or lower is better."
            raise EnumInvalid(message, field=field)
    return dict(directions)


def _listed_bytes(row: Row) -> int:
    texts = (row.name, row.description, row.labels, row.owners, row.metric_directions, row.creator)
    return pages.utf8_bytes(*texts) + 512


def _value(row: Row) -> Model:
    return Model(
        id=row.id,
        uid=row.uid,
        namespace_id=row.namespace_id,
        namespace_uid=row.namespace_uid,
        namespace=row.namespace,
        name=row.name,
        description=row.description,
        labels=orjson.loads(row.labels),
        owners=orjson.loads(row.owners),
        metric_directions=orjson.loads(row.metric_directions),
        creator=orjson.loads(row.creator),
        create_time=row.create_time,
        update_time=row.update_time,
        sequence=row.sequence,
        latest_number=row.latest_number,
        last_number=row.last_number,
        delete_time=row.delete_time,
    )


def _row(model: Model) -> dict[str, object]:
    return {
        "uid": model.uid,
        "namespace_id": model.namespace_id,
        "name": model.name,
        "description": model.description,
        "labels": canonical.text(model.labels),
        "owners": canonical.text(model.owners),
        "metric_directions": canonical.text(model.metric_directions),
        "creator": canonical.text(model.creator),
        "creator_id": model.creator["id"],
        "create_time": model.create_time,
        "update_time": model.update_time,
        "sequence": model.sequence,
    }


def change(model: Model, *, previous: int) -> Change:
    """Say how *model* stands after an event; *previous* is the sequence of its last change."""
    after: dict[str, Json | Text] = {
        "namespace": model.namespace,
        "name": model.name,
        "former_names": list(model.former_names),
        "description": Text(model.description),
        "labels": model.labels,
        "owners": model.owners,
        "metric_directions": model.metric_directions,
        "creator": model.creator,
        "create_time": events.time_text(model.create_time),
        "update_time": events.time_text(model.update_time),
    }
    if model.delete_time is not None:
        after["delete_time"] = events.time_text(model.delete_time)
    return Change(f"model/{model.text}", model.uid, previous, after, model.scope)
