"""What tests of the rules need again and again: callers, content, and a registry with a model in it."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Table, select, update

from steelyard_server.core import blobs, manifest, models, namespaces, versions
from steelyard_server.core.content import Content, File, Parameter
from steelyard_server.core.manifest import Manifest
from steelyard_server.core.references import Reference
from steelyard_server.core.versions import Version
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from steelyard_server.history.act import Act, RequestKey
from steelyard_server.history.caller import Caller

FRAUD = "default/fraud"
BLOB = ("sha256:" + hashlib.sha256(b"weights").hexdigest(), 7)
EVERY_TABLE = tuple(tables.Base.metadata.sorted_tables)
# Bookkeeping, which no event describes.
BOOKKEEPING = (tables.blobs, tables.holdings, tables.namespace_usages)


def act(name: str = "ada", *, reason: str = "", request: RequestKey | None = None) -> Act:
    return Act(Caller(name), reason=reason, request=request)


def build(seed: int, *, blob: tuple[str, int] = BLOB) -> Manifest:
    """Make content that differs for each *seed* and has one file."""
    file = File("model.onnx", blob[0], size_bytes=blob[1])
    return manifest.build(Content(files=(file,), parameters=(Parameter("seed", seed),)))


def number(value: int, *, model: str = FRAUD) -> Reference:
    return Reference(model, "number", value)


def by_alias(name: str, *, model: str = FRAUD) -> Reference:
    return Reference(model, "alias", name)


async def found(database: Database) -> None:
    """Make the namespace `default`, which holds a blob, and an empty model in it."""
    await database.write(namespaces.ensure_default, act("steelyard"))
    await database.write(blobs.record, namespace="default", blobs=[BLOB])
    await database.write(models.create, act(), name=FRAUD, draft=models.Draft())


async def create(
    database: Database, seed: int, *, model: str = FRAUD, blob: tuple[str, int] = BLOB, **draft: Any
) -> tuple[Version, bool, int]:
    """Create a version with the content of *seed*."""
    outcome = await database.write(
        versions.create, act(), model=model, built=build(seed, blob=blob), draft=versions.Draft(**draft)
    )
    return outcome.version, outcome.created, outcome.sequence


def rows(tx: Transaction, table: Table) -> list[tuple[Any, ...]]:
    """Return all rows of *table* in the order of their keys."""
    return [tuple(row) for row in tx.all(select(table).order_by(*table.primary_key.columns))]


def everything(tx: Transaction) -> dict[str, list[tuple[Any, ...]]]:
    """Return the whole database, so that a test can say that nothing changed."""
    return {table.name: rows(tx, table) for table in EVERY_TABLE}


def end_leases(tx: Transaction) -> None:
    """Let the time of all leases be over."""
    tx.run(update(tables.holdings).values(lease_expire_time=0), {})


async def is_held(database: Database, blob: tuple[str, int], *, namespace: str = "default") -> bool:
    """Return whether a namespace holds a blob, whatever became of its lease."""
    wanted = {"namespace": namespace, "digest": blob[0], "size_bytes": blob[1]}
    return await database.read(blobs.admit, **wanted) is not None
