"""Deletions of models: softly at first, undone or ended later.

A deleted model hides all that is in it and keeps its names. A purged one is gone with its versions;
the row that is left keeps its names and its last number from ever being used again.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, literal, select, update

from steelyard_server.core import (
    blockers,
    deletions,
    governance,
    grants,
    masks,
    models,
    stages,
    terms,
    versions,
)
from steelyard_server.core.targets import STAGE, Target
from steelyard_server.db import tables
from steelyard_server.errors import LimitExceeded, ModelInUse, NotDeleted
from steelyard_server.history import events
from steelyard_server.history.events import Change
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, FromClause, ScalarSelect

    from steelyard_server.core.models import Model
    from steelyard_server.db.database import Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.events import Stamp

# Versions that are erased by one run of the statements.
PORTION_VERSIONS = 500
TOLD = {"files": "files", "metrics": "metrics and evaluations", "terms": "parameters, labels and words"}

_M, _V = tables.models.c, tables.versions.c
_MARK = (
    update(tables.models)
    .where(_M.id == bindparam("model"))
    .values(delete_time=bindparam("time"), sequence=bindparam("event"))
)
_STAGED = (_V.model_id == bindparam("model"), _V.delete_time.is_(None), _V.stage != stages.FIRST)
_STAGES = select(_V.stage).where(*_STAGED).distinct()
_IN_STAGE = select(tables.versions).where(*_STAGED, _V.stage == bindparam("stage")).order_by(_V.number)
_SET_STAGE = (
    update(tables.versions)
    .where(_V.id == bindparam("version"))
    .values(stage=stages.FIRST, sequence=bindparam("event"))
)
_EVALUATIONS = tables.evaluations.join(tables.versions, _V.id == tables.evaluations.c.version_id)


def _counted(rows: FromClause, model: ColumnElement[int]) -> ScalarSelect[int]:
    """Count *rows* of a model, no more of them than it takes to be too many."""
    some = select(literal(1)).select_from(rows).where(model == bindparam("model")).limit(bindparam("enough"))
    return select(func.count()).select_from(some.subquery()).scalar_subquery()


_COUNT = select(
    func.coalesce(func.sum(_V.file_count), 0).label("files"),
    (
        _counted(tables.metrics, tables.metrics.c.model_id)
        + _counted(tables.evaluated_metrics, tables.evaluated_metrics.c.model_id)
        + _counted(_EVALUATIONS, _V.model_id)
    ).label("metrics"),
    reduce(operator.add, (_counted(table, table.c.model_id) for table in terms.OF_VERSIONS)).label("terms"),
).where(_V.model_id == bindparam("model"))
_PORTION = (
    select(_V.id, _V.digest)
    .where(_V.model_id == bindparam("model"))
    .order_by(_V.number)
    .limit(PORTION_VERSIONS)
)
_ERASE = tuple(
    delete(table).where(table.c.model_id == bindparam("model"))
    for table in (tables.alias_moves, tables.tombstones, tables.undeletions)
)
_ERASE_PROMOTIONS = delete(tables.promotions).where(tables.promotions.c.model_id == bindparam("model"))
_BURY = (
    update(tables.models)
    .where(_M.id == bindparam("model"))
    .values(
        description="",
        labels="{}",
        owners="[]",
        metric_directions="{}",
        creator="{}",
        creator_id="",
        latest_number=0,
        purge_time=bindparam("time"),
        sequence=bindparam("event"),
    )
)


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge ended; `sequence` is that of its event."""

    name: str
    last_number: int
    sequence: int


def remove(tx: Transaction, act: Act, *, name: str, etag: str = "") -> Model:
    """Delete a model that nothing points into, softly, with all that is in it.

    Raises:
        ModelDeleted: it is deleted already.
        ModelInUse: something points into it.
        PolicyRequiresPromotion: a version stands in a stage that a policy protects.
        EtagMismatch: it changed since *etag* was given out.
    """
    before = models.find(tx, name=name, field="name", lock=True)
    masks.check_etag(etag, before.sequence)
    # Behind the stamp no policy can come that this would not see.
    at = events.stamp(tx)
    for row in tx.all(_STAGES, model=before.id):
        governance.require_unprotected(tx, model=before, target=Target(STAGE, row.stage))
    found = blockers.collect(tx, model=before)
    if found:
        message = f"{before.text} is in use by its aliases {found.text}; delete them first."
        raise ModelInUse(message, model=before.text, **found.facts)
    return _mark(tx, act, at, before=before, delete_time=at.time, action="model.delete")


def restore(tx: Transaction, act: Act, *, name: str, etag: str = "") -> Model:
    """Bring a deleted model back as it was, but for versions in stages that a policy protects since.

    Raises:
        NotDeleted: it is not deleted.
        LimitExceeded: more versions have to leave such stages than one event holds.
        EtagMismatch: it changed since *etag* was given out.
    """
    before = _deleted(tx, name=name, etag=etag)
    at = events.stamp(tx)
    moved = _unstaged(tx, at, model=before)
    return _mark(tx, act, at, before=before, delete_time=None, action="model.undelete", beside=moved)


def _unstaged(tx: Transaction, at: Stamp, *, model: Model) -> list[Change]:
    """Put versions back to the first stage whose own a policy came to protect, as their undeletion does."""
    left = [row.stage for row in tx.all(_STAGES, model=model.id)]
    left = [stage for stage in left if deletions.stage_after(tx, stage, model=model) != stage]
    rows = [row for stage in left for row in tx.all(_IN_STAGE, model=model.id, stage=stage)]
    before = versions.without_files(tx, rows, model=model)
    after = [replace(each, stage=stages.FIRST, sequence=at.sequence) for each in before]
    changes = [versions.change(new, previous=old.sequence) for new, old in zip(after, before, strict=True)]
    count = events.fitting(changes)
    if count < len(changes):
        message = (
            f"{len(changes)} versions of {model.text} stand in stages that policies protect since it was "
            f"deleted, and one call moves at most {count} out; take the model out of these policies first."
        )
        raise LimitExceeded(message, field="name", limit=count, actual=len(changes))
    tx.run(_SET_STAGE, [{"version": each.id, "event": at.sequence} for each in after])
    return changes


def purge(tx: Transaction, act: Act, *, name: str, etag: str = "") -> Purged:
    """End a deleted model for good with all its versions; its names are never given out again.

    Raises:
        NotDeleted: it is not deleted.
        LimitExceeded: its versions have too many files, metrics and evaluations, or terms.
        EtagMismatch: it changed since *etag* was given out.
    """
    before = _deleted(tx, name=name, etag=etag)
    _require_few(tx, before)
    at = events.stamp(tx)
    while rows := tx.all(_PORTION, model=before.id):
        deletions.erase(tx, rows, model=before)
    for statement in (*_ERASE, _ERASE_PROMOTIONS):
        tx.run(statement, {"model": before.id})
    terms.remove_model(tx, model_id=before.id)
    grants.end_model(tx, at, model=before.text)
    tx.run(_BURY, {"model": before.id, "time": at.time, "event": at.sequence})
    change = Change(f"model/{before.text}", before.uid, before.sequence, after=None, scope=before.scope)
    events.append(tx, act, at, action="model.purge", changes=[change])
    return Purged(before.text, before.last_number, at.sequence)


def _deleted(tx: Transaction, *, name: str, etag: str) -> Model:
    model = models.find(tx, name=name, field="name", lock=True, deleted=True)
    if model.delete_time is None:
        message = f"The model {model.text} is not deleted; only what is deleted can be restored or purged."
        raise NotDeleted(message, model=model.text)
    masks.check_etag(etag, model.sequence)
    return model


def _require_few(tx: Transaction, model: Model) -> None:
    """Demand that a model can be erased in a time for which all other writers can wait."""
    limits = {
        "files": LIMITS.purged_files_count,
        "metrics": LIMITS.purged_metrics_count,
        "terms": LIMITS.purged_terms_count,
    }
    counted = tx.one(_COUNT, model=model.id, enough=max(limits.values()) + 1)
    for what, limit in limits.items():
        actual = int(getattr(counted, what))
        if actual > limit:
            message = (
                f"The versions of {model.text} have at least {actual} {TOLD[what]}, and one call ends at "
                f"most {limit}; restore it, then delete and purge some versions first."
            )
            raise LimitExceeded(message, field="name", limit=limit, actual=actual)


def _mark(
    tx: Transaction,
    act: Act,
    at: Stamp,
    *,
    before: Model,
    delete_time: int | None,
    action: str,
    beside: Sequence[Change] = (),
) -> Model:
    after = replace(before, delete_time=delete_time, sequence=at.sequence)
    after = models.with_former_names(tx, after)
    tx.run(_MARK, {"model": after.id, "time": delete_time, "event": at.sequence})
    changes = [models.change(after, previous=before.sequence), *beside]
    events.append(tx, act, at, action=action, changes=changes)
    return after
