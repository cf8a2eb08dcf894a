"""What filters look at follows from versions and models: after each change, and when a migration makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import select

from steelyard_server.core import models, versions
from steelyard_server.db import search_keys, tables
from steelyard_server.db.database import Database, Transaction, open_database
from steelyard_server.db.migrations.upgrade import alembic_config
from tests.contracts import ends
from tests.contracts.registry import FRAUD, act, create, number, rows
from tests.contracts.search_reference import INTEGERS, REALS, SEMANTIC_VERSIONS, is_nan, precedence
from tests.contracts.search_registry import filled

OF_VERSIONS = (
    tables.version_labels, tables.parameters, tables.version_facts, tables.datasets, tables.parents,
    tables.schema_fields, tables.version_words,
)  # fmt: skip
OF_MODELS = (tables.model_labels, tables.model_owners, tables.model_directions, tables.model_words)
DERIVED = (*OF_VERSIONS, *OF_MODELS)
# The migration that adds what filters look at.
SEARCH = "0005"


def derived(tx: Transaction) -> dict[str, list[tuple[Any, ...]]]:
    return {table.name: rows(tx, table) for table in DERIVED}


def words(tx: Transaction, table: sqlalchemy.Table) -> set[str]:
    return {row.word for row in tx.all(select(table.c.word))}


async def modify(database: Database, **fields: Any) -> None:
    given = {"description": "", "labels": {}} | fields
    await database.write(versions.modify, act(), reference=number(1), mask=tuple(fields), **given)


async def test_an_update_of_a_version_replaces_its_labels_and_words(registry: Database) -> None:
    await create(registry, 1, description="Old text", labels={"a": "1", "b": "2"})
    await create(registry, 2, description="Another", labels={"a": "3"})
    await modify(registry, labels={"b": "4"}, description="New text")
    labels = await registry.read(lambda tx: rows(tx, tables.version_labels))

    assert [(row[3], row[1], row[5]) for row in labels] == [(1, "b", "4"), (2, "a", "3")]
    assert await registry.read(words, tables.version_words) == {"new", "text", "another"}
    await modify(registry, labels={}, description="")
    assert await registry.read(words, tables.version_words) == {"another"}


async def test_what_is_set_once_later_is_found_too(registry: Database) -> None:
    await create(registry, 1)
    await create(registry, 1, semantic_version="1.2.3")
    page = (await registry.read(versions.page, model=FRAUD, filter="semantic_version > 1.2.0")).entries
    assert [version.number for version in page] == [1]


async def test_a_rename_and_an_update_of_a_model_replace_its_rows(registry: Database) -> None:
    draft = models.Draft(
        "A text", labels={"a": "1"}, owners=("ada",), metric_directions={"f1": "higher-is-better"}
    )
    await registry.write(models.modify, act(), name=FRAUD, draft=draft, mask=None)
    assert await registry.read(words, tables.model_words) == {"fraud", "a", "text"}
    await registry.write(models.rename, act(), name=FRAUD, new_name="default/churn model")
    assert await registry.read(words, tables.model_words) == {"churn", "model", "a", "text"}
    await registry.write(
        models.modify,
        act(),
        name=FRAUD,
        draft=models.Draft(),
        mask=("description", "labels", "owners", "metric_directions"),
    )
    left = await registry.read(derived)
    assert {name for name, found in left.items() if found} == {"model_words"}


async def test_a_refused_create_leaves_no_rows(registry: Database) -> None:
    before = await registry.read(derived)
    with pytest.raises(Exception, match="blob"):
        await create(registry, 1, labels={"a": "b"}, description="text", blob=(f"sha256:{'0' * 64}", 1))
    assert await registry.read(derived) == before


def test_keys_of_numbers_are_ordered_and_equal_as_numbers_are() -> None:
    numbers = [
        each for each in (*INTEGERS, *REALS, 2**53 + 0.0, 2.0**63, -(2.0**63), 2**62 + 1) if not is_nan(each)
    ]
    for left in numbers:
        for right in numbers:
            one, other = search_keys.number(left), search_keys.number(right)
            assert one is not None
            assert other is not None
            assert (one < other, one == other) == (left < right, left == right), (left, right)
    assert search_keys.number(float("nan")) is None


def test_keys_of_semantic_versions_are_ordered_by_precedence() -> None:
    more = (
        *SEMANTIC_VERSIONS,
        "1.0.0-a-b",
        "1.0.0-a",
        "1.0.0-a.b",
        "1.0.0-0",
        "1.0.0-a1",
        "1.0.0-1a",
        "100.0.0",
        "1.0.0--",
    )
    for left in more:
        for right in more:
            keys = search_keys.semantic_version(left), search_keys.semantic_version(right)
            one, other = precedence(left), precedence(right)
            assert one is not None
            assert other is not None
            assert (keys[0] < keys[1], keys[0] == keys[1]) == (one < other, one == other), (left, right)


@pytest.mark.parametrize("prefix", ["a", "az", "\ud7ff", "a\U0010ffff", "\U0010ffff", "", "🦉"])
def test_what_follows_a_prefix_is_behind_all_that_begin_with_it(prefix: str) -> None:
    after = search_keys.after_prefix(prefix)
    for end in ("", "\x01", "z", "\ud7ff", "\ue000", "\U0010ffff" * 3):
        assert after is None or (prefix + end).encode() < after.encode()
    assert (after is None) == (not prefix.strip("\U0010ffff"))


@pytest.fixture(params=["sqlite", "postgresql"])
def old_location(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Make a database as the schema before search had it."""
    location: Any = tmp_path / "old.db"
    if request.param == "postgresql":
        location = request.getfixturevalue("cluster").create_empty()
    for connection in connected(location):
        config = alembic_config(connection)
        migration = ScriptDirectory.from_config(config).get_revision(SEARCH)
        command.upgrade(config, migration.down_revision)
        connection.commit()
    return location


def connected(location: Any) -> Iterator[sqlalchemy.Connection]:
    url = f"sqlite:///{location}" if isinstance(location, Path) else location.replace("://", "+psycopg://")
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def copy(location: Any, stored: dict[str, list[dict[str, Any]]]) -> None:
    """Put rows into a database with an older schema, as far as it has their columns."""
    for connection in connected(location):
        known = sqlalchemy.MetaData()
        known.reflect(connection)
        for table in known.sorted_tables:
            columns = set(table.c.keys())
            rows = [{name: row[name] for name in row.keys() & columns} for row in stored.get(table.name, ())]
            if rows and table.name != "registry":
                connection.execute(sqlalchemy.insert(table), rows)
        connection.commit()


def everything_stored(tx: Transaction) -> dict[str, list[dict[str, Any]]]:
    return {
        table.name: [dict(zip(table.c.keys(), row, strict=True)) for row in tx.all(select(table))]
        for table in tables.Base.metadata.sorted_tables
    }


async def test_a_migration_fills_what_filters_look_at_from_what_is_there(
    database: Database, old_location: Any
) -> None:
    full = await filled(database)
    draft = models.Draft(
        "A text", labels={"a": "1"}, owners=("ada",), metric_directions={"f1": "higher-is-better"}
    )
    await full.database.write(models.modify, act(), name=FRAUD, draft=draft, mask=None)
    for name in ("default/left", "default/gone"):
        await full.database.write(models.create, act(), name=name, draft=draft)
        await ends.delete_model(full.database, name)
    await ends.purge_model(full.database, "default/gone")
    stored = await full.database.read(everything_stored)
    wanted = await full.database.read(derived)
    assert all(wanted.values())

    await asyncio.to_thread(copy, old_location, stored)
    migrated = await open_database(old_location)
    try:
        assert await migrated.read(derived) == wanted
        for table in (tables.versions, tables.models):
            assert await migrated.read(rows, table) == await full.database.read(rows, table)
    finally:
        await migrated.close()
