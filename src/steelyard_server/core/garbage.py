"""Garbage: blobs that nothing refers to, on their way out.

A blob is condemned when no row of ``blobs.REFERRERS`` names it, no lease holds it and it is older
than the grace. In the same transaction every namespace loses it, so from then on its bytes count for
nothing until they are uploaded again. When its time in the trash is over, its row is forgotten.

Who condemns locks the row first and looks again behind the lock; who relies on a blob locks it too,
see ``blobs.find_missing`` and ``blobs.require``. So either the blob is in use and stays, or whoever
comes later finds it missing.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, func, literal, select, update

from steelyard_server.core import blobs, expiry
from steelyard_server.core.blobs import PAGE_BLOBS, REFERRERS, Blob, Referrer
from steelyard_server.core.names import INT64_MAXIMUM
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of
from steelyard_server.history import events
from steelyard_server.history.events import Change, Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard_server.db.database import Transaction
    from steelyard_server.history.act import Act

# Blobs that one transaction condemns or forgets, so that no other waits long for it.
BATCH_BLOBS = 200

_B, _H, _M = tables.blobs.c, tables.holdings.c, tables.models.c
_N, _V = tables.namespaces.c, tables.versions.c
_UNNAMED = and_(*(~exists().where(each.digest == _B.digest, each.counts) for each in REFERRERS))


def _named_longer(each: Referrer) -> ColumnElement[bool]:
    """Hold for blobs that a version names which retention does not purge at the moment `now`."""
    rows = select(literal(1)).select_from(tables.versions).join(tables.models, _M.id == _V.model_id)
    rows = rows.join(tables.namespaces, _N.id == _M.namespace_id)
    return rows.where(
        _V.id == each.version_id, each.digest == _B.digest, each.counts, ~expiry.IS_OVER
    ).exists()


def _garbage(unnamed: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(
        _B.condemn_time.is_(None),
        _B.create_time <= bindparam("before"),
        unnamed,
        ~exists().where(_H.digest == _B.digest, _H.lease_expire_time > bindparam("leases_after")),
    )


_GARBAGE = _garbage(_UNNAMED)
_EXAMINE, _EXAMINE_LATER = (
    select(_B.digest, _B.size_bytes, is_garbage.label("is_garbage"))
    .where(_B.digest > bindparam("after"))
    .order_by(_B.digest)
    .limit(PAGE_BLOBS)
    for is_garbage in (_GARBAGE, _garbage(and_(*(~_named_longer(each) for each in REFERRERS))))
)
_CONDEMN = (
    update(tables.blobs)
    .where(any_of(_B.digest, "digests"), _GARBAGE)
    .values(condemn_time=bindparam("now"))
    .returning(_B.digest, _B.size_bytes)
)
_CONDEMNED = (
    select(_B.digest, _B.size_bytes, _B.condemn_time)
    .where(_B.condemn_time.isnot(None), _B.digest > bindparam("after"))
    .order_by(_B.digest)
    .limit(BATCH_BLOBS)
)
_FORGET = (
    delete(tables.blobs)
    .where(any_of(_B.digest, "digests"), _B.condemn_time <= bindparam("before"), _UNNAMED)
    .returning(_B.digest)
)
_COUNT = select(func.count().label("blobs")).select_from(tables.blobs)


class Condemned(NamedTuple):
    """A blob on its way out."""

    digest: str
    size_bytes: int
    condemn_time: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a collection did, as its event says it.

    Args:
        list_digest: of lines `condemned DIGEST`, `stray DIGEST` and `freed DIGEST`, as it happened.
    """

    condemned_blobs: int
    condemned_bytes: int
    freed_blobs: int
    freed_bytes: int
    stray_files: int
    list_digest: str


def count(tx: Transaction) -> int:
    """Return how many blobs are recorded."""
    counted = tx.one(_COUNT)
    return counted.blobs if counted is not None else 0


def examine(
    tx: Transaction,
    *,
    after_digest: str,
    grace_seconds: int,
    end_leases: bool = False,
    purged_at: int | None = None,
) -> tuple[list[Blob], str, int]:
    """Look at the blobs behind *after_digest*, at most PAGE_BLOBS.

    Args:
        end_leases: whether a lease keeps nothing.
        purged_at: do as if retention had purged then what it lets go.

    Returns:
        Those that could be condemned now, the last digest that was looked at (empty when there was
        none), and how many were.
    """
    ages = _ages(_now(), grace_seconds=grace_seconds, end_leases=end_leases)
    if purged_at is None:
        rows = tx.all(_EXAMINE, after=after_digest, **ages)
    else:
        rows = tx.all(_EXAMINE_LATER, after=after_digest, now=purged_at, **ages)
    found = [Blob(row.digest, row.size_bytes) for row in rows if row.is_garbage]
    return found, rows[-1].digest if rows else "", len(rows)


def condemn(
    tx: Transaction, *, digests: Sequence[str], grace_seconds: int, end_leases: bool = False
) -> list[Blob]:
    """Condemn those of *digests* that are garbage, and return them in the order of their digests."""
    locked = blobs.lock_free(tx, digests=digests)
    now = _now()
    ages = _ages(now, grace_seconds=grace_seconds, end_leases=end_leases)
    rows = tx.all(_CONDEMN, digests=locked, now=now, **ages)
    condemned = sorted(Blob(*row) for row in rows)
    blobs.release(tx, digests=[blob.digest for blob in condemned])
    return condemned


def condemned(tx: Transaction, *, after_digest: str) -> list[Condemned]:
    """Return the blobs behind *after_digest* that are condemned, at most BATCH_BLOBS."""
    return [Condemned(*row) for row in tx.all(_CONDEMNED, after=after_digest)]


def settle(tx: Transaction, *, digests: Sequence[str], trash_seconds: int) -> tuple[list[str], list[str]]:
    """Forget those of *digests* that were condemned so long ago.

    Returns:
        Those that are forgotten, and those that are still condemned, in the order of their digests.
    """
    rows = tx.all(_FORGET, digests=list(digests), before=_ago(_now(), trash_seconds))
    states = blobs.states(tx, digests=digests)
    still = sorted(digest for digest, condemn_time in states.items() if condemn_time is not None)
    return sorted(row.digest for row in rows), still


def report(tx: Transaction, act: Act, *, outcome: Outcome) -> int:
    """Append the event of a collection that changed something, and return its sequence."""
    at = events.stamp(tx)
    uid = str(uuid.uuid4())
    after = {
        "condemned_blobs": str(outcome.condemned_blobs),
        "condemned_bytes": str(outcome.condemned_bytes),
        "freed_blobs": str(outcome.freed_blobs),
        "freed_bytes": str(outcome.freed_bytes),
        "stray_files": str(outcome.stray_files),
        "list_digest": outcome.list_digest,
    }
    change = Change(f"garbage/{uid}", uid, previous=0, after=after, scope=Scope())
    return events.append(tx, act, at, action="garbage.collect", changes=[change])


def _ages(now: int, *, grace_seconds: int, end_leases: bool) -> dict[str, int]:
    return {"before": _ago(now, grace_seconds), "leases_after": INT64_MAXIMUM if end_leases else now}


def _ago(now: int, seconds: int) -> int:
    return now - seconds * 1_000_000


def _now() -> int:
    return time.time_ns() // 1000
