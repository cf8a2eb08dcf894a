"""Copies: a version becomes a version of another model, also in another namespace, and no bytes move."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, bindparam, insert, select

from steelyard_server.core import access, blobs, marks, models, references, roles, stages, versions
from steelyard_server.core.drafts import Draft
from steelyard_server.core.origins import Origin
from steelyard_server.db import tables
from steelyard_server.history import events

if TYPE_CHECKING:
    from steelyard_server.core.models import Model
    from steelyard_server.core.references import Reference
    from steelyard_server.core.versions import Version
    from steelyard_server.db.database import Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.events import Stamp

SYSTEM = "steelyard"


_F = tables.files.c
_COPIED = [column for column in _F if column is not _F.version_id]
_COPY_FILES = insert(tables.files).from_select(
    ["version_id", *(column.name for column in _COPIED)],
    select(bindparam("version", type_=BigInteger()), *_COPIED).where(_F.version_id == bindparam("source")),
)


def copy(
    tx: Transaction,
    act: Act,
    *,
    source: Reference,
    model: str,
    semantic_version: str = "",
) -> versions.Outcome:
    """Append a copy of a version to *model*, unless that has the content already.

    Raises:
        PermissionMissing: the caller may not read the bytes of the source.
        ModelNotFound, VersionNotFound, VersionDeleted: there is no such source, or no such model.
        ContentDeleted: the model has the content in a deleted version.
        SemanticVersionAlreadyExists: another version of the model has it.
        QuotaExceeded: the namespace may not have more versions, or not hold so many bytes.
        VersionRevoked: the source was revoked.
    """
    access.require(act.caller, roles.READ_BYTES, source.model)
    draft = Draft(semantic_version=semantic_version)
    draft.check()
    parent = _locked(tx, source=source, model=model)
    origin_model, row = references.resolve(tx, source)
    marks.require_usable(row, model=origin_model)
    existing = versions.known(tx, act, parent=parent, digest=row.digest, draft=draft)
    if existing is not None:
        return existing
    at = events.stamp(tx)
    original = versions.complete(tx, row, model=origin_model)
    version = replace(
        original,
        id=0,
        uid=str(uuid.uuid4()),
        model=parent.text,
        model_uid=parent.uid,
        namespace_uid=parent.namespace_uid,
        number=parent.last_number + 1,
        stage=stages.FIRST,
        marks={},
        aliases=(),
        semantic_version=semantic_version,
        idempotency_key="",
        origin=_origin(original, at=at).as_json(),
        creator=act.caller.as_json(),
        create_time=at.time,
        update_time=at.time,
        import_time=at.time,
        sequence=at.sequence,
    )
    blobs.share(tx, version_id=row.id, namespace_id=parent.namespace_id)
    versions.take_number(tx, parent=parent, number=version.number)
    key = versions.insert_row(tx, version, parent=parent, summary=row.summary, details=row.details)
    tx.run(_COPY_FILES, {"source": row.id, "version": key})
    events.append(tx, act, at, action="version.copy", changes=[versions.change(version, previous=0)])
    return versions.Outcome(version, sequence=at.sequence, created=True, changed=True)


def _locked(tx: Transaction, *, source: Reference, model: str) -> Model:
    """Lock both models in an order that all copies keep, and return the one that gets the copy."""
    parent = models.find(tx, name=model)
    other = models.find(tx, name=source.model, field=f"{source.field}.model")
    for each in sorted({parent.id: parent, other.id: other}.values(), key=lambda found: found.id):
        locked = models.find(tx, name=each.text, lock=True)
        parent = locked if each.id == parent.id else parent
    return parent


def _origin(version: Version, *, at: Stamp) -> Origin:
    return Origin(
        system=SYSTEM,
        uri=f"urn:uuid:{at.registry}",
        version=f"{version.model}:{version.number}",
        creator=version.creator["id"],
        uid=version.uid,
        create_time=version.create_time,
    )
