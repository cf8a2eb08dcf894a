"""What a version is known by in its model: content, semantic version and idempotency key, each once.

A deleted version keeps all three. A purged one keeps its idempotency key only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from steelyard_server.core import names
from steelyard_server.db import tables
from steelyard_server.errors import (
    ContentDeleted,
    IdempotencyKeyReused,
    SemanticVersionAlreadyExists,
    VersionAlreadyExists,
)
from steelyard_server.history import events

if TYPE_CHECKING:
    from steelyard_server.core.models import Model
    from steelyard_server.core.versions import Draft
    from steelyard_server.db.database import Row, Transaction

SET_ONCE = ("semantic_version", "idempotency_key")

_V, _T = tables.versions.c, tables.tombstones.c
_OF_MODEL = select(tables.versions).where(_V.model_id == bindparam("model"))
_BY_DIGEST = _OF_MODEL.where(_V.digest == bindparam("digest"))
_BY_KEY = _OF_MODEL.where(_V.idempotency_key == bindparam("idempotency_key"))
_BY_SEMANTIC_VERSION = _OF_MODEL.where(_V.semantic_version == bindparam("semantic_version"))
_PURGED_WITH_KEY = select(_T.number).where(
    _T.model_id == bindparam("model"), _T.idempotency_key == bindparam("idempotency_key")
)


def find(tx: Transaction, *, parent: Model, digest: str, draft: Draft) -> Row | None:
    """Return the version of a locked model that has this content already; None for new content.

    Raises:
        IdempotencyKeyReused: the key is that of other content, or of a purged version.
        SemanticVersionAlreadyExists: another version has it, deleted ones included.
        ContentDeleted: the version with this content is deleted.
        VersionAlreadyExists: it has other set-once fields.
    """
    if draft.idempotency_key:
        _check_idempotency_key(tx, draft.idempotency_key, parent=parent, digest=digest)
    same = tx.one(_BY_DIGEST, model=parent.id, digest=digest)
    if same is None or not same.semantic_version:
        _check_semantic_version(tx, parent=parent, draft=draft)
    if same is None:
        return None
    if same.delete_time is not None:
        delete_time = events.time_text(same.delete_time)
        message = (
            f"This content is {parent.text}:{same.number}, which was deleted at {delete_time}; "
            "undelete it, or purge it and create it anew."
        )
        raise ContentDeleted(message, model=parent.text, number=same.number, delete_time=delete_time)
    for name in SET_ONCE:
        asked, stands = getattr(draft, name), getattr(same, name)
        if asked and stands and asked != stands:
            message = (
                f"This content is {parent.text}:{same.number}, whose {name} is {names.quoted(stands)} "
                f"and stays so; leave {name} empty, or use that version."
            )
            raise VersionAlreadyExists(message, model=parent.text, number=same.number)
    return same


def _check_idempotency_key(tx: Transaction, key: str, *, parent: Model, digest: str) -> None:
    """Demand that *key* is new, or that of the version with this content."""
    keyed = tx.one(_BY_KEY, model=parent.id, idempotency_key=key)
    if keyed is not None and keyed.digest == digest:
        return
    purged = None if keyed is not None else tx.one(_PURGED_WITH_KEY, model=parent.id, idempotency_key=key)
    taken = keyed or purged
    if taken is not None:
        why = "has other content" if keyed else "was purged"
        message = (
            f"The idempotency key {names.quoted(key)} belongs to {parent.text}:{taken.number}, "
            f"which {why}; use a new key."
        )
        facts = {"number": taken.number, "idempotency_key": key}
        raise IdempotencyKeyReused(message, model=parent.text, **facts)


def _check_semantic_version(tx: Transaction, *, parent: Model, draft: Draft) -> None:
    if not draft.semantic_version:
        return
    taken = tx.one(_BY_SEMANTIC_VERSION, model=parent.id, semantic_version=draft.semantic_version)
    if taken is not None:
        deleted = " and deleted" if taken.delete_time is not None else ""
        message = (
            f"{parent.text}:{taken.number} is {draft.semantic_version} already{deleted}; "
            "raise the semantic version."
        )
        facts = {"number": taken.number, "semantic_version": draft.semantic_version}
        raise SemanticVersionAlreadyExists(message, model=parent.text, **facts)
