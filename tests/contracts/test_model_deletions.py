"""Deleted models hide what is in them and keep their names; purged ones keep nothing but their names."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from steelyard_server import errors
from steelyard_server.core import (
    aliases,
    comparisons,
    evaluations,
    files,
    model_deletions,
    models,
    namespaces,
    versions,
)
from steelyard_server.core.content import Metric
from steelyard_server.core.models import Draft, Model
from steelyard_server.db import tables
from steelyard_server.db.database import Database
from tests.contracts.ends import (
    add_model,
    copy,
    delete,
    delete_model,
    end,
    end_model,
    latest,
    numbers,
    purge_model,
    put,
    undelete_model,
)
from tests.contracts.registry import FRAUD, act, create, everything, number, rows

MEASURED = evaluations.Draft((Metric("f1", "", "", 0.5),))


@pytest.fixture
async def three(registry: Database) -> Database:
    """Add three versions, of which the second is deleted, with evaluations, and a second name."""
    for seed in range(3):
        await create(registry, seed)
        await registry.write(evaluations.record, act(), reference=number(seed + 1), draft=MEASURED)
    await delete(registry, 2)
    await registry.write(models.rename, act(), name=FRAUD, new_name="default/scam")
    return registry


async def names_in(database: Database, **options: Any) -> list[str]:
    found = (await database.read(models.page, namespace="default", **options)).entries
    return [model.name for model in found]


READS: list[tuple[Any, dict[str, Any]]] = [
    (models.get, {"name": FRAUD}),
    (versions.get, {"reference": number(1)}),
    (versions.page, {"model": FRAUD, "show_deleted": True}),
    (files.page, {"reference": number(1)}),
    (aliases.get, {"model": FRAUD, "name": "latest"}),
    (aliases.page, {"model": FRAUD}),
    (aliases.moves, {"model": FRAUD}),
    (evaluations.page, {"reference": number(1)}),
    (evaluations.find_report, {"reference": number(1), "evaluation": "any"}),
    (comparisons.compare, {"namespace": "default", "wanted": [number(1), number(3)]}),
]
WRITES: list[tuple[Any, dict[str, Any]]] = [
    (models.modify, {"name": FRAUD, "draft": Draft("x"), "mask": None}),
    (models.rename, {"name": FRAUD, "new_name": "default/x"}),
    (model_deletions.remove, {"name": FRAUD}),
    (aliases.put, {"reference": number(1), "name": "champion"}),
    (aliases.rollback, {"model": FRAUD, "name": "champion"}),
    (evaluations.record, {"reference": number(1), "draft": MEASURED}),
]


async def test_a_deleted_model_hides_all_that_is_in_it(three: Database) -> None:
    await delete_model(three)
    before = await three.read(everything)
    for query, arguments in READS:
        with pytest.raises(errors.ModelDeleted):
            await three.read(query, **arguments)
    for use_case, arguments in WRITES:
        with pytest.raises(errors.ModelDeleted):
            await three.write(use_case, act(), **arguments)
    with pytest.raises(errors.ModelDeleted) as refused:
        await create(three, 9)
    with pytest.raises(errors.ModelDeleted):
        await copy(three, number(1), FRAUD)
    with pytest.raises(errors.ModelDeleted):
        await delete(three, 1)
    assert await three.read(everything) == before
    assert set(refused.value.metadata) == {"model", "delete_time"}
    assert refused.value.metadata["model"] == "default/scam"


async def test_an_undeleted_model_is_as_it_was(three: Database) -> None:
    before = await three.read(models.get, name=FRAUD)
    deleted = await delete_model(three)
    restored = await undelete_model(three, "default/scam")

    assert deleted == replace(before, delete_time=deleted.delete_time, sequence=before.sequence + 1)
    assert restored == replace(before, sequence=before.sequence + 2)
    assert await three.read(models.get, name=FRAUD) == restored
    assert (await numbers(three), await numbers(three, show_deleted=True)) == ([1, 3], [1, 2, 3])


async def test_a_model_with_aliases_stays_and_the_error_names_them(three: Database) -> None:
    for index in range(22):
        await put(three, f"alias-{index:02}", 1)
    before = await three.read(everything)
    with pytest.raises(errors.ModelInUse, match="and 2 more") as refused:
        await delete_model(three)
    assert await three.read(everything) == before
    assert refused.value.metadata["count"] == "22"
    assert len(refused.value.metadata["aliases"].split()) == 20


async def test_the_names_of_a_deleted_model_stay_taken(three: Database) -> None:
    await delete_model(three)
    await add_model(three, "default/churn")
    before = await three.read(everything)
    for name in ("default/scam", "default/SCAM", FRAUD):
        with pytest.raises(errors.NameDeleted) as refused:
            await add_model(three, name)
        with pytest.raises(errors.NameDeleted):
            await three.write(models.rename, act(), name="default/churn", new_name=name)
        assert refused.value.metadata["model"] == "default/scam"
        assert "restore" in refused.value.message
    assert await three.read(everything) == before


async def test_lists_leave_deleted_models_out_unless_asked_and_purged_ones_always(three: Database) -> None:
    for name in ("a", "b", "c"):
        await add_model(three, f"default/{name}")
    await delete_model(three, "default/b")
    await end_model(three, "default/c")

    assert await names_in(three) == ["a", "scam"]
    assert await names_in(three, show_deleted=True) == ["a", "b", "scam"]
    found = (await three.read(models.page, namespace="default", show_deleted=True)).entries
    assert [model.delete_time is not None for model in found] == [False, True, False]


async def test_pages_neither_skip_nor_repeat_while_models_are_deleted(registry: Database) -> None:
    for index in range(20):
        await add_model(registry, f"default/m{index:02}")
    seen = list[str]()
    after: Any = None
    while after is not None or not seen:
        answer = await registry.read(models.page, namespace="default", after=after, page_size=3)
        page, after = answer.entries, answer.position
        seen += [model.name for model in page]
        await delete_model(registry, page[-1].text)
        for model in page[:-1]:
            await end_model(registry, model.text)
    assert seen == ["fraud", *(f"m{index:02}" for index in range(20))]


OF_MODELS = (
    *("versions", "files", "metrics", "manifests", "aliases", "alias_moves", "tombstones", "undeletions"),
    *("evaluations", "evaluated_metrics"),
)


async def test_a_purged_model_leaves_its_names_and_nothing_that_was_in_it(three: Database) -> None:
    await put(three, "champion", 1)
    await three.write(aliases.remove, act(), model=FRAUD, name="champion")
    await end(three, 3)
    await three.write(models.modify, act(), name=FRAUD, draft=Draft("secret", {"a": "b"}), mask=None)
    await delete_model(three)
    purged = await purge_model(three)
    after = await three.read(everything)

    assert (purged.name, purged.last_number) == ("default/scam", 3)
    assert {name: after[name] for name in OF_MODELS} == {name: [] for name in OF_MODELS}
    assert "secret" not in str(after["models"])
    assert len(after["model_names"]) == 2
    for name in (FRAUD, "default/scam"):
        with pytest.raises(errors.ModelNotFound, match="purged") as refused:
            await three.read(models.get, name=name)
        assert "purge_time" in refused.value.metadata
        with pytest.raises(errors.NameRetired, match="purged"):
            await add_model(three, name)
        for use_case in (model_deletions.remove, model_deletions.restore, model_deletions.purge):
            with pytest.raises(errors.ModelNotFound):
                await three.write(use_case, act(), name=name)
    assert await three.read(everything) == after


async def test_a_purge_of_a_model_leaves_the_manifests_that_others_have(three: Database) -> None:
    await add_model(three, "default/churn")
    await create(three, 0, model="default/churn")
    await end_model(three)
    assert len(await three.read(rows, tables.manifests)) == 1
    assert await three.read(versions.read_manifest, reference=number(1, model="default/churn"))
    assert len(await three.read(rows, tables.holdings)) == 1


async def test_a_model_with_more_versions_than_one_run_erases_is_purged_whole(
    registry: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    portion = model_deletions._PORTION.limit(2)
    monkeypatch.setattr(model_deletions, "_PORTION", portion)
    for seed in range(5):
        await create(registry, seed)
    await end_model(registry)
    assert await registry.read(rows, tables.versions) == []


async def test_a_model_with_too_many_files_is_not_purged_at_once(
    registry: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_deletions.LIMITS, "purged_files_count", 2)
    for seed in range(3):
        await create(registry, seed)
    await delete_model(registry)
    before = await registry.read(everything)
    with pytest.raises(errors.LimitExceeded) as refused:
        await purge_model(registry)
    assert (refused.value.metadata["limit"], refused.value.metadata["actual"]) == ("2", "3")
    assert await registry.read(everything) == before
    await undelete_model(registry)
    await end(registry, 2)
    await end_model(registry)


async def test_a_model_with_too_many_metrics_and_evaluations_is_not_purged_at_once(
    registry: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(registry, 1)
    draft = evaluations.Draft((Metric("f1", "", "", 0.5), Metric("auc", "", "", 0.5)))
    for _ in range(3):
        await registry.write(evaluations.record, act(), reference=number(1), draft=draft)
    stored = len(await registry.read(rows, tables.metrics)) + 2 + 3
    await delete_model(registry)
    before = await registry.read(everything)
    monkeypatch.setattr(model_deletions.LIMITS, "purged_metrics_count", stored - 1)
    with pytest.raises(errors.LimitExceeded, match="metrics") as refused:
        await purge_model(registry)
    assert refused.value.metadata["actual"] == str(stored)
    assert await registry.read(everything) == before
    monkeypatch.setattr(model_deletions.LIMITS, "purged_metrics_count", stored)
    await purge_model(registry)


async def test_a_model_with_too_much_that_filters_look_at_is_not_purged_at_once(
    registry: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With its parameter, that is six.
    await create(registry, 1, labels={"a": "1", "b": "2"}, description="Two words", semantic_version="1.0.0")
    await delete_model(registry)
    before = await registry.read(everything)
    monkeypatch.setattr(model_deletions.LIMITS, "purged_terms_count", 5)
    with pytest.raises(errors.LimitExceeded, match="parameters") as refused:
        await purge_model(registry)
    assert refused.value.metadata["actual"] == "6"
    assert await registry.read(everything) == before
    monkeypatch.setattr(model_deletions.LIMITS, "purged_terms_count", 6)
    await purge_model(registry)


async def test_a_refused_end_changes_nothing(three: Database) -> None:
    stale = str((await three.read(models.get, name=FRAUD)).sequence - 1)
    before = await three.read(everything)
    for use_case, name, options, error in (
        (model_deletions.remove, "default/none", {}, errors.ModelNotFound),
        (model_deletions.remove, "nowhere/none", {}, errors.NamespaceNotFound),
        (model_deletions.remove, "fraud", {}, errors.InvalidResourceName),
        (model_deletions.remove, FRAUD, {"etag": stale}, errors.EtagMismatch),
        (model_deletions.restore, FRAUD, {}, errors.NotDeleted),
        (model_deletions.purge, FRAUD, {}, errors.NotDeleted),
        (model_deletions.purge, "default/none", {}, errors.ModelNotFound),
    ):
        with pytest.raises(error):
            await three.write(use_case, act(), name=name, **options)
    assert await three.read(everything) == before
    await delete_model(three)
    for use_case in (undelete_model, purge_model):
        with pytest.raises(errors.EtagMismatch):
            await use_case(three, etag=stale)


async def test_a_namespace_with_deleted_models_stays_and_with_purged_ones_goes(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="other")
    await add_model(registry, "other/fraud")
    await registry.write(models.rename, act(), name="other/fraud", new_name="other/scam")
    await delete_model(registry, "other/scam")
    with pytest.raises(errors.NamespaceNotEmpty) as refused:
        await registry.write(namespaces.remove, act(), name="other")
    assert refused.value.metadata["models"] == "1"
    assert "still has 1 model;" in refused.value.message
    await purge_model(registry, "other/scam")
    await registry.write(namespaces.remove, act(), name="other")
    assert await names_in(registry) == ["fraud"]
    await registry.write(namespaces.create, act(), name="other")
    assert (await add_model(registry, "other/fraud")).latest_number == 0
    assert await latest(registry) == 0


async def test_a_delete_of_a_model_and_changes_in_it_at_once_agree(registry: Database) -> None:
    for index in range(5):
        name = f"default/m{index}"
        await add_model(registry, name)
        await create(registry, 0, model=name)
        results = await asyncio.gather(
            create(registry, 1, model=name),
            delete_model(registry, name),
            put(registry, "champion", 1, model=name),
            create(registry, 2, model=name),
            return_exceptions=True,
        )
        allowed = Model | tuple | errors.ModelDeleted | errors.ModelInUse
        assert all(isinstance(each, allowed) or hasattr(each, "number") for each in results)
        if isinstance(results[1], Model):
            assert isinstance(results[2], errors.ModelDeleted)
            await undelete_model(registry, name)
            assert await registry.read(aliases.page, model=name) == ([], False)
        else:
            assert not isinstance(results[2], BaseException)
        made = sum(not isinstance(results[index], BaseException) for index in (0, 3))
        assert await numbers(registry, model=name) == list(range(1, made + 2))
