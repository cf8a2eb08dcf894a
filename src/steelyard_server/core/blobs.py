"""Blobs: which bytes exist, and which namespace may know of them.

A namespace holds a blob that it uploaded, under a lease, or that one of its versions names. The
bytes themselves are in the blob store; a row here means that they are there, whole and durable.
Blobs are bookkeeping, not registry state: they make no events.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, and_, bindparam, exists, select, update

from steelyard_server.core import names, namespaces
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of, insert_new
from steelyard_server.errors import BlobMissing, SizeMismatch
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from steelyard_server.core.content import File
    from steelyard_server.db.database import Transaction

# Digests in the message and metadata of an error, which must stay small.
DIGESTS_SHOWN = 20

_B, _H, _F = tables.blobs.c, tables.holdings.c, tables.files.c
# What refers to a blob: columns with its digest, and which of their rows count. Nothing that is named
# here is collected, so whoever adds a kind of reference adds it to this list.
REFERRERS: tuple[tuple[ColumnElement[str], ColumnElement[bool]], ...] = (
    (_F.digest, _F.external_uri.is_(None)),
)
_UNRECORDED = [
    select(column.label("digest")).where(and_(counts, ~exists().where(_B.digest == column))).limit(1)
    for column, counts in REFERRERS
]

_HELD = select(_H.digest, _H.size_bytes).where(
    _H.namespace_id == bindparam("namespace"), any_of(_H.digest, "digests")
)
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
_INSERT = insert_new(tables.blobs)
_HOLD = insert_new(tables.holdings)


def find_missing(
    tx: Transaction, *, namespace: str, wanted: Sequence[tuple[str, int]], sizes_bytes: Sequence[int]
) -> tuple[list[str], list[int]]:
    """Return the digests that *namespace* does not hold, and those of *sizes_bytes* that some held blob has.

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
    namespace_id = namespaces.find_id(tx, name=namespace)
    held = _held(tx, namespace_id=namespace_id, digests=[digest for digest, _ in wanted])
    _renew(tx, namespace_id=namespace_id, digests=list(held))
    missing = [digest for digest, size_bytes in wanted if held.get(digest) != size_bytes]
    sizes = tx.all(_HELD_SIZES, namespace=namespace_id, sizes_bytes=list(sizes_bytes)) if sizes_bytes else []
    return missing, sorted(row.size_bytes for row in sizes)


def is_held(tx: Transaction, *, namespace: str, digest: str, size_bytes: int) -> bool:
    """Return whether *namespace* holds a blob of this digest and size.

    Raises:
        NamespaceNotFound: no such namespace.
    """
    namespace_id = namespaces.find_id(tx, name=namespace)
    return _held(tx, namespace_id=namespace_id, digests=[digest]).get(digest) == size_bytes


def record(tx: Transaction, *, namespace: str, blobs: Iterable[tuple[str, int]]) -> None:
    """Record blobs whose bytes are durable in the store, and let *namespace* hold them.

    Recording what is known is a success, so two clients may upload the same file.

    Raises:
        NamespaceNotFound: it was deleted meanwhile.
    """
    namespace_id = namespaces.find_id(tx, name=namespace)
    now = time.time_ns() // 1000
    stored = dict(blobs)
    tx.run(_INSERT, [{"digest": d, "size_bytes": size, "create_time": now} for d, size in stored.items()])
    expire = _lease_expire_time()
    holdings = [
        {"namespace_id": namespace_id, "digest": d, "size_bytes": size, "lease_expire_time": expire}
        for d, size in stored.items()
    ]
    if tx.run(_HOLD, holdings) < len(holdings):
        _renew(tx, namespace_id=namespace_id, digests=list(stored))


def require(tx: Transaction, *, namespace_id: int, namespace: str, files: Sequence[File]) -> None:
    """Demand that a namespace holds the blobs of all *files* that are no external references.

    Raises:
        BlobMissing: some are not held; metadata has their digests.
        SizeMismatch: a held blob has another size than the file says.
    """
    wanted = {file.digest: file for file in files if not file.uri}
    held = _held(tx, namespace_id=namespace_id, digests=list(wanted))
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
            raise SizeMismatch(message, field="content.files.size_bytes", **facts)


def unrecorded(tx: Transaction) -> str:
    """Return the digest of a blob that is referred to and not recorded; empty when all are."""
    found = (tx.one(statement) for statement in _UNRECORDED)
    return next((row.digest for row in found if row is not None), "")


def _held(tx: Transaction, *, namespace_id: int, digests: list[str]) -> dict[str, int]:
    if not digests:
        return {}
    return {row.digest: row.size_bytes for row in tx.all(_HELD, namespace=namespace_id, digests=digests)}


def _renew(tx: Transaction, *, namespace_id: int, digests: list[str]) -> None:
    if digests:
        tx.run(_RENEW, {"namespace": namespace_id, "digests": digests, "expire": _lease_expire_time()})


def _lease_expire_time() -> int:
    return time.time_ns() // 1000 + LIMITS.lease_seconds * 1_000_000
