"""Purged versions: gone but for their number, their idempotency key and the history."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Table

from steelyard_server import errors
from steelyard_server.core import deletions, evaluations, manifest, namespaces, versions
from steelyard_server.core.content import Content, File, Metric
from steelyard_server.db import tables
from steelyard_server.db.database import Database
from tests.contracts.ends import add_model, delete, end, latest, numbers, purge, put
from tests.contracts.registry import BLOB, FRAUD, act, build, create, everything, is_held, number, rows

OF_VERSIONS = (
    *(tables.versions, tables.files, tables.metrics, tables.manifests),
    *(tables.evaluations, tables.evaluated_metrics),
)
MEASURED = evaluations.Draft((Metric("f1", "", "", 0.5), Metric("auc", "", "", 0.5)))


async def measured(database: Database, *, model: str = FRAUD) -> None:
    """Create a version with metrics and evaluate it twice."""
    content = Content(files=(File("a", BLOB[0], BLOB[1]),), metrics=(Metric("f1", "", "", 0.5),))
    draft = versions.Draft()
    made = await database.write(
        versions.create, act(), model=model, built=manifest.build(content), draft=draft
    )
    for _ in range(2):
        reference = number(made.version.number, model=model)
        await database.write(evaluations.record, act(), reference=reference, draft=MEASURED)


async def stored(database: Database, *names: Table) -> list[list[tuple[Any, ...]]]:
    return [await database.read(rows, name) for name in names]


async def test_a_purge_removes_all_rows_of_a_version_and_nothing_else(registry: Database) -> None:
    await create(registry, 1)
    await registry.write(evaluations.record, act(), reference=number(1), draft=MEASURED)
    before = await registry.read(everything)
    await measured(registry)
    await end(registry, 2)
    after = await registry.read(everything)

    assert await stored(registry, *OF_VERSIONS) == [before[table.name] for table in OF_VERSIONS]
    for kept in ("blobs", "holdings", "aliases", "namespaces", "model_names"):
        assert after[kept] == before[kept]
    assert len(after["events"]) == len(before["events"]) + 5
    (tombstone,) = after["tombstones"]
    assert tombstone[1] == 2


async def test_a_manifest_stays_while_another_model_has_the_content(registry: Database) -> None:
    await add_model(registry, "default/churn")
    for model in (FRAUD, "default/churn"):
        await measured(registry, model=model)
    await end(registry, 1)
    _, digest, encoded = await registry.read(
        versions.read_manifest, reference=number(1, model="default/churn")
    )
    assert encoded
    await end(registry, 1, model="default/churn")
    assert await stored(registry, *OF_VERSIONS) == [[] for _ in OF_VERSIONS]
    assert digest in {row[3] for row in await registry.read(rows, tables.tombstones)}


async def test_promise_2_numbers_are_never_reused_after_a_purge_of_the_newest_and_of_all(
    registry: Database,
) -> None:
    for seed in range(3):
        await create(registry, seed)
    await end(registry, 3)
    assert (await create(registry, 3))[0].number == 4
    await end(registry, 4, 2, 1)
    assert (await latest(registry), await numbers(registry, show_deleted=True)) == (0, [])
    again, created, _ = await create(registry, 0)
    assert (again.number, created) == (5, True)
    assert await latest(registry) == 5


async def test_the_content_and_semantic_version_of_a_purged_version_are_free_and_its_key_is_not(
    registry: Database,
) -> None:
    first, _, _ = await create(registry, 1, idempotency_key="run 7", semantic_version="1.0.0")
    await end(registry, 1)
    before = await registry.read(everything)
    for seed in (1, 2):
        with pytest.raises(errors.IdempotencyKeyReused, match="was purged") as refused:
            await create(registry, seed, idempotency_key="run 7")
        assert refused.value.metadata["number"] == "1"
    assert await registry.read(everything) == before
    again, created, _ = await create(registry, 1, semantic_version="1.0.0")
    assert (again.number, again.digest, created) == (2, first.digest, True)
    with pytest.raises(errors.IdempotencyKeyReused):
        await create(registry, 1, idempotency_key="run 7")
    await create(registry, 2, idempotency_key="run 8")
    await end(registry, 3, 2)
    assert len(await registry.read(rows, tables.tombstones)) == 3


async def test_a_purged_number_is_not_found_and_the_error_says_why(registry: Database) -> None:
    await create(registry, 1)
    await end(registry, 1)
    with pytest.raises(errors.VersionNotFound, match="purged") as refused:
        await registry.read(versions.get, reference=number(1))
    assert set(refused.value.metadata) == {"model", "version", "purge_time"}
    with pytest.raises(errors.VersionNotFound) as unknown:
        await registry.read(versions.get, reference=number(2))
    assert "purge_time" not in unknown.value.metadata


async def test_the_blobs_of_a_purged_version_stay_held_until_garbage_is_collected(
    registry: Database,
) -> None:
    await create(registry, 1)
    await end(registry, 1)
    assert await is_held(registry, BLOB)
    assert (await create(registry, 2))[0].number == 2


async def test_a_purge_that_fails_keeps_the_version_whole(registry: Database) -> None:
    await measured(registry)
    await delete(registry, 1)
    before = await registry.read(everything)

    def purge_and_fail(tx: Any) -> None:
        deletions.purge(tx, act(), reference=number(1))
        raise errors.AliasChanged("It failed at last.")

    with pytest.raises(errors.AliasChanged):
        await registry.write(purge_and_fail)
    assert await registry.read(everything) == before


async def test_a_purge_of_many_versions_leaves_the_others_alone(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="other")
    for seed in range(12):
        await create(registry, seed)
    await put(registry, "champion", 6)
    await end(registry, *(value for value in range(1, 13) if value % 3))
    assert await numbers(registry, show_deleted=True) == [3, 6, 9, 12]
    for value in (3, 6, 9, 12):
        _, digest, _ = await registry.read(versions.read_manifest, reference=number(value))
        assert digest == build(value - 1).digest


async def test_what_a_purge_ended_is_told(registry: Database) -> None:
    version, _, _ = await create(registry, 1)
    await delete(registry, 1)
    purged = await purge(registry, 1)
    assert (purged.number, purged.digest) == (1, version.digest)
    assert purged.sequence == version.sequence + 2
