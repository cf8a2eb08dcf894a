"""The registry itself: what a restore demands of it, and the epoch in which its history then goes on."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, exists, select, update

from steelyard_server.core.blobs import REFERRERS
from steelyard_server.db import tables
from steelyard_server.history import events
from steelyard_server.history.events import Change, Scope

if TYPE_CHECKING:
    from steelyard_server.db.database import Transaction
    from steelyard_server.history.act import Act

_B, _R = tables.blobs.c, tables.registry.c
_BEGIN_EPOCH = update(tables.registry).where(_R.id == 1).values(epoch=bindparam("new"))
_UNRECORDED = [
    select(each.digest.label("digest"))
    .where(and_(each.counts, ~exists().where(_B.digest == each.digest, _B.condemn_time.is_(None))))
    .limit(1)
    for each in REFERRERS
]


def unrecorded(tx: Transaction) -> str:
    """Return the digest of a blob that is referred to and not recorded; empty when all are."""
    found = (tx.one(statement) for statement in _UNRECORDED)
    return next((row.digest for row in found if row is not None), "")


def begin_epoch(tx: Transaction, act: Act, *, backup_sequence: int, registry_digest: str) -> tuple[str, int]:
    """Begin a new epoch after a restore, and return it with the sequence of its event.

    The history may have gone on otherwise after the backup, so what was given out in the epoch before
    is not good any more.

    Args:
        backup_sequence: of the newest event that the backup has.
        registry_digest: logical digest of what was restored.
    """
    at = events.stamp(tx)
    epoch = str(uuid.uuid4())
    tx.run(_BEGIN_EPOCH, {"new": epoch})
    after = {"backup_sequence": str(backup_sequence), "registry_digest": registry_digest}
    change = Change(f"epoch/{epoch}", epoch, previous=0, after=after, scope=Scope())
    return epoch, events.append(tx, act, at, action="registry.restore", changes=[change])
