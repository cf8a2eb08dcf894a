"""Aliases: movable names for versions, with compare-and-set, history and rollback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import bindparam, func, select

from steelyard_server.core import marks, models, names, pages, pointers, references
from steelyard_server.core.pointers import Alias
from steelyard_server.db import tables
from steelyard_server.errors import AliasChanged, AliasNotFound, EtagInvalid, NoRollbackTarget
from steelyard_server.history import events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard_server.core.models import Model
    from steelyard_server.core.references import Reference
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act

_A, _V, _MV, _T = tables.aliases.c, tables.versions.c, tables.alias_moves.c, tables.event_texts.c
_TS = tables.tombstones.c
_PAGE = (
    select(tables.aliases, _V.digest)
    .join(tables.versions, (_V.model_id == _A.model_id) & (_V.number == _A.number))
    .where(_A.model_id == bindparam("model"), _A.name > bindparam("after_name"))
    .order_by(_A.name)
    .limit(bindparam("limit"))
)
_LAST = (
    select(_MV.name, func.max(_MV.sequence).label("sequence"))
    .where(_MV.model_id == bindparam("model"), _MV.move_time <= bindparam("read_time"))
    .group_by(_MV.name)
    .subquery()
)
# Where an alias pointed stays known, whatever became of the version.
_POINTED = (
    select(
        _MV.name,
        _MV.to_number.label("number"),
        _MV.move_time,
        _MV.sequence,
        func.coalesce(_V.digest, _TS.digest).label("digest"),
    )
    .outerjoin(tables.versions, (_V.model_id == _MV.model_id) & (_V.number == _MV.to_number))
    .outerjoin(tables.tombstones, (_TS.model_id == _MV.model_id) & (_TS.number == _MV.to_number))
    .where(_MV.model_id == bindparam("model"))
)
_PAGE_AT = (
    _POINTED.join(_LAST, (_LAST.c.name == _MV.name) & (_LAST.c.sequence == _MV.sequence))
    .where(_MV.to_number.is_not(None), _MV.name > bindparam("after_name"))
    .order_by(_MV.name)
    .limit(bindparam("limit"))
)
_ONE_AT = (
    _POINTED.where(_MV.name == bindparam("name"), _MV.move_time <= bindparam("read_time"))
    .order_by(_MV.sequence.desc())
    .limit(1)
)
_MOVES = (
    select(tables.alias_moves, _T.content.label("reason"))
    .outerjoin(tables.event_texts, (_T.sequence == _MV.sequence) & (_T.name == "reason"))
    .where(_MV.model_id == bindparam("model"), _MV.sequence < bindparam("after"))
    .order_by(_MV.sequence.desc())
    .limit(bindparam("limit"))
)
_MOVES_OF_ONE = _MOVES.where(_MV.name == bindparam("name"))


@dataclass(frozen=True, slots=True)
class Move:
    """One move of an alias; numbers are 0 where it did not exist, times are microseconds."""

    sequence: int
    alias: str
    action: str
    from_number: int
    to_number: int
    actor: Mapping[str, Any]
    move_time: int
    reason: str


def put(
    tx: Transaction,
    act: Act,
    *,
    reference: Reference,
    name: str,
    etag: str = "",
    must_not_exist: bool = False,
) -> tuple[Alias, int]:
    """Point an alias to a version; return it with the sequence of the event, or of the last one.

    Raises:
        AliasChanged: it exists and must not, or moved since *etag* was given out.
        VersionRevoked: the version was revoked.
    """
    names.alias(name)
    if etag and must_not_exist:
        raise EtagInvalid("`etag` and `must_not_exist` exclude each other; send one of them.", field="etag")
    model, version = references.resolve(tx, reference, lock=True)
    marks.require_usable(version, model=model)
    before = pointers.find(tx, model=model, name=name)
    if before is not None and must_not_exist:
        message = f"{model.text}@{name} exists already and points to version {before.number}."
        raise AliasChanged(message, etag=before.sequence, number=before.number)
    if before is None and etag:
        raise _not_found(model, name=name)
    if before is not None:
        _check_unmoved(before, etag=etag)
        if before.number == version.number:
            return before, events.seen(tx)
    return pointers.move(tx, act, model=model, name=name, number=version.number, digest=version.digest)


def get(tx: Transaction, *, model: str, name: str, read_time: int | None = None) -> Alias:
    """Return an alias as it is, or as it was at *read_time* in microseconds.

    Raises:
        AliasNotFound: the model has no such alias, or had none then.
    """
    if name != names.LATEST:
        names.alias(name)
    parent = models.find(tx, name=model)
    if name == names.LATEST:
        return _latest(tx, parent, read_time=read_time)
    if read_time is None:
        return _found(pointers.find(tx, model=parent, name=name), model=parent, name=name)
    row = tx.one(_ONE_AT, model=parent.id, name=name, read_time=read_time)
    if row is None or row.number is None:
        raise _not_found(parent, name=name)
    return _moved(row, model=parent)


def page(
    tx: Transaction, *, model: str, read_time: int | None = None, after_name: str = "", page_size: int = 0
) -> tuple[list[Alias], bool]:
    """Return the aliases of a model whose names follow *after_name*, and whether more follow."""
    parent = models.find(tx, name=model)
    rows, more = pages.take(
        tx,
        _PAGE if read_time is None else _PAGE_AT,
        after={"after_name": after_name},
        key=lambda row: {"after_name": row.name},
        size_bytes=lambda row: pages.utf8_bytes(row.name, parent.text) + 512,
        rows_maximum=pages.page_size(page_size),
        values={"model": parent.id} | ({} if read_time is None else {"read_time": read_time}),
    )
    read = pointers.alias_value if read_time is None else _moved
    return [read(row, model=parent) for row in rows], more


def remove(tx: Transaction, act: Act, *, model: str, name: str, etag: str = "") -> int:
    """Delete an alias and return the sequence of the event.

    Raises:
        AliasNotFound: the model has no such alias.
        AliasChanged: it moved since *etag* was given out.
    """
    alias = _locked(tx, model=model, name=name, etag=etag)
    return pointers.clear(tx, act, alias=alias)


def rollback(tx: Transaction, act: Act, *, model: str, name: str, etag: str = "") -> tuple[Alias, int]:
    """Point an alias back to where it pointed before its last set; return it with the sequence of the event.

    Sets to a version that is deleted, purged or revoked, and to the one that it points to, are passed over.

    Raises:
        AliasNotFound: the model has no such alias.
        NoRollbackTarget: it never pointed anywhere before, or nothing of that is left.
        AliasChanged: it moved since *etag* was given out.
    """
    alias = _locked(tx, model=model, name=name, etag=etag)
    passed = 0
    for number, restores in pointers.earlier_sets(tx, model=alias.model, name=name):
        version = references.find_live(tx, model=alias.model, number=number)
        if version is not None and number != alias.number and not marks.revocation(version):
            target = {"number": number, "digest": version.digest, "restores": restores}
            return pointers.move(tx, act, model=alias.model, name=name, **target)
        passed += 1
    why = (
        f"; the {passed} sets before led to it or to versions that are deleted or revoked now"
        if passed
        else ""
    )
    message = f"{alias.model.text}@{name} never pointed anywhere before version {alias.number}{why}."
    raise NoRollbackTarget(message, model=alias.model.text, alias=name)


def moves(
    tx: Transaction, *, model: str, name: str = "", after: int | None = None, page_size: int = 0
) -> tuple[list[Move], bool]:
    """Return the moves of one alias, or of all, that came before sequence *after*, the newest first.

    Raises:
        AliasNotFound: the model never had an alias *name*.
    """
    if name:
        names.alias(name)
    parent = models.find(tx, name=model)
    rows, more = pages.take(
        tx,
        _MOVES_OF_ONE if name else _MOVES,
        after={"after": names.INT64_MAXIMUM if after is None else after},
        key=lambda row: {"after": row.sequence},
        size_bytes=lambda row: pages.utf8_bytes(row.name, row.reason, row.actor) + 256,
        rows_maximum=pages.page_size(page_size),
        values={"model": parent.id} | ({"name": name} if name else {}),
    )
    if name and after is None and not rows:
        raise _not_found(parent, name=name)
    return [_move(row) for row in rows], more


def _locked(tx: Transaction, *, model: str, name: str, etag: str) -> Alias:
    names.alias(name)
    parent = models.find(tx, name=model, lock=True)
    alias = _found(pointers.find(tx, model=parent, name=name), model=parent, name=name)
    _check_unmoved(alias, etag=etag)
    return alias


def _check_unmoved(alias: Alias, *, etag: str) -> None:
    expected = names.etag(etag)
    if expected is not None and expected != alias.sequence:
        message = (
            f"{alias.model.text}@{alias.name} moved since it was read: it points to version {alias.number} "
            f"and its etag is {alias.sequence}, not {expected}. Read it again."
        )
        raise AliasChanged(message, etag=alias.sequence, number=alias.number)


def _latest(tx: Transaction, model: Model, *, read_time: int | None) -> Alias:
    reference = references.Reference(model.text, "alias", names.LATEST)
    if read_time is None:
        _, row = references.resolve(tx, reference)
    else:
        found = references.newest_at(tx, model=model, read_time=read_time)
        if found is None:
            raise references.not_found(tx, reference, model=model)
        row = found
    return Alias(
        id=0,
        uid="",
        model=model,
        name=names.LATEST,
        number=row.number,
        digest=row.digest,
        create_time=row.create_time,
        update_time=row.create_time,
        sequence=0,
    )


def _found(alias: Alias | None, *, model: Model, name: str) -> Alias:
    if alias is None:
        raise _not_found(model, name=name)
    return alias


def _not_found(model: Model, *, name: str) -> AliasNotFound:
    message = f"{model.text} has no alias {name}; list its aliases."
    return AliasNotFound(message, model=model.text, alias=name)


def _moved(row: Row, *, model: Model) -> Alias:
    """Read an alias as it was from the last move before a moment."""
    return Alias(
        id=0,
        uid="",
        model=model,
        name=row.name,
        number=row.number,
        digest=row.digest,
        create_time=0,
        update_time=row.move_time,
        sequence=row.sequence,
    )


def _move(row: Row) -> Move:
    return Move(
        sequence=row.sequence,
        alias=row.name,
        action=row.action,
        from_number=row.from_number or 0,
        to_number=row.to_number or 0,
        actor=orjson.loads(row.actor),
        move_time=row.move_time,
        reason=row.reason or "",
    )
