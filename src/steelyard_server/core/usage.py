"""Usage: how many bytes each namespace and model needs, and which of them nothing else needs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    bindparam,
    case,
    cast,
    func,
    select,
    union,
    union_all,
)

from steelyard_server.core import names, namespaces
from steelyard_server.core.blobs import REFERRERS
from steelyard_server.db import tables
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from steelyard_server.db.database import Row, Transaction

_B, _H = tables.blobs.c, tables.holdings.c
_M, _N, _V = tables.models.c, tables.namespaces.c, tables.versions.c


@dataclass(frozen=True, slots=True)
class Usage:
    """What one namespace or model uses.

    Args:
        name: the namespace, or `namespace/model`.
        versions: also deleted ones, whose bytes stay until they are purged.
        size_bytes: of its blobs, each counted once.
        unique_bytes: of those that no other namespace or model uses.
    """

    name: str
    versions: int
    blobs: int
    size_bytes: int
    unique_bytes: int


@dataclass(frozen=True, slots=True)
class Stored:
    """All blobs: those that are not condemned, and the bytes of those that are."""

    blobs: int
    size_bytes: int
    trash_bytes: int


def _sum(value: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.coalesce(func.sum(value), 0), BigInteger)


def _named(owner: ColumnElement[int]) -> Select[*tuple[Any, ...]]:
    """Select which blobs the versions of each *owner* and their evaluations name."""
    referring = union_all(
        *(
            select(each.version_id, each.digest.label("digest"), each.size_bytes.label("size_bytes")).where(
                each.counts
            )
            for each in REFERRERS
        )
    ).cte("referring")
    return (
        select(owner.label("owner"), referring.c.digest, referring.c.size_bytes)
        .join(tables.versions, _V.id == referring.c.version_id)
        .join(tables.models, _M.id == _V.model_id)
    )


def _totals(used: Select[*tuple[Any, ...]], *, or_leased: bool) -> Select[*tuple[Any, ...]]:
    """Add up by owner what *used* selects; a union also drops what one owner uses twice."""
    leased = select(_H.namespace_id, _H.digest, _H.size_bytes).where(_H.lease_expire_time > bindparam("now"))
    pairs = (union(used, leased) if or_leased else used.distinct()).cte("pairs")
    owners = select(pairs.c.digest, func.count().label("owners")).group_by(pairs.c.digest).cte("owners")
    alone = case((owners.c.owners == 1, pairs.c.size_bytes), else_=0)
    return (
        select(
            pairs.c.owner,
            func.count().label("blobs"),
            _sum(pairs.c.size_bytes).label("size_bytes"),
            _sum(alone).label("unique_bytes"),
        )
        .join(owners, owners.c.digest == pairs.c.digest)
        .group_by(pairs.c.owner)
    )


def _count(owner: ColumnElement[int]) -> Select[*tuple[Any, ...]]:
    return (
        select(owner.label("owner"), func.count().label("versions"))
        .select_from(tables.versions)
        .join(tables.models, _M.id == _V.model_id)
        .group_by(owner)
    )


def _usages(
    owner: ColumnElement[int], name: ColumnElement[str], *, of_versions: ColumnElement[int], or_leased: bool
) -> Select[*tuple[Any, ...]]:
    """Select names with their use, the largest first, each with how many there are in all."""
    used = _totals(_named(of_versions), or_leased=or_leased).cte("used")
    counted = _count(of_versions).cte("counted")
    size_bytes = func.coalesce(used.c.size_bytes, 0).label("size_bytes")
    return (
        select(
            name.label("name"),
            func.coalesce(counted.c.versions, 0).label("versions"),
            func.coalesce(used.c.blobs, 0).label("blobs"),
            size_bytes,
            func.coalesce(used.c.unique_bytes, 0).label("unique_bytes"),
            func.count().over().label("owners"),
        )
        .select_from(owner.table)
        .outerjoin(used, used.c.owner == owner)
        .outerjoin(counted, counted.c.owner == owner)
        .order_by(size_bytes.desc(), name)
        .limit(LIMITS.page_size_maximum)
    )


_BY_NAMESPACE = _usages(_N.id, _N.name, of_versions=_M.namespace_id, or_leased=True)
_BY_MODEL = _usages(_M.id, _M.name, of_versions=_V.model_id, or_leased=False).where(
    _M.namespace_id == bindparam("namespace"), _M.purge_time.is_(None)
)
_STORED = select(
    func.count().filter(_B.condemn_time.is_(None)).label("blobs"),
    _sum(case((_B.condemn_time.is_(None), _B.size_bytes), else_=0)).label("size_bytes"),
    _sum(case((_B.condemn_time.is_(None), 0), else_=_B.size_bytes)).label("trash_bytes"),
)


def find(tx: Transaction, *, namespace: str) -> tuple[list[Usage], int, Stored]:
    """Return the use of namespaces, or of the models of *namespace*, and what is stored in all.

    Returns:
        The largest, at most a page; how many there are; and what is stored.

    Raises:
        NamespaceNotFound: no such namespace.
    """
    if namespace:
        names.namespace(namespace, field="namespace")
        rows = tx.all(_BY_MODEL, namespace=namespaces.find_id(tx, name=namespace))
    else:
        rows = tx.all(_BY_NAMESPACE, now=time.time_ns() // 1000)
    prefix = f"{namespace}/" if namespace else ""
    usages = [_value(row, prefix=prefix) for row in rows]
    row = tx.one(_STORED)
    stored = Stored(*row) if row is not None else Stored(0, 0, 0)
    return usages, rows[0].owners if rows else 0, stored


def _value(row: Row, *, prefix: str) -> Usage:
    return Usage(prefix + row.name, row.versions, row.blobs, row.size_bytes, row.unique_bytes)
