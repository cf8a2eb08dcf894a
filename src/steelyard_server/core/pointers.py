"""Moving what points to a version: the one door for aliases and stages, and later for deployments.

What a policy protects moves with a promotion as its authority and not otherwise. Every move of an alias is
a row of ``alias_moves``. A set remembers the set before it, so that a rollback can walk back along them and
never forward.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from steelyard_server.core import governance, marks, references, stages, versions
from steelyard_server.core.targets import ALIAS, STAGE, Target
from steelyard_server.db import tables
from steelyard_server.db.statements import insert_generated
from steelyard_server.errors import LimitExceeded
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from steelyard_server.core.models import Model
    from steelyard_server.core.promotions import Promotion
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

_P = tables.promotions.c
_LAST_IN_STAGE = (
    select(tables.versions)
    .join(tables.promotions, (_P.model_id == _V.model_id) & (_P.version_number == _V.number))
    .where(
        _P.model_id == bindparam("model"),
        _P.target_kind == STAGE,
        _P.target_name == bindparam("stage"),
        or_(_P.state == "applied", _P.state == "overridden"),
        _V.stage == bindparam("stage"),
        _V.number != bindparam("but"),
        _V.delete_time.is_(None),
    )
    .order_by(_P.sequence.desc())
    .limit(1)
)
_SAVE = (
    update(tables.versions)
    .where(_V.id == bindparam("version"))
    .values(
        stage=bindparam("to"),
        marks=bindparam("marked"),
        update_time=bindparam("time"),
        sequence=bindparam("event"),
    )
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

    Raises:
        PolicyRequiresPromotion: a policy protects the alias.
    """
    # Behind the stamp no policy can come that this would not see.
    at = events.stamp(tx)
    governance.require_unprotected(tx, model=model, target=Target(ALIAS, name))
    after, change = _point(
        tx, act, at, model=model, name=name, number=number, digest=digest, restores=restores
    )
    action = "set" if restores is None else "rollback"
    events.append(tx, act, at, action=f"alias.{action}", changes=[change])
    return after, at.sequence


def carry(
    tx: Transaction,
    act: Act,
    at: Stamp,
    *,
    authority: Promotion,
    model: Model,
    version: Row,
    override: Mapping[str, Any] | None = None,
) -> list[Change]:
    """Move the target of a promotion to its version; return the changes for the event of *at*.

    Args:
        override: the mark of who did this although a policy did not allow it.

    Raises:
        StageUnknown: the stage was taken out of the list of the namespace.
        VersionRevoked: the version was revoked, and the promotion is not there to undo that.
        PolicyRequiresPromotion: the incumbent is to be archived, and a policy protects that stage.
    """
    target = authority.target
    if (authority.model_id, authority.digest) != (model.id, version.digest):
        raise RuntimeError("A promotion is no authority for another version.")
    kept = marks.of(version)
    # Only a promotion that was made for it puts a revoked version into use again.
    if authority.reinstates == marks.revocation(version):
        kept.pop(marks.REVOCATION, None)
    elif authority.reinstates or target.kind == ALIAS:
        marks.require_usable(version, model=model)
    if override is not None:
        kept[marks.OVERRIDE] = override
    if target.kind == ALIAS:
        _, change = _point(
            tx, act, at, model=model, name=target.name, number=version.number, digest=version.digest
        )
        same = kept == marks.of(version)
        return [change] if same else [change, save(tx, at, model=model, version=version, marked=kept)]
    target.require(tx, act.caller, namespace=authority.scope.namespace)
    moved = [save(tx, at, model=model, version=version, stage=target.name, marked=kept)]
    there = incumbent(tx, model=model, target=target, but=version.number)
    if authority.archive_incumbent and there is not None:
        space = authority.scope.namespace
        stages.require(stages.ARCHIVED, namespace=space, field="archive_incumbent")
        governance.require_unprotected(tx, model=model, target=Target(STAGE, stages.ARCHIVED))
        moved.append(save(tx, at, model=model, version=there, stage=stages.ARCHIVED))
    return moved


def incumbent(tx: Transaction, *, model: Model, target: Target, but: int = 0) -> Row | None:
    """Return the version that is at a target now; of several in a stage, the one that came last.

    Args:
        but: number of a version that does not count.
    """
    if target.kind == ALIAS:
        alias = find(tx, model=model, name=target.name)
        return None if alias is None else references.find_live(tx, model=model, number=alias.number)
    return tx.one(_LAST_IN_STAGE, model=model.id, stage=target.name, but=but)


def save(
    tx: Transaction,
    at: Stamp,
    *,
    model: Model,
    version: Row,
    stage: str = "",
    marked: Mapping[str, Any] | None = None,
) -> Change:
    """Write stage and marks of a version; return the change for the event of *at*.

    Args:
        stage: empty for the one that it has.
        marked: all of its marks, None for those that it has.
    """
    (before,) = versions.without_files(tx, [version], model=model)
    after = replace(
        before,
        stage=stage or before.stage,
        marks=before.marks if marked is None else marked,
        update_time=at.time,
        sequence=at.sequence,
    )
    row = {
        "to": after.stage,
        "marked": canonical.text(after.marks) if after.marks else None,
        "time": at.time,
        "event": at.sequence,
    }
    tx.run(_SAVE, row | {"version": version.id})
    return versions.change(after, previous=before.sequence)


def _point(
    tx: Transaction,
    act: Act,
    at: Stamp,
    *,
    model: Model,
    name: str,
    number: int,
    digest: str,
    restores: int | None = None,
) -> tuple[Alias, Change]:
    before = find(tx, model=model, name=name)
    if before is None:
        _require_room(tx, model=model)
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
    return after, _change(after, before=before)


def _require_room(tx: Transaction, *, model: Model) -> None:
    row = tx.one(_COUNT, model=model.id)
    if row is not None and row.aliases >= LIMITS.aliases_count:
        message = f"{model.text} has {row.aliases} aliases already; delete some that are not used."
        raise LimitExceeded(
            message, field="alias", limit=LIMITS.aliases_count, actual=row.aliases, model=model.text
        )


def clear(tx: Transaction, act: Act, *, alias: Alias) -> int:
    """Delete *alias* and return the sequence of the event.

    Raises:
        PolicyRequiresPromotion: a policy protects it.
    """
    at = events.stamp(tx)
    governance.require_unprotected(tx, model=alias.model, target=Target(ALIAS, alias.name))
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
