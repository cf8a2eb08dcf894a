"""Ends of versions and models, as tests ask for them: by number, by name."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from steelyard_server.core import aliases, copies, deletions, model_deletions, models, versions
from steelyard_server.core.models import Model
from steelyard_server.core.pointers import Alias
from steelyard_server.core.references import Reference
from steelyard_server.core.versions import Version
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from tests.contracts.registry import FRAUD, act, number

_M, _N, _V = tables.models.c, tables.namespaces.c, tables.versions.c
_VERSIONS = (
    select(_N.name.label("namespace"), _M.name.label("model"), _V.number, _V.delete_time)
    .select_from(tables.versions)
    .join(tables.models, _M.id == _V.model_id)
    .join(tables.namespaces, _N.id == _M.namespace_id)
    .order_by(_V.id)
)


async def delete(database: Database, value: int, *, model: str = FRAUD, **options: Any) -> Version:
    return await database.write(deletions.remove, act(), reference=number(value, model=model), **options)


async def undelete(database: Database, value: int, *, model: str = FRAUD, **options: Any) -> Version:
    return await database.write(deletions.restore, act(), reference=number(value, model=model), **options)


async def purge(database: Database, value: int, *, model: str = FRAUD, **options: Any) -> deletions.Purged:
    return await database.write(deletions.purge, act(), reference=number(value, model=model), **options)


async def end(database: Database, *values: int, model: str = FRAUD) -> None:
    """Delete and purge versions."""
    for value in values:
        await delete(database, value, model=model)
        await purge(database, value, model=model)


def versions_of(tx: Transaction) -> list[tuple[Reference, bool]]:
    """Return all versions, the oldest first, and whether each is deleted."""
    return [
        (number(row.number, model=f"{row.namespace}/{row.model}"), row.delete_time is not None)
        for row in tx.all(_VERSIONS)
    ]


def end_versions(tx: Transaction, *, number: int = 0) -> None:
    """Delete and purge the versions of one number, or all that are left."""
    for reference, is_deleted in versions_of(tx):
        if number in {0, reference.value}:
            if not is_deleted:
                deletions.remove(tx, act(), reference=reference)
            deletions.purge(tx, act(), reference=reference)


async def copy(
    database: Database, source: Reference, model: str, **options: Any
) -> tuple[Version, bool, int]:
    outcome = await database.write(copies.copy, act(), source=source, model=model, **options)
    return outcome.version, outcome.created, outcome.sequence


async def put(database: Database, name: str, value: int, *, model: str = FRAUD) -> Alias:
    alias, _ = await database.write(aliases.put, act(), reference=number(value, model=model), name=name)
    return alias


async def delete_model(database: Database, name: str = FRAUD, **options: Any) -> Model:
    return await database.write(model_deletions.remove, act(), name=name, **options)


async def undelete_model(database: Database, name: str = FRAUD, **options: Any) -> Model:
    return await database.write(model_deletions.restore, act(), name=name, **options)


async def purge_model(database: Database, name: str = FRAUD, **options: Any) -> model_deletions.Purged:
    return await database.write(model_deletions.purge, act(), name=name, **options)


async def end_model(database: Database, name: str = FRAUD) -> None:
    """Delete and purge a model."""
    await delete_model(database, name)
    await purge_model(database, name)


async def add_model(database: Database, name: str) -> Model:
    return await database.write(models.create, act(), name=name, draft=models.Draft())


async def latest(database: Database, model: str = FRAUD) -> int:
    """Return the number that the model says is its newest."""
    return (await database.read(models.get, name=model)).latest_number


async def numbers(database: Database, *, model: str = FRAUD, **options: Any) -> list[int]:
    """List the numbers of a model, one page."""
    listed = (await database.read(versions.page, model=model, page_size=1000, **options)).entries
    return [version.number for version in listed]
