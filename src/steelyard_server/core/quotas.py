"""Quotas: how much a namespace may have, and how much it has.

What a namespace has is counted in the transactions that change it: `add` with each new version and
each new holding, `subtract` with each that goes. `add` is also what refuses, behind the lock of the
count, so that of two that come at once the second sees the first. Whoever calls them waits for no
row of another afterwards, unless it locked the head first: else two could wait for each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, select, update

from steelyard_server.core import names
from steelyard_server.db import tables
from steelyard_server.errors import QuotaExceeded

if TYPE_CHECKING:
    from sqlalchemy import Column, ScalarSelect

    from steelyard_server.db.database import Transaction

_N, _U = tables.namespaces.c, tables.namespace_usages.c


def _of_namespace(column: Column[int]) -> ScalarSelect[int]:
    return select(column).where(_N.id == bindparam("namespace")).scalar_subquery()


_COUNT = (
    update(tables.namespace_usages)
    .where(_U.namespace_id == bindparam("namespace"))
    .values(
        size_bytes=_U.size_bytes + bindparam("added_bytes"),
        versions_count=_U.versions_count + bindparam("added_versions"),
    )
    # Read behind the lock: a quota that was committed while this waited holds.
    .returning(
        _U.size_bytes,
        _U.versions_count,
        _of_namespace(_N.name).label("name"),
        _of_namespace(_N.quota_size_bytes).label("quota_size_bytes"),
        _of_namespace(_N.quota_versions_count).label("quota_versions_count"),
    )
)


@dataclass(frozen=True, slots=True)
class Quota:
    """How much a namespace may have; 0 is any amount."""

    size_bytes: int = 0
    versions_count: int = 0

    @property
    def as_json(self) -> dict[str, str]:
        """Write the numbers that limit anything as history does."""
        numbers = {"size_bytes": self.size_bytes, "versions_count": self.versions_count}
        return {name: str(number) for name, number in numbers.items() if number}

    def check(self, *, field: str) -> Quota:
        """Check the numbers; *field* is where they stand in the request."""
        names.number(self.size_bytes, field=f"{field}.size_bytes")
        names.number(self.versions_count, field=f"{field}.versions_count")
        return self


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a namespace has: the bytes of what it holds, and its versions, deleted ones included."""

    size_bytes: int = 0
    versions_count: int = 0


ANY_AMOUNT: Final = Quota()
NOTHING: Final = Usage()


def add(tx: Transaction, *, namespace_id: int, size_bytes: int = 0, versions_count: int = 0) -> None:
    """Count what a namespace has more from now on.

    Raises:
        QuotaExceeded: that is more than it may have.
    """
    row = tx.one(_COUNT, namespace=namespace_id, added_bytes=size_bytes, added_versions=versions_count)
    if row is None:
        raise RuntimeError("A namespace has no count of what it uses.")
    used = Usage(row.size_bytes - size_bytes, row.versions_count - versions_count)
    quota = Quota(row.quota_size_bytes, row.quota_versions_count)
    require_room(quota, used, namespace=row.name, size_bytes=size_bytes, versions_count=versions_count)


def subtract(tx: Transaction, *, namespace_id: int, size_bytes: int = 0, versions_count: int = 0) -> None:
    """Count what a namespace has no more."""
    tx.one(_COUNT, namespace=namespace_id, added_bytes=-size_bytes, added_versions=-versions_count)


def room(allowed: int, used: int) -> int | None:
    """Return how much more a quota allows; None for any amount."""
    return max(allowed - used, 0) if allowed else None


def require_room(
    quota: Quota, used: Usage, *, namespace: str, size_bytes: int = 0, versions_count: int = 0
) -> None:
    """Demand that so much more fits into *quota*; nothing more fits always.

    Raises:
        QuotaExceeded: it does not.
    """
    if size_bytes and 0 < quota.size_bytes < used.size_bytes + size_bytes:
        raise QuotaExceeded(
            f"The namespace {namespace} may hold {quota.size_bytes} bytes and holds {used.size_bytes}; "
            f"{size_bytes} more do not fit. Purge versions that nobody needs and collect garbage, or "
            "have the quota raised.",
            namespace=namespace,
            quota="size_bytes",
            allowed=quota.size_bytes,
            used=used.size_bytes,
            asked=size_bytes,
        )
    if versions_count and 0 < quota.versions_count < used.versions_count + versions_count:
        raise QuotaExceeded(
            f"The namespace {namespace} may have {quota.versions_count} versions and has "
            f"{used.versions_count}, deleted ones included. Purge versions that nobody needs, or have the "
            "quota raised.",
            namespace=namespace,
            quota="versions_count",
            allowed=quota.versions_count,
            used=used.versions_count,
            asked=versions_count,
        )
