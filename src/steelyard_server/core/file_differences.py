"""Differences of files: what is added, removed and changed between versions of up to 10,000 files each.

The database compares; what is read are sums, and a bounded number of files that differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ColumnElement, and_, bindparam, case, func, or_, select

from steelyard_server.core import files
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard_server.core.content import File
    from steelyard_server.core.versions import Version
    from steelyard_server.db.database import Transaction

Change = Literal["", "added", "removed", "changed"]

_F = tables.files.c
_BASE = tables.files.alias("base")
_B = _BASE.c


def _vary(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Hold for a group whose rows have more than one value of *column*."""
    return func.min(column) != func.max(column)


# Without concatenating or counting distinct values, either of which takes twice as long.
_DIFFERING = (
    select(_F.path, func.count().over().label("total"))
    .where(any_of(_F.version_id, "versions"))
    .group_by(_F.path)
    .having(
        or_(
            func.count() < bindparam("count"),
            _vary(_F.digest),
            _vary(_F.role),
            # References may state any size, and no digest: then the address must do.
            _vary(_F.size_bytes),
            and_(func.min(_F.digest) == "", _vary(_F.external_uri)),
        )
    )
    .order_by(_F.path)
    .limit(bindparam("limit"))
)
_OF_PATHS = select(tables.files).where(any_of(_F.version_id, "versions"), any_of(_F.path, "paths"))
_ALIKE = and_(
    _F.role == _B.role,
    _F.size_bytes == _B.size_bytes,
    _F.digest == _B.digest,
    or_(_F.digest != "", _F.external_uri == _B.external_uri),
)
_ADDED = _B.path.is_(None)
# Sums of what a version has otherwise than the baseline; all else follows from the sums over all its files.
_UNLIKE_BASELINE = (
    select(
        _F.version_id,
        func.sum(case((_ADDED, 1), else_=0)).label("added_count"),
        func.sum(case((_ADDED, _F.size_bytes), else_=0)).label("added_bytes"),
        func.sum(case((_ADDED, 0), else_=1)).label("changed_count"),
        func.sum(case((_ADDED, 0), else_=_F.size_bytes)).label("changed_bytes"),
        func.sum(case((_ADDED, 0), else_=_B.size_bytes)).label("replaced_bytes"),
    )
    .outerjoin(_BASE, and_(_B.version_id == bindparam("baseline"), _B.path == _F.path))
    .where(any_of(_F.version_id, "versions"), or_(_ADDED, ~_ALIKE))
    .group_by(_F.version_id)
)


@dataclass(frozen=True, slots=True)
class FileComparison:
    """One path where versions differ, with a place for each; `change` is from the first to the last."""

    path: str
    files: tuple[File | None, ...]
    change: Change


@dataclass(frozen=True, slots=True)
class FileTotals:
    """How the files of one version differ from the baseline's; sizes of changed files are the new ones."""

    added_count: int = 0
    added_bytes: int = 0
    removed_count: int = 0
    removed_bytes: int = 0
    changed_count: int = 0
    changed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class FileDifferences:
    """Paths where versions differ, the first of them; how many there are; and sums over all files."""

    files: Sequence[FileComparison]
    count: int
    totals: Sequence[FileTotals]


def find(tx: Transaction, versions: Sequence[Version]) -> FileDifferences:
    """Compare the files of *versions*, of which the first is the baseline."""
    ids = [version.id for version in versions]
    differing = tx.all(_DIFFERING, versions=ids, count=len(ids), limit=LIMITS.compared_files_count)
    if not differing:
        return FileDifferences((), 0, (FileTotals(),) * len(versions))
    found: dict[str, dict[int, File]] = {row.path: {} for row in differing}
    for row in tx.all(_OF_PATHS, versions=ids, paths=list(found)):
        found[row.path][row.version_id] = files.value(row)
    sides = ((path, tuple(each.get(key) for key in ids)) for path, each in found.items())
    compared = [FileComparison(path, side, _change(side[0], side[-1])) for path, side in sides]
    return FileDifferences(compared, differing[0].total, _totals(tx, versions))


def _change(before: File | None, after: File | None) -> Change:
    if before is None or after is None:
        return "removed" if before is not None else "added" if after is not None else ""
    return "" if _likeness(before) == _likeness(after) else "changed"


def _likeness(file: File) -> tuple[object, ...]:
    return file.role, file.size_bytes, file.digest or file.uri


def _totals(tx: Transaction, versions: Sequence[Version]) -> list[FileTotals]:
    baseline, *others = versions
    rows = tx.all(_UNLIKE_BASELINE, baseline=baseline.id, versions=[version.id for version in others])
    # A database may sum to decimals.
    sums = {version_id: tuple(map(int, found)) for version_id, *found in rows}
    nothing = (0, 0, 0, 0, 0)
    others_totals = (_total(each, sums.get(each.id, nothing), baseline=baseline) for each in others)
    return [FileTotals(), *others_totals]


def _total(version: Version, sums: tuple[int, ...], *, baseline: Version) -> FileTotals:
    added_count, added_bytes, changed_count, changed_bytes, replaced_bytes = sums
    kept_bytes = version.size_bytes - added_bytes - changed_bytes + replaced_bytes
    return FileTotals(
        added_count=added_count,
        added_bytes=added_bytes,
        removed_count=baseline.file_count - (version.file_count - added_count),
        removed_bytes=baseline.size_bytes - kept_bytes,
        changed_count=changed_count,
        changed_bytes=changed_bytes,
    )
