"""Files of a version: their list, and where the bytes of one are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select, union

from steelyard_server.core import marks, names, pages, paths, references
from steelyard_server.core.blobs import REFERRERS
from steelyard_server.core.content import File
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of
from steelyard_server.errors import FieldRequired, FileIsExternal, FileNotFound, OffsetOutOfRange
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard_server.core.references import Reference
    from steelyard_server.db.database import Row, Transaction

_F, _V = tables.files.c, tables.versions.c
_PAGE = (
    select(tables.files)
    .where(_F.version_id == bindparam("version"), _F.path > bindparam("after_path"))
    .order_by(_F.path)
    .limit(bindparam("limit"))
)
_BY_PATHS = select(tables.files).where(_F.version_id == bindparam("version"), any_of(_F.path, "paths"))
_BY_PATH = select(tables.files).where(_F.version_id == bindparam("version"), _F.path == bindparam("path"))
_NAMING = union(
    *(select(each.version_id).where(each.digest == bindparam("digest"), each.counts) for each in REFERRERS)
).subquery()
_COUNT_NAMING = select(func.count().label("versions")).select_from(_NAMING)
_NAMES_NAMING = (
    select(tables.namespaces.c.name.label("namespace"), tables.models.c.name.label("model"), _V.number)
    .select_from(tables.versions)
    .join(tables.models, tables.models.c.id == _V.model_id)
    .join(tables.namespaces, tables.namespaces.c.id == tables.models.c.namespace_id)
    .join(_NAMING, _NAMING.c.version_id == _V.id)
    .order_by(_V.id)
    .limit(bindparam("limit"))
)


def page(
    tx: Transaction, *, reference: Reference, after_path: str = "", page_size: int = 0
) -> tuple[list[File], bool, int, str]:
    """Return the files behind *after_path*, whether more follow, number and digest of the version."""
    _, version = references.resolve(tx, reference)
    listed, more = page_of(
        tx, version_id=version.id, after_path=after_path, page_size=pages.page_size(page_size)
    )
    return listed, more, version.number, version.digest


def page_of(
    tx: Transaction, *, version_id: int, page_size: int, after_path: str = ""
) -> tuple[list[File], bool]:
    """Return the files of one version whose paths follow *after_path*, and whether more follow."""
    rows, more = pages.take(
        tx,
        _PAGE,
        after={"after_path": after_path},
        key=lambda row: {"after_path": row.path},
        size_bytes=lambda row: pages.utf8_bytes(row.path, row.external_uri) + 128,
        rows_maximum=page_size,
        values={"version": version_id},
    )
    return [value(row) for row in rows], more


def all_of(tx: Transaction, *, version_id: int) -> list[File]:
    """Return all files of one version, at most `Limits.files_count`."""
    rows = tx.all(_PAGE, version=version_id, after_path="", limit=LIMITS.files_count)
    return [value(row) for row in rows]


def find(tx: Transaction, *, reference: Reference, path: str, offset: int = 0) -> tuple[File, int, str]:
    """Return a file whose bytes the registry has, with number and digest of its version.

    Raises:
        FileNotFound: the version has no file at *path*.
        FileIsExternal: its bytes stay elsewhere.
        OffsetOutOfRange: *offset* lies behind its end.
        VersionRevoked: the version was revoked.
    """
    names.number(offset, field="offset")
    paths.check(path, field="path")
    model, version = references.resolve(tx, reference)
    marks.require_usable(version, model=model)
    row = tx.one(_BY_PATH, version=version.id, path=path)
    file = _stored(row, path=path, model=reference.model, number=version.number)
    require_offset(file, offset)
    return file, version.number, version.digest


def require_offset(file: File, offset: int) -> None:
    """Demand that *offset* lies in *file*, or at its end.

    Raises:
        OffsetOutOfRange: it lies behind the end.
    """
    if offset > file.size_bytes:
        message = (
            f"{names.quoted(file.path)} has {file.size_bytes} bytes; the offset {offset} lies behind its end."
        )
        raise OffsetOutOfRange(message, size_bytes=file.size_bytes, offset=offset)


def find_all(tx: Transaction, *, reference: Reference, wanted: Sequence[str]) -> tuple[list[File], int, str]:
    """Return files whose bytes the registry has, in the order wanted, with number and digest of the version.

    Raises:
        FieldRequired, LimitExceeded: no path is wanted, or too many.
        FileNotFound, FileIsExternal: of the first path that is so.
        VersionRevoked: the version was revoked.
    """
    if not wanted:
        raise FieldRequired("Name at least one path.", field="paths")
    names.at_most(len(wanted), LIMITS.read_files_count, field="paths")
    for index, path in enumerate(wanted):
        paths.check(path, field=f"paths[{index}]")
    parent, version = references.resolve(tx, reference)
    marks.require_usable(version, model=parent)
    rows = {row.path: row for row in tx.all(_BY_PATHS, version=version.id, paths=list(wanted))}
    model = reference.model
    found = [_stored(rows.get(path), path=path, model=model, number=version.number) for path in wanted]
    return found, version.number, version.digest


def versions_with(tx: Transaction, *, digest: str, maximum: int) -> tuple[list[str], int]:
    """Return some of the versions that need a blob, as `namespace/model:number`, and how many do.

    Those need it too whose evaluations have it as a report.
    """
    counted = tx.one(_COUNT_NAMING, digest=digest)
    rows = tx.all(_NAMES_NAMING, digest=digest, limit=maximum)
    texts = [f"{row.namespace}/{row.model}:{row.number}" for row in rows]
    return texts, counted.versions if counted is not None else 0


def row(file: File, *, version_id: int) -> dict[str, object]:
    """Write *file* as a row of its version."""
    return {
        "version_id": version_id,
        "path": file.path,
        "digest": file.digest,
        "size_bytes": file.size_bytes,
        "role": file.role,
        "external_uri": file.uri or None,
    }


def value(row: Row) -> File:
    """Read the file of a row."""
    return File(
        path=row.path,
        digest=row.digest,
        size_bytes=row.size_bytes,
        role=row.role,
        uri=row.external_uri or "",
    )


def _stored(row: Row | None, *, path: str, model: str, number: int) -> File:
    """Return the file of *row*, whose bytes must be here."""
    if row is None:
        message = f"{model}:{number} has no file {names.quoted(path)}; list its files."
        raise FileNotFound(message, model=model, number=number, path=path)
    file = value(row)
    if file.uri:
        message = f"{names.quoted(path)} is an external reference; fetch it from {names.quoted(file.uri)}."
        raise FileIsExternal(message, path=path, uri=file.uri)
    return file
