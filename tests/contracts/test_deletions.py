"""Deleted versions: found by nothing, kept whole, brought back as they were."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from steelyard_server import errors
from steelyard_server.core import aliases, comparisons, deletions, evaluations, files, models, versions
from steelyard_server.core.content import Metric
from steelyard_server.core.references import Reference
from steelyard_server.core.versions import Version
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from steelyard_server.history import events
from tests.contracts.ends import delete, latest, numbers, purge, put, undelete
from tests.contracts.registry import FRAUD, act, by_alias, create, everything, number


@pytest.fixture
async def five(registry: Database) -> Database:
    """Add five versions to the registry."""
    for seed in range(5):
        await create(registry, seed, semantic_version=f"1.{seed + 1}.0", idempotency_key=f"run {seed + 1}")
    return registry


async def test_a_deleted_version_is_found_by_no_reference_and_by_no_use_case(five: Database) -> None:
    then = (await put(five, "champion", 3)).update_time
    await put(five, "champion", 1)
    version = await delete(five, 3)
    names = [
        number(3),
        Reference(FRAUD, "digest", version.digest),
        Reference(FRAUD, "semantic_version", "1.3.0"),
    ]
    before = await five.read(everything)
    for name in names:
        for query, options in (
            (versions.get, {}),
            (versions.read_manifest, {}),
            (files.page, {}),
            (files.find, {"path": "model.onnx"}),
            (files.find_all, {"wanted": ["model.onnx"]}),
            (evaluations.page, {}),
            (evaluations.find_report, {"evaluation": "any"}),
        ):
            with pytest.raises(errors.VersionDeleted):
                await five.read(query, reference=name, **options)
        for use_case, options in (
            (aliases.put, {"name": "canary"}),
            (versions.modify, {"description": "x", "labels": {}, "mask": None}),
            (deletions.remove, {}),
            (evaluations.record, {"draft": evaluations.Draft((Metric("f1", "", "", 0.5),))}),
        ):
            with pytest.raises(errors.VersionDeleted):
                await five.write(use_case, act(), reference=name, **options)
        with pytest.raises(errors.VersionDeleted):
            await five.read(comparisons.compare, namespace="default", wanted=[number(1), name])
    with pytest.raises(errors.VersionDeleted):
        await five.read(versions.get, reference=by_alias("champion"), read_time=then)
    with pytest.raises(errors.VersionDeleted) as refused:
        await five.read(versions.batch_get, namespace="default", wanted=[number(1), number(3)])
    assert await five.read(everything) == before
    delete_time = events.time_text(version.delete_time or 0)
    assert refused.value.metadata == {"model": FRAUD, "number": "3", "delete_time": delete_time}
    assert delete_time in refused.value.message
    assert "restore" in refused.value.message


async def test_an_undeleted_version_is_as_it_was(five: Database) -> None:
    before = await five.read(versions.get, reference=number(3))
    deleted = await delete(five, 3)
    restored = await undelete(five, 3)

    assert deleted.delete_time is not None
    assert deleted == replace(before, delete_time=deleted.delete_time, sequence=deleted.sequence)
    assert restored == replace(before, sequence=deleted.sequence + 1)
    assert await five.read(versions.get, reference=number(3)) == restored


async def test_latest_is_the_newest_that_is_not_deleted(five: Database) -> None:
    steps = [
        *((delete, 5, 4), (delete, 3, 4), (delete, 4, 2), (undelete, 3, 3), (delete, 2, 3)),
        *((undelete, 5, 5), (undelete, 4, 5), (delete, 5, 4), (delete, 4, 3), (delete, 3, 1)),
    ]
    for step, value, expected in steps:
        await step(five, value)
        assert await latest(five) == expected
        assert (await five.read(versions.get, reference=by_alias("latest"))).number == expected
        assert (await five.read(aliases.get, model=FRAUD, name="latest")).number == expected
    await delete(five, 1)
    with pytest.raises(errors.VersionNotFound, match="deleted or purged"):
        await five.read(versions.get, reference=by_alias("latest"))
    assert await latest(five) == 0
    await create(five, 9)
    assert await latest(five) == 6


async def test_a_version_in_use_stays_and_the_error_names_what_points_to_it(five: Database) -> None:
    for index in range(25):
        await put(five, f"alias-{index:02}", 2)
    before = await five.read(everything)
    with pytest.raises(errors.VersionInUse) as refused:
        await delete(five, 2)

    assert await five.read(everything) == before
    facts = refused.value.metadata
    assert (facts["model"], facts["number"], facts["count"]) == (FRAUD, "2", "25")
    assert facts["aliases"].split() == [f"alias-{index:02}" for index in range(20)]
    assert "alias-19 and 5 more" in refused.value.message
    for index in range(25):
        await put(five, f"alias-{index:02}", 1)
    await delete(five, 2)


async def test_lists_leave_deleted_versions_out_unless_asked(five: Database) -> None:
    for value in (1, 3, 5):
        await delete(five, value)
    await purge(five, 3)

    for order, step in (("number", 1), ("number desc", -1)):
        assert await numbers(five, order_by=order) == [2, 4][::step]
        assert await numbers(five, order_by=order, show_deleted=True) == [1, 2, 4, 5][::step]
    listed = (await five.read(versions.page, model=FRAUD, show_deleted=True)).entries
    assert [each.delete_time is not None for each in listed] == [True, False, False, True]


async def test_pages_neither_skip_nor_repeat_while_versions_are_deleted_and_purged(
    registry: Database,
) -> None:
    for seed in range(30):
        await create(registry, seed)
    for order in ("number", "number desc"):
        before, seen, gone = await numbers(registry), list[int](), set[int]()
        after: Any = None
        while after is not None or not seen:
            answer = await registry.read(versions.page, model=FRAUD, order_by=order, after=after, page_size=4)
            page, after = answer.entries, answer.position
            found = [version.number for version in page]
            seen += found
            # The last one of the page, one before it, and one that is still to come.
            for value in {found[-1], found[0], *[each for each in before if each not in seen][-1:]} - gone:
                await delete(registry, value)
                gone.add(value)
            await purge(registry, found[0])
        assert len(set(seen)) == len(seen)
        assert set(before) - gone <= set(seen)


async def test_what_a_deleted_version_has_stays_taken(five: Database) -> None:
    await delete(five, 2)
    before = await five.read(everything)
    with pytest.raises(errors.ContentDeleted) as refused:
        await create(five, 1)
    assert (refused.value.metadata["model"], refused.value.metadata["number"]) == (FRAUD, "2")
    assert "delete_time" in refused.value.metadata
    with pytest.raises(errors.ContentDeleted):
        await create(five, 1, idempotency_key="run 2", semantic_version="1.2.0")
    with pytest.raises(errors.IdempotencyKeyReused):
        await create(five, 9, idempotency_key="run 2")
    with pytest.raises(errors.SemanticVersionAlreadyExists, match="and deleted"):
        await create(five, 9, semantic_version="1.2.0")
    assert await five.read(everything) == before
    await undelete(five, 2)
    _, created, _ = await create(five, 1, idempotency_key="run 2", semantic_version="1.2.0")
    assert not created


async def test_a_stale_etag_deletes_undeletes_and_purges_nothing(five: Database) -> None:
    stale = str((await five.read(versions.get, reference=number(2))).sequence - 1)
    for use_case in (delete, undelete, purge):
        before = await five.read(everything)
        with pytest.raises(errors.EtagMismatch):
            await use_case(five, 2, etag=stale)
        assert await five.read(everything) == before
        if use_case is delete:
            await delete(five, 2, etag=str(int(stale) + 1))


REFUSED: list[tuple[Any, Reference, type[errors.RegistryError]]] = [
    (deletions.remove, number(9), errors.VersionNotFound),
    (deletions.remove, number(0), errors.OutOfBounds),
    (deletions.remove, by_alias("champion"), errors.VersionInUse),
    (deletions.remove, by_alias("nobody"), errors.AliasNotFound),
    (deletions.remove, number(1, model="default/none"), errors.ModelNotFound),
    (deletions.remove, number(2), errors.VersionDeleted),
    (deletions.restore, number(9), errors.VersionNotFound),
    (deletions.restore, number(3), errors.VersionNotFound),
    (deletions.restore, number(1), errors.NotDeleted),
    (deletions.restore, by_alias("champion"), errors.NotDeleted),
    (deletions.restore, by_alias("latest"), errors.NotDeleted),
    (deletions.purge, number(1), errors.NotDeleted),
    (deletions.purge, number(3), errors.VersionNotFound),
    (deletions.purge, number(9), errors.VersionNotFound),
]


async def test_a_refused_end_changes_nothing(five: Database) -> None:
    await put(five, "champion", 1)
    await delete(five, 2)
    await delete(five, 3)
    await purge(five, 3)
    before = await five.read(everything)
    for use_case, reference, error in REFUSED:
        with pytest.raises(error):
            await five.write(use_case, act(), reference=reference)
    assert await five.read(everything) == before


async def test_a_rollback_passes_over_versions_that_are_gone(five: Database) -> None:
    for value in (1, 2, 3, 1, 4, 5):
        await put(five, "champion", value)
    for value in (4, 3, 2):
        await delete(five, value)
    await purge(five, 3)

    back, _ = await five.write(aliases.rollback, act(), model=FRAUD, name="champion")
    assert back.number == 1
    await undelete(five, 2)
    back, _ = await five.write(aliases.rollback, act(), model=FRAUD, name="champion")
    assert back.number == 2
    # What is left before it is version 1, the first of all sets.
    back, _ = await five.write(aliases.rollback, act(), model=FRAUD, name="champion")
    assert back.number == 1
    before = await five.read(everything)
    with pytest.raises(errors.NoRollbackTarget):
        await five.write(aliases.rollback, act(), model=FRAUD, name="champion")
    assert await five.read(everything) == before


async def test_a_rollback_with_nothing_left_says_so_and_stays_where_it_is(five: Database) -> None:
    for value in (5, 2, 5):
        await put(five, "champion", value)
    await delete(five, 2)
    before = await five.read(everything)
    with pytest.raises(errors.NoRollbackTarget, match="deleted or revoked now"):
        await five.write(aliases.rollback, act(), model=FRAUD, name="champion")
    assert await five.read(everything) == before


async def test_where_an_alias_pointed_is_known_after_a_delete_and_after_a_purge(five: Database) -> None:
    alias = await put(five, "champion", 3)
    await put(five, "champion", 1)
    for gone in (delete, purge):
        await gone(five, 3)
        then = await five.read(aliases.get, model=FRAUD, name="champion", read_time=alias.update_time)
        listed, _ = await five.read(aliases.page, model=FRAUD, read_time=alias.update_time)
        moves, _ = await five.read(aliases.moves, model=FRAUD)
        assert (then.number, then.digest) == (3, alias.digest)
        assert [(each.number, each.digest) for each in listed] == [(3, alias.digest)]
        assert [move.to_number for move in moves] == [1, 3]
    with pytest.raises(errors.VersionNotFound, match="purged"):
        await five.read(versions.get, reference=by_alias("champion"), read_time=alias.update_time)


async def test_latest_of_an_earlier_moment_is_what_it_was_then(registry: Database) -> None:
    """Each step notes what `latest` means; later all of it can still be read."""
    noted: dict[int, int] = {}

    async def note() -> None:
        # Of several events at one time only the last can be read.
        noted[await registry.read(last_event_time)] = await latest(registry)

    for seed in range(4):
        await create(registry, seed)
        await note()
    for step, value in (
        *((delete, 4), (undelete, 4), (delete, 3), (delete, 4), (purge, 4), (undelete, 3)),
        *((delete, 2), (delete, 3), (purge, 3), (undelete, 2)),
    ):
        await step(registry, value)
        await note()
    await create(registry, 9)
    await note()
    for time, expected in noted.items():
        found = await registry.read(aliases.get, model=FRAUD, name="latest", read_time=time)
        assert found.number == expected, noted
        assert found.digest.startswith("sha256:")
    with pytest.raises(errors.VersionNotFound):
        await registry.read(aliases.get, model=FRAUD, name="latest", read_time=min(noted) - 1)


def last_event_time(tx: Transaction) -> int:
    (row,) = tx.all(select(tables.registry))
    time: int = row.event_time
    return time


async def test_a_delete_and_a_set_at_once_never_leave_an_alias_at_a_deleted_version(
    five: Database,
) -> None:
    for value in (1, 2, 3, 4, 5):
        name = f"alias-{value}"
        wishes = [delete(five, value), *(put(five, name, value) for _ in range(4))]
        results = await asyncio.gather(*wishes, return_exceptions=True)
        gone, sets = results[0], results[1:]
        if isinstance(gone, Version):
            assert all(isinstance(each, errors.VersionDeleted) for each in sets)
        else:
            assert isinstance(gone, errors.VersionInUse)
            assert (await five.read(versions.get, reference=by_alias(name))).number == value


async def test_creates_deletes_and_purges_of_one_content_at_once_agree(registry: Database) -> None:
    """Whatever comes first, numbers grow by one, and at most one version has the content."""

    async def make(key: int) -> int:
        version, created, _ = await create(registry, 1)
        return version.number if created else -version.number

    async def end_newest(_: int) -> int:
        listed = (await registry.read(versions.page, model=FRAUD, show_deleted=True)).entries
        for version in listed:
            await (purge if version.delete_time else delete)(registry, version.number)
        return 0

    wishes = [(make if index % 2 else end_newest)(index) for index in range(60)]
    results = await asyncio.gather(*wishes, return_exceptions=True)
    lost = errors.NotFound | errors.FailedPrecondition
    assert all(isinstance(each, int | lost) for each in results)
    made = sorted(each for each in results if isinstance(each, int) and each > 0)
    assert made == list(range(1, len(made) + 1))
    assert len(await numbers(registry, show_deleted=True)) <= 1
    assert (await registry.read(models.get, name=FRAUD)).last_number == len(made)
