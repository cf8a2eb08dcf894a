"""What a version is known by in its model: content, number, semantic version and idempotency key, each once.

A deleted version keeps all of them. A purged one keeps its number and its idempotency key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select

from steelyard_server.core import names
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of
from steelyard_server.errors import (
    ContentDeleted,
    IdempotencyKeyReused,
    NumberTaken,
    SemanticVersionAlreadyExists,
    VersionAlreadyExists,
)
from steelyard_server.history import events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard_server.core.drafts import Draft
    from steelyard_server.core.models import Model
    from steelyard_server.core.versions import Version
    from steelyard_server.db.database import Row, Transaction

SET_ONCE = ("semantic_version", "idempotency_key")

_V, _T = tables.versions.c, tables.tombstones.c
_OF_MODEL = select(tables.versions).where(_V.model_id == bindparam("model"))
_BY_NUMBER = _OF_MODEL.where(_V.number == bindparam("number"))
_BY_DIGEST = _OF_MODEL.where(_V.digest == bindparam("digest"))
_BY_DIGESTS = _OF_MODEL.where(any_of(_V.digest, "digests"))
_BY_KEY = _OF_MODEL.where(_V.idempotency_key == bindparam("idempotency_key"))
_BY_SEMANTIC_VERSION = _OF_MODEL.where(_V.semantic_version == bindparam("semantic_version"))
_PURGED_WITH_KEY = select(_T.number).where(
    _T.model_id == bindparam("model"), _T.idempotency_key == bindparam("idempotency_key")
)


def find(tx: Transaction, *, parent: Model, digest: str, draft: Draft) -> Row | None:
    """Return the version of a locked model that has this content already; None for new content.

    Raises:
        RegistryError: as of `check`.
    """
    same = tx.one(_BY_DIGEST, model=parent.id, digest=digest)
    check(tx, same, parent=parent, digest=digest, draft=draft)
    return same


def find_all(tx: Transaction, *, parent: Model, digests: Sequence[str]) -> dict[str, Row]:
    """Return the versions of a locked model that have one of these contents, unchecked, by digest."""
    return {row.digest: row for row in tx.all(_BY_DIGESTS, model=parent.id, digests=list(digests))}


def check(tx: Transaction, same: Row | None, *, parent: Model, digest: str, draft: Draft) -> None:
    """Demand that a locked model can have what *draft* asks for.

    Args:
        same: its version with this content, if it has one.

    Raises:
        IdempotencyKeyReused: the key is that of other content, or of a purged version.
        SemanticVersionAlreadyExists: another version has it, deleted ones included.
        ContentDeleted: the version with this content is deleted.
        VersionAlreadyExists: it has other set-once fields, or another number.
        NumberTaken: the number of new content is not above all that were used.
    """
    if draft.idempotency_key:
        _check_idempotency_key(tx, draft.idempotency_key, parent=parent, digest=digest)
    if same is None or not same.semantic_version:
        _check_semantic_version(tx, parent=parent, draft=draft)
    if same is None:
        _check_number(tx, parent=parent, number=draft.number)
        return
    if same.delete_time is not None:
        delete_time = events.time_text(same.delete_time)
        message = (
            f"This content is {parent.text}:{same.number}, which was deleted at {delete_time}; "
            "restore it, or purge it and create it anew."
        )
        raise ContentDeleted(message, model=parent.text, number=same.number, delete_time=delete_time)
    for name in ("number", *SET_ONCE):
        asked, stands = getattr(draft, name), getattr(same, name)
        if asked and stands and asked != stands:
            message = (
                f"This content is {parent.text}:{same.number}, whose {name} is {names.quoted(str(stands))} "
                f"and stays so; leave {name} empty, or use that version."
            )
            raise VersionAlreadyExists(message, model=parent.text, number=same.number)


def unset(version: Version | Row, *, draft: Draft) -> dict[str, Any]:
    """Return the set-once fields that *draft* has and *version* does not."""
    missing = (name for name in SET_ONCE if not getattr(version, name))
    return {name: wanted for name in missing if (wanted := getattr(draft, name))}


def _check_number(tx: Transaction, *, parent: Model, number: int) -> None:
    """Demand that *number*, which new content is to keep, is above all that were ever used; 0 is."""
    if not number or number > parent.last_number:
        return
    row = tx.one(_BY_NUMBER, model=parent.id, number=number)
    was = f"is another version, {row.digest}" if row else "was purged, or left out by an import"
    message = (
        f"{parent.text}:{number} {was}, and numbers are never used again; the last one is "
        f"{parent.last_number}. Import into another model, or with new numbers."
    )
    raise NumberTaken(message, model=parent.text, number=number, last_number=parent.last_number)


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
