"""Blobs: which bytes exist, and which namespace may know of them.

A namespace holds a blob that it uploaded, under a lease, or that one of its versions or evaluations
names. The bytes themselves are in the blob store; a row here that is not condemned means that they
are in place, whole and durable. Blobs are bookkeeping, not registry state: they make no events.

Whoever relies on a blob locks its row until the commit, so that it cannot be condemned meanwhile;
``core/garbage.py`` has the other side.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Insert,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from steelyard_server.core import names, namespaces, quotas
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of, insert_new
from steelyard_server.errors import BlobMissing, SizeMismatch
from steelyard_server.history import events
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from steelyard_server.core.content import File
    from steelyard_server.db.database import Row, Transaction

# Digests in the message and metadata of an error, which must stay small.
DIGESTS_SHOWN = 20

# Blobs that one read lists.
PAGE_BLOBS = 1000

_B, _H, _F = tables.blobs.c, tables.holdings.c, tables.files.c
_E, _M, _V = tables.evaluations.c, tables.models.c, tables.versions.c


class Referrer(NamedTuple):
    """A table whose rows name blobs.

    Args:
        version_id: whose blobs these are.
        counts: which rows name bytes that are here.
    """

    digest: ColumnElement[str]
    size_bytes: ColumnElement[int]
    version_id: ColumnElement[int]
    counts: ColumnElement[bool]


# Nothing that is named here is collected, so whoever adds a kind of reference adds it to this list.
REFERRERS: tuple[Referrer, ...] = (
    Referrer(_F.digest, _F.size_bytes, _F.version_id, _F.external_uri.is_(None)),
    Referrer(_E.report_digest, _E.report_size_bytes, _E.version_id, _E.report_digest.isnot(None)),
)

_HELD = (
    select(_H.digest, _H.size_bytes, _H.lease_expire_time)
    .join(tables.blobs, _B.digest == _H.digest)
    .where(_H.namespace_id == bindparam("namespace"), any_of(_H.digest, "digests"), _B.condemn_time.is_(None))
)
_HELD_LOCKED = _HELD.with_for_update(read=True, key_share=True, of=tables.blobs)
_HELD_SIZES = (
    select(_H.size_bytes)
    .where(_H.namespace_id == bindparam("namespace"), any_of(_H.size_bytes, "sizes_bytes"))
    .distinct()
)
_RENEW = (
    update(tables.holdings)
    .where(
        _H.namespace_id == bindparam("namespace"),
        any_of(_H.digest, "digests"),
        _H.lease_expire_time < bindparam("expire"),
    )
    .values(lease_expire_time=bindparam("expire"))
)
_RECORD = insert(tables.blobs).values({column.name: bindparam(column.name) for column in _B})
_RECORD = _RECORD.on_conflict_do_update(
    index_elements=[_B.digest], set_={"condemn_time": None}, where=_B.condemn_time.isnot(None)
)


def _hold(digest: ColumnElement[str], size_bytes: ColumnElement[int], *which: ColumnElement[bool]) -> Insert:
    """Let a namespace hold what it does not hold yet of the blobs of some rows, in one order for all."""
    given = (bindparam(name, type_=BigInteger()) for name in ("namespace", "lease_expire_time"))
    namespace, lease_expire_time = given
    rows = select(namespace, digest, size_bytes, lease_expire_time).where(*which).distinct().order_by(digest)
    columns = ["namespace_id", "digest", "size_bytes", "lease_expire_time"]
    return insert_new(tables.holdings).from_select(columns, rows).returning(_H.size_bytes)


_HOLD_BLOBS = _hold(_B.digest, _B.size_bytes, any_of(_B.digest, "digests"))
_HOLD_FILES = _hold(
    _F.digest, _F.size_bytes, _F.version_id == bindparam("version"), _F.external_uri.is_(None)
)
_RELEASE = (
    delete(tables.holdings).where(any_of(_H.digest, "digests")).returning(_H.namespace_id, _H.size_bytes)
)


def _named_within(each: Referrer) -> ColumnElement[bool]:
    """Hold for holdings of a namespace of whose versions one names the blob."""
    rows = select(_V.id).select_from(tables.versions).join(tables.models, _M.id == _V.model_id)
    within = _M.namespace_id == _H.namespace_id
    return rows.where(_V.id == each.version_id, each.digest == _H.digest, each.counts, within).exists()


# Of what nobody names the holdings go with the blob.
_NEEDLESS = and_(
    _H.lease_expire_time <= bindparam("leases_until"),
    or_(*(exists().where(each.digest == _H.digest, each.counts) for each in REFERRERS)),
    *(~_named_within(each) for each in REFERRERS),
)
_FIND_NEEDLESS = (
    select(_H.digest)
    .where(_H.digest > bindparam("after"), _H.digest <= bindparam("last"), _NEEDLESS)
    .distinct()
    .order_by(_H.digest)
)
# Whoever holds a lock relies on the blob, so what is held of it stays.
_LOCK_FREE = (
    select(_B.digest)
    .where(any_of(_B.digest, "digests"))
    .order_by(_B.digest)
    .with_for_update(skip_locked=True)
)
_RELEASE_NEEDLESS = (
    delete(tables.holdings)
    .where(any_of(_H.digest, "digests"), _NEEDLESS)
    .returning(_H.namespace_id, _H.size_bytes)
)
_DUE = (
    _B.condemn_time.is_(None),
    func.coalesce(_B.verify_time, _B.create_time) < bindparam("before"),
)
_DUE_PAGE = (
    select(_B.digest, _B.size_bytes)
    .where(_B.digest > bindparam("after"), *_DUE)
    .order_by(_B.digest)
    .limit(PAGE_BLOBS)
)
_DUE_TOTAL = select(
    func.count().label("blobs"),
    cast(func.coalesce(func.sum(_B.size_bytes), 0), BigInteger).label("size_bytes"),
).where(*_DUE)
_VERIFIED = update(tables.blobs).where(any_of(_B.digest, "digests")).values(verify_time=bindparam("now"))
_STATES = select(_B.digest, _B.condemn_time).where(any_of(_B.digest, "digests"))


class Blob(NamedTuple):
    """A blob as it is recorded."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Missing:
    """What a namespace does not hold.

    Args:
        held_sizes_bytes: those of the sizes asked for that some held blob has.
        available_bytes: for which its quota leaves room; None for any number.
        available_versions_count: in the same way.
    """

    digests: list[str]
    held_sizes_bytes: list[int]
    available_bytes: int | None
    available_versions_count: int | None


def find_missing(
    tx: Transaction, *, namespace: str, wanted: Sequence[tuple[str, int]], sizes_bytes: Sequence[int]
) -> Missing:
    """Find out what *namespace* does not hold.

    Held blobs get a new lease, so that a version that follows finds them.

    Args:
        wanted: digests with their sizes; a held blob of another size counts as missing.

    Raises:
        NamespaceNotFound: no such namespace.
    """
    names.namespace(namespace)
    names.at_most(len(wanted), LIMITS.find_blobs_count, field="blobs")
    names.at_most(len(sizes_bytes), LIMITS.find_blobs_count, field="sizes_bytes")
    for index, (digest, size_bytes) in enumerate(wanted):
        names.digest(digest, field=f"blobs[{index}].digest")
        names.number(size_bytes, field=f"blobs[{index}].size_bytes", maximum=LIMITS.file_bytes)
    space = namespaces.find(tx, name=namespace)
    held = _held_locked(tx, namespace_id=space.id, digests=[digest for digest, _ in wanted])
    _renew(tx, namespace_id=space.id, digests=list(held))
    sizes = tx.all(_HELD_SIZES, namespace=space.id, sizes_bytes=list(sizes_bytes)) if sizes_bytes else []
    return Missing(
        digests=[digest for digest, size_bytes in wanted if held.get(digest) != size_bytes],
        held_sizes_bytes=sorted(row.size_bytes for row in sizes),
        available_bytes=quotas.room(space.quota.size_bytes, space.usage.size_bytes),
        available_versions_count=quotas.room(space.quota.versions_count, space.usage.versions_count),
    )


def admit(tx: Transaction, *, namespace: str, digest: str, size_bytes: int) -> float | None:
    """Return how long *namespace* holds a blob under a lease, at least; None when it is to be sent.

    Args:
        digest: empty when it is not known yet.

    Raises:
        NamespaceNotFound: no such namespace.
        QuotaExceeded: the namespace does not hold it, and may not hold so many bytes more.
    """
    space = namespaces.find(tx, name=namespace)
    row = tx.one(_HELD, namespace=space.id, digests=[digest]) if digest else None
    if row is None or row.size_bytes != size_bytes:
        quotas.require_room(space.quota, space.usage, namespace=namespace, size_bytes=size_bytes)
        return None
    left: float = (row.lease_expire_time - _now()) / 1_000_000
    return left


def renew(tx: Transaction, *, namespace: str, digest: str, size_bytes: int) -> bool:
    """Give a blob that *namespace* holds a new lease, and return whether it holds it.

    Raises:
        NamespaceNotFound: no such namespace.
    """
    missing = find_missing(tx, namespace=namespace, wanted=[(digest, size_bytes)], sizes_bytes=[])
    return not missing.digests


def record(tx: Transaction, *, namespace: str, blobs: Iterable[tuple[str, int]]) -> None:
    """Record blobs whose bytes are durable in the store, and let *namespace* hold them.

    Recording what is known is a success, so two clients may upload the same file. One that was
    condemned is so no longer. The caller keeps the collector away from the bytes until the commit;
    see ``blobs/claims.py``.

    Raises:
        NamespaceNotFound: it was deleted meanwhile.
        QuotaExceeded: it may not hold so many bytes.
    """
    namespace_id = namespaces.find_id(tx, name=namespace)
    times = {"create_time": _now(), "condemn_time": None, "verify_time": None}
    # In one order, so that two that record the same blobs do not wait for each other in a circle.
    stored = dict(sorted(blobs))
    tx.run(_RECORD, [{"digest": d, "size_bytes": size} | times for d, size in stored.items()])
    digests = list(stored)
    held = tx.all(
        _HOLD_BLOBS, namespace=namespace_id, digests=digests, lease_expire_time=_lease_expire_time()
    )
    _count(tx, held, namespace_id=namespace_id)
    if len(held) < len(stored):
        _renew(tx, namespace_id=namespace_id, digests=digests)


def require(
    tx: Transaction,
    *,
    namespace_id: int,
    namespace: str,
    files: Sequence[File],
    field: str = "content.files",
) -> None:
    """Demand that a namespace holds the blobs of all *files* that are no external references.

    Args:
        field: where the files stand in the request.

    Raises:
        BlobMissing: some are not held; metadata has their digests.
        SizeMismatch: a held blob has another size than the file says.
    """
    wanted = {file.digest: file for file in files if not file.uri}
    held = _held_locked(tx, namespace_id=namespace_id, digests=list(wanted))
    missing = [digest for digest in wanted if digest not in held]
    if missing:
        message = (
            f"{len(missing)} of {len(wanted)} blobs are not held by the namespace {namespace}; "
            f"upload them first. The first is {missing[0]} for {names.quoted(wanted[missing[0]].path)}."
        )
        digests = " ".join(missing[:DIGESTS_SHOWN])
        raise BlobMissing(message, namespace=namespace, count=len(missing), digests=digests)
    for file in files:
        if not file.uri and held[file.digest] != file.size_bytes:
            message = (
                f"The file {names.quoted(file.path)} is said to have {file.size_bytes} bytes; "
                f"the blob {file.digest} has {held[file.digest]}."
            )
            facts = {"expected_bytes": file.size_bytes, "actual_bytes": held[file.digest]}
            raise SizeMismatch(message, field=f"{field}.size_bytes", **facts)


def share(tx: Transaction, *, version_id: int, namespace_id: int) -> None:
    """Let a namespace hold the blobs that a version names, which is to be copied into it.

    None of them is condemned meanwhile: the version that is copied names them until the commit, for
    its model is locked.

    Raises:
        QuotaExceeded: the namespace may not hold so many bytes.
    """
    held = tx.all(_HOLD_FILES, version=version_id, namespace=namespace_id, lease_expire_time=0)
    _count(tx, held, namespace_id=namespace_id)


def release(tx: Transaction, *, digests: Sequence[str]) -> None:
    """Let no namespace hold these blobs any more."""
    _uncount(tx, tx.all(_RELEASE, digests=list(digests)))


def needless(tx: Transaction, *, after_digest: str, last_digest: str, end_leases: bool = False) -> list[str]:
    """Find blobs behind *after_digest* up to *last_digest* that some namespace holds and only others name.

    Args:
        end_leases: whether a lease keeps nothing.
    """
    bounds = {"after": after_digest, "last": last_digest, "leases_until": _leases_until(end_leases)}
    return [row.digest for row in tx.all(_FIND_NEEDLESS, **bounds)]


def release_needless(tx: Transaction, *, digests: Sequence[str], end_leases: bool = False) -> None:
    """Let namespaces hold those of *digests* no longer that they do not name and others do."""
    # Copies rely on what their namespace holds without locking it, but behind the head.
    events.lock_head(tx)
    locked = lock_free(tx, digests=digests)
    _uncount(tx, tx.all(_RELEASE_NEEDLESS, digests=locked, leases_until=_leases_until(end_leases)))


def lock_free(tx: Transaction, *, digests: Sequence[str]) -> list[str]:
    """Lock those of *digests* on which no other transaction relies, and return them in order."""
    return [row.digest for row in tx.all(_LOCK_FREE, digests=list(digests))]


def _leases_until(end_leases: bool) -> int:  # noqa: FBT001 - named where it comes from
    return names.INT64_MAXIMUM if end_leases else _now()


def _uncount(tx: Transaction, released: Sequence[Row]) -> None:
    sizes: dict[int, int] = {}
    for row in released:
        sizes[row.namespace_id] = sizes.get(row.namespace_id, 0) + row.size_bytes
    for namespace_id, size_bytes in sorted(sizes.items()):
        quotas.subtract(tx, namespace_id=namespace_id, size_bytes=size_bytes)


def _count(tx: Transaction, held: Sequence[Row], *, namespace_id: int) -> None:
    if held:
        quotas.add(tx, namespace_id=namespace_id, size_bytes=sum(row.size_bytes for row in held))


def due(tx: Transaction, *, after_digest: str, before_time: int) -> list[Blob]:
    """Return blobs behind *after_digest* that were last verified before a time, at most PAGE_BLOBS."""
    return [Blob(*row) for row in tx.all(_DUE_PAGE, after=after_digest, before=before_time)]


def due_total(tx: Transaction, *, before_time: int) -> tuple[int, int]:
    """Return how many blobs were last verified before a time, and their bytes."""
    row = tx.one(_DUE_TOTAL, before=before_time)
    return (row.blobs, row.size_bytes) if row is not None else (0, 0)


def mark_verified(tx: Transaction, *, digests: Sequence[str]) -> None:
    """Note that the bytes of blobs were read and are right."""
    tx.run(_VERIFIED, {"digests": list(digests), "now": _now()})


def states(tx: Transaction, *, digests: Sequence[str]) -> dict[str, int | None]:
    """Return when each of the blobs that are recorded was condemned, None for one that is not."""
    return {row.digest: row.condemn_time for row in tx.all(_STATES, digests=list(digests))}


def _held_locked(tx: Transaction, *, namespace_id: int, digests: list[str]) -> dict[str, int]:
    """Return the sizes of blobs that a namespace holds; none of them is condemned before the commit."""
    if not digests:
        return {}
    rows = tx.all(_HELD_LOCKED, namespace=namespace_id, digests=digests)
    return {row.digest: row.size_bytes for row in rows}


def _renew(tx: Transaction, *, namespace_id: int, digests: list[str]) -> None:
    if digests:
        tx.run(_RENEW, {"namespace": namespace_id, "digests": digests, "expire": _lease_expire_time()})


def _lease_expire_time() -> int:
    return _now() + LIMITS.lease_seconds * 1_000_000


def _now() -> int:
    return time.time_ns() // 1000
