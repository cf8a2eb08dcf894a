"""Deletions of versions: softly at first, undone or ended later.

A deleted version keeps its row, bytes, number, content, semantic version and idempotency key. A
purge leaves a tombstone: the number and the idempotency key, which are never given out again. The
bytes of blobs that nothing names any more stay until garbage is collected.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, exists, insert, select, update

from steelyard_server.core import (
    blockers,
    closing,
    governance,
    masks,
    namespaces,
    quotas,
    references,
    stages,
    terms,
    versions,
)
from steelyard_server.core.targets import STAGE, Target
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of
from steelyard_server.errors import VersionInUse
from steelyard_server.history import events
from steelyard_server.history.events import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard_server.core.models import Model
    from steelyard_server.core.references import Reference
    from steelyard_server.core.versions import Version
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act

_V = tables.versions.c
_MARK = (
    update(tables.versions)
    .where(_V.id == bindparam("version"))
    .values(delete_time=bindparam("time"), sequence=bindparam("event"))
)
_NEWEST_BELOW = (
    select(_V.number)
    .where(_V.model_id == bindparam("model"), _V.number < bindparam("number"), _V.delete_time.is_(None))
    .order_by(_V.number.desc())
    .limit(1)
)
_SET_LATEST = (
    update(tables.models)
    .where(tables.models.c.id == bindparam("model"))
    .values(latest_number=bindparam("number"))
)
_SET_STAGE = update(tables.versions).where(_V.id == bindparam("version")).values(stage=bindparam("to"))
_RECORD_UNDELETION = insert(tables.undeletions)
_BURY = insert(tables.tombstones)
_ERASE_FILES = delete(tables.files).where(any_of(tables.files.c.version_id, "versions"))
_ERASE_EVALUATED = delete(tables.evaluated_metrics).where(
    any_of(tables.evaluated_metrics.c.version_id, "versions")
)
_ERASE_EVALUATIONS = delete(tables.evaluations).where(any_of(tables.evaluations.c.version_id, "versions"))
_ERASE_VERSIONS = delete(tables.versions).where(any_of(_V.id, "versions"))
_ERASE_MANIFESTS = delete(tables.manifests).where(
    any_of(tables.manifests.c.digest, "digests"), ~exists().where(_V.digest == tables.manifests.c.digest)
)


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge ended; `sequence` is that of its event."""

    number: int
    digest: str
    sequence: int


def remove(tx: Transaction, act: Act, *, reference: Reference, etag: str = "") -> Version:
    """Delete a version that nothing points to, softly.

    Raises:
        VersionDeleted: it is deleted already.
        VersionInUse: something points to it.
        PolicyRequiresPromotion: it stands in a stage that a policy protects.
        EtagMismatch: it changed since *etag* was given out.
    """
    model, row = references.resolve(tx, reference, lock=True)
    masks.check_etag(etag, row.sequence)
    events.lock_head(tx)
    governance.require_unprotected(tx, model=model, target=Target(STAGE, row.stage))
    found = blockers.collect(tx, model=model, number=row.number)
    if found:
        message = f"{model.text}:{row.number} is in use by {found.text}; move or delete these aliases first."
        raise VersionInUse(message, model=model.text, number=row.number, **found.facts)
    (after,) = _delete(tx, act, model=model, before=[versions.complete(tx, row, model=model)])
    return after


def remove_some(tx: Transaction, act: Act, *, model: Model, rows: Sequence[Row]) -> list[Version]:
    """Delete versions of a locked model to which nothing points, softly, in one event.

    Returns:
        Those that were deleted: the first of *rows*, as many as one event holds; without their files.
    """
    return _delete(tx, act, model=model, before=versions.without_files(tx, rows, model=model))


def _delete(tx: Transaction, act: Act, *, model: Model, before: Sequence[Version]) -> list[Version]:
    at = events.stamp(tx)
    after = [replace(each, delete_time=at.time, sequence=at.sequence) for each in before]
    changes = [versions.change(new, previous=old.sequence) for new, old in zip(after, before, strict=True)]
    count = events.fitting(changes)
    deleted = after[:count]
    tx.run(_MARK, [{"version": each.id, "time": at.time, "event": at.sequence} for each in deleted])
    closing.cancel(tx, model=model, numbers=[each.number for each in deleted])
    if any(each.number == model.latest_number for each in deleted):
        # Whatever is above the newest one is deleted already.
        newest = tx.one(_NEWEST_BELOW, model=model.id, number=model.latest_number)
        tx.run(_SET_LATEST, {"model": model.id, "number": newest.number if newest else 0})
    events.append(tx, act, at, action="version.delete", changes=changes[:count])
    return deleted


def restore(tx: Transaction, act: Act, *, reference: Reference, etag: str = "") -> Version:
    """Bring a deleted version back as it was, but for a stage that is not any more or that a policy protects.

    Raises:
        NotDeleted: it is not deleted.
        EtagMismatch: it changed since *etag* was given out.
    """
    model, row = references.resolve_deleted(tx, reference)
    masks.check_etag(etag, row.sequence)
    at = events.stamp(tx)
    before = versions.complete(tx, row, model=model)
    stage = stage_after(tx, row.stage, model=model)
    after = replace(before, delete_time=None, stage=stage, sequence=at.sequence)
    tx.run(_MARK, {"version": row.id, "time": None, "event": at.sequence})
    if stage != row.stage:
        tx.run(_SET_STAGE, {"version": row.id, "to": stage})
    # A clock that stands still can give both one time; nobody can read as of within it.
    if row.delete_time < at.time:
        span = {"delete_time": row.delete_time, "undelete_time": at.time}
        tx.run(_RECORD_UNDELETION, {"model_id": model.id, "number": row.number} | span)
    if row.number > model.latest_number:
        tx.run(_SET_LATEST, {"model": model.id, "number": row.number})
    change = versions.change(after, previous=before.sequence)
    events.append(tx, act, at, action="version.undelete", changes=[change])
    return after


def stage_after(tx: Transaction, stage: str, *, model: Model) -> str:
    """Return where a version of *stage* comes back: in none that went, or to which only a promotion leads."""
    known = stages.of(namespaces.find(tx, name=model.namespace))
    if stage not in known or governance.protecting(tx, model=model, target=Target(STAGE, stage)):
        return stages.FIRST
    return stage


def purge(tx: Transaction, act: Act, *, reference: Reference, etag: str = "") -> Purged:
    """End a deleted version for good; its number and idempotency key are never given out again.

    Raises:
        NotDeleted: it is not deleted.
        EtagMismatch: it changed since *etag* was given out.
    """
    model, row = references.resolve_deleted(tx, reference)
    masks.check_etag(etag, row.sequence)
    return purge_some(tx, act, model=model, rows=[row])[0]


def purge_some(tx: Transaction, act: Act, *, model: Model, rows: Sequence[Row]) -> list[Purged]:
    """End versions of a locked model for good, in one event; they, or their model, are deleted.

    Returns:
        Those that were purged: the first of *rows*, as many as one event holds.
    """
    at = events.stamp(tx)
    changes = [_purged(row, model=model) for row in rows]
    count = events.fitting(changes)
    tx.run(_BURY, [_tombstone(row, model=model, purge_time=at.time) for row in rows[:count]])
    erase(tx, rows[:count], model=model)
    events.append(tx, act, at, action="version.purge", changes=changes[:count])
    return [Purged(row.number, row.digest, at.sequence) for row in rows[:count]]


def erase(tx: Transaction, rows: Sequence[Row], *, model: Model) -> None:
    """Remove versions of one model to which nothing points, and the manifests that no other version has.

    To be called behind the stamp, so that no version comes that needs such a manifest.

    Args:
        rows: of versions, with `id` and `digest`; a bounded number.
    """
    keys = {"versions": [row.id for row in rows]}
    terms.remove_versions(tx, keys["versions"])
    for statement in (_ERASE_EVALUATED, _ERASE_EVALUATIONS, _ERASE_FILES, _ERASE_VERSIONS):
        tx.run(statement, keys)
    tx.run(_ERASE_MANIFESTS, {"digests": [row.digest for row in rows]})
    quotas.subtract(tx, namespace_id=model.namespace_id, versions_count=len(rows))


def _tombstone(row: Row, *, model: Model, purge_time: int) -> dict[str, object]:
    kept = ("model_id", "number", "uid", "digest", "idempotency_key", "create_time")
    # A version that was not deleted itself goes with its model.
    delete_time = model.delete_time if row.delete_time is None else row.delete_time
    times = {"delete_time": delete_time, "purge_time": purge_time}
    return {name: getattr(row, name) for name in kept} | times


def _purged(row: Row, *, model: Model) -> Change:
    name = f"version/{model.text}:{row.number}"
    return Change(name, row.uid, row.sequence, after=None, scope=model.scope)
