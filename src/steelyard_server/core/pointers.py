"""Moving what points to a version: the one door for aliases, and later for stages and deployments.

Every move is a row of ``alias_moves`` and an event. A set remembers the set before it, so that a
rollback can walk back along them and never forward.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, insert, select, update

from steelyard_server.db import tables
from steelyard_server.db.statements import insert_generated
from steelyard_server.errors import LimitExceeded
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard_server.core.models import Model
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.events import Stamp

_A, _V, _MV = tables.aliases.c, tables.versions.c, tables.alias_moves.c
_POINTED = (
    select(tables.aliases, _V.digest)
    .join(tables.versions, (_V.model_id == _A.model_id) & (_V.number == _A.number))
    .where(_A.model_id == bindparam("model"))
)
_FIND = _POINTED.where(_A.name == bindparam("name"))
_INSERT = insert_generated(tables.aliases)
_MOVE = (
    update(tables.aliases)
    .where(_A.id == bindparam("alias"))
    .values({name: bindparam(name) for name in ("number", "update_time", "sequence")})
)
_COUNT = (
    select(func.count().label("aliases")).select_from(tables.aliases).where(_A.model_id == bindparam("model"))
)
_DELETE = delete(tables.aliases).where(_A.id == bindparam("alias"))
_RECORD = insert(tables.alias_moves)
_LAST_MOVE = (
    select(tables.alias_moves)
    .where(_MV.model_id == bindparam("model"), _MV.name == bindparam("name"))
    .order_by(_MV.sequence.desc())
    .limit(1)
)
_MOVE_AT = select(tables.alias_moves).where(
    _MV.model_id == bindparam("model"), _MV.name == bindparam("name"), _MV.sequence == bindparam("sequence")
)


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias as it stands; `id` is the key of its row."""

    id: int
    uid: str
    model: Model
    name: str
    number: int
    digest: str
    create_time: int
    update_time: int
    sequence: int


def find(tx: Transaction, *, model: Model, name: str) -> Alias | None:
    """Return the alias *name* of *model*, or None."""
    row = tx.one(_FIND, model=model.id, name=name)
    return None if row is None else alias_value(row, model=model)


def alias_value(row: Row, *, model: Model) -> Alias:
    """Read an alias from a row of the table joined with the digest of its version."""
    return Alias(
        id=row.id,
        uid=row.uid,
        model=model,
        name=row.name,
        number=row.number,
        digest=row.digest,
        create_time=row.create_time,
        update_time=row.update_time,
        sequence=row.sequence,
    )


def earlier_sets(tx: Transaction, *, model: Model, name: str) -> Iterator[tuple[int, int]]:
    """Yield number and sequence of the sets before the one in effect, the last one first."""
    current = tx.one(_LAST_MOVE, model=model.id, name=name)
    each = _set_at(tx, model=model, name=name, sequence=current.effective if current else None)
    while each is not None:
        each = _set_at(tx, model=model, name=name, sequence=each.previous)
        if each is not None:
            yield each.to_number, each.sequence


def _set_at(tx: Transaction, *, model: Model, name: str, sequence: int | None) -> Row | None:
    return None if sequence is None else tx.one(_MOVE_AT, model=model.id, name=name, sequence=sequence)


def move(
    tx: Transaction,
    act: Act,
    *,
    model: Model,
    name: str,
    number: int,
    digest: str,
    restores: int | None = None,
) -> tuple[Alias, int]:
    """Point the alias *name* of *model* to a version and return it with the sequence of the event.

    Args:
        restores: sequence of the set that a rollback puts into effect again; None for a set.
    """
    before = find(tx, model=model, name=name)
    if before is None:
        _require_room(tx, model=model)
    at = events.stamp(tx)
    after = Alias(
        id=before.id if before else 0,
        uid=before.uid if before else str(uuid.uuid4()),
        model=model,
        name=name,
        number=number,
        digest=digest,
        create_time=before.create_time if before else at.time,
        update_time=at.time,
        sequence=at.sequence,
    )
    action = "set" if restores is None else "rollback"
    previous = _in_effect(tx, model=model, name=name) if before and restores is None else None
    _write(tx, before=before, after=after)
    effective = restores if restores is not None else at.sequence
    _record(tx, act, at, before=before, after=after, action=action, effective=effective, previous=previous)
    events.append(tx, act, at, action=f"alias.{action}", changes=[_change(after, before=before)])
    return after, at.sequence


def _require_room(tx: Transaction, *, model: Model) -> None:
    row = tx.one(_COUNT, model=model.id)
    if row is not None and row.aliases >= LIMITS.aliases_count:
        message = f"{model.text} has {row.aliases} aliases already; delete some that are not used."
        raise LimitExceeded(
            message, field="alias", limit=LIMITS.aliases_count, actual=row.aliases, model=model.text
        )


def clear(tx: Transaction, act: Act, *, alias: Alias) -> int:
    """Delete *alias* and return the sequence of the event."""
    at = events.stamp(tx)
    tx.run(_DELETE, {"alias": alias.id})
    _record(tx, act, at, before=alias, after=None, action="delete", effective=None, previous=None)
    return events.append(tx, act, at, action="alias.delete", changes=[_change(None, before=alias)])


def _in_effect(tx: Transaction, *, model: Model, name: str) -> int | None:
    row = tx.one(_LAST_MOVE, model=model.id, name=name)
    return None if row is None else row.effective


def _write(tx: Transaction, *, before: Alias | None, after: Alias) -> None:
    moved = {"number": after.number, "update_time": after.update_time, "sequence": after.sequence}
    if before is not None:
        tx.run(_MOVE, moved | {"alias": after.id})
        return
    identity = {
        "uid": after.uid,
        "model_id": after.model.id,
        "name": after.name,
        "create_time": after.create_time,
    }
    tx.one(_INSERT, **identity, **moved)


def _record(
    tx: Transaction,
    act: Act,
    at: Stamp,
    *,
    before: Alias | None,
    after: Alias | None,
    action: str,
    effective: int | None,
    previous: int | None,
) -> None:
    alias = after or before
    if alias is None:
        raise ValueError("A move has a state before or after it.")
    tx.run(
        _RECORD,
        {
            "sequence": at.sequence,
            "model_id": alias.model.id,
            "name": alias.name,
            "action": action,
            "from_number": before.number if before else None,
            "to_number": after.number if after else None,
            "move_time": at.time,
            "actor": canonical.text(act.caller.as_json()),
            "effective": effective,
            "previous": previous,
        },
    )


def _change(after: Alias | None, *, before: Alias | None) -> Change:
    alias = after or before
    if alias is None:
        raise ValueError("A change has a state before or after it.")
    state = None
    if after is not None:
        state = {
            "model": after.model.uid,
            "name": after.name,
            "number": str(after.number),
            "digest": after.digest,
            "create_time": events.time_text(after.create_time),
            "update_time": events.time_text(after.update_time),
        }
    return Change(
        f"alias/{alias.model.text}@{alias.name}",
        alias.uid,
        before.sequence if before else 0,
        after=state,
        scope=alias.model.scope,
    )
