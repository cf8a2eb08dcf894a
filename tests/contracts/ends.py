"""Ends of versions and models, as tests ask for them: by number, by name."""

from __future__ import annotations

from typing import Any

from steelyard_server.core import aliases, copies, deletions, model_deletions, models, versions
from steelyard_server.core.models import Model
from steelyard_server.core.pointers import Alias
from steelyard_server.core.references import Reference
from steelyard_server.core.versions import Version
from steelyard_server.db.database import Database
from tests.contracts.registry import FRAUD, act, number


def anybody(_: str) -> None:
    """Let everybody read the source of a copy."""


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


async def copy(
    database: Database, source: Reference, model: str, **options: Any
) -> tuple[Version, bool, int]:
    arguments = {"may_read": anybody} | options
    outcome = await database.write(copies.copy, act(), source=source, model=model, **arguments)
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
    listed, _ = await database.read(versions.page, model=model, page_size=1000, **options)
    return [version.number for version in listed]
