"""What is evaluated, deleted, brought back, copied and purged is found, hidden and gone in lists."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from steelyard_server import errors
from steelyard_server.core import aliases, evaluations, models, versions
from steelyard_server.core.content import Metric
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from steelyard_server.limits import LIMITS
from tests.contracts import ends
from tests.contracts.registry import FRAUD, act, create, number, rows
from tests.contracts.search_registry import filled
from tests.contracts.test_terms import OF_MODELS, OF_VERSIONS

OTHER = "default/other"
NAN = float("nan")


async def evaluate(database: Database, target: int, value: float, *at: str, time: int = 1) -> None:
    """Record `auc` on the dataset and slice *at*."""
    metric = Metric("auc", *at, *[""] * (2 - len(at)), value)
    draft = evaluations.Draft((metric,), evaluate_time=time)
    await database.write(evaluations.record, act("eve"), reference=number(target), draft=draft)


async def found(
    database: Database, filter_: str = "", order_by: str = "", *, model: str = FRAUD, **options: Any
) -> list[int]:
    page = await database.read(
        versions.page, model=model, filter=filter_, order_by=order_by, page_size=1000, **options
    )
    return [version.number for version in page.entries]


@pytest.fixture
async def four(registry: Database) -> Database:
    for seed in range(4):
        await create(registry, seed)
    return registry


async def test_the_newest_evaluation_is_what_a_filter_and_an_order_see(four: Database) -> None:
    await evaluate(four, 1, 0.9, "new", time=5)
    await evaluate(four, 1, 0.1, "new", time=4)
    await evaluate(four, 2, 0.8, "new")
    await evaluate(four, 2, 0.7, "new", "region=EU")
    await evaluate(four, 3, NAN, "new")

    assert await found(four, "evaluations.auc@new > 0.5") == [1, 2]
    assert await found(four, "evaluations.auc@new[region=EU] > 0.5") == [2]
    assert await found(four, "evaluations.auc@new:*") == [1, 2, 3]
    assert await found(four, "evaluations:auc") == [1, 2, 3]
    assert await found(four, "metrics:auc") == []
    assert await found(four, "", "evaluations.auc@new") == [2, 1, 3, 4]
    assert await found(four, "", "evaluations.auc@new desc") == [1, 2, 4, 3]
    await evaluate(four, 1, 0.2, "new", time=5)
    assert await found(four, "evaluations.auc@new > 0.5") == [2]
    assert await found(four, "", "evaluations.auc@new") == [1, 2, 3, 4]


async def test_an_evaluated_metric_without_a_dataset_means_the_only_one_or_is_refused(
    four: Database,
) -> None:
    assert await found(four, "evaluations.auc > 0") == []
    await evaluate(four, 1, 0.5, "old")
    assert await found(four, "evaluations.auc > 0") == [1]
    await evaluate(four, 2, 0.5, "new", "region=EU")
    for query in ({"filter_": "evaluations.auc > 0"}, {"order_by": "evaluations.auc desc"}):
        with pytest.raises(errors.MetricAmbiguous) as refused:
            await found(four, **query)
        assert refused.value.metadata["choices"] == "evaluations.auc@new[region=EU], evaluations.auc@old"
    await evaluate(four, 3, 0.5)
    assert await found(four, "evaluations.auc > 0") == [3]


async def test_what_is_deleted_is_found_only_on_demand_and_comes_back(four: Database) -> None:
    await evaluate(four, 4, 0.5, "new")
    for query in (("number > 1", ""), ("", "evaluations.auc@new"), ("evaluations.auc@new > 0", "")):
        shown = await found(four, *query)
        await ends.delete(four, 4)
        assert await found(four, *query) == [each for each in shown if each != 4]
        assert await found(four, *query, show_deleted=True) == shown
        await ends.undelete(four, 4)
        assert await found(four, *query) == shown
    assert await found(four, "alias = latest") == [4]
    await ends.delete(four, 4)
    for show in (False, True):
        assert await found(four, "alias = latest", show_deleted=show) == [3]
    assert await found(four, "delete_time:*") == []
    assert await found(four, "delete_time > 2020-01-01", show_deleted=True) == [4]
    assert await found(four, "", "delete_time", show_deleted=True) == [4, 1, 2, 3]
    assert await found(four, "number >= 3", model="default/-") == [3]


async def test_what_is_in_a_deleted_model_is_in_no_list(four: Database) -> None:
    await ends.add_model(four, OTHER)
    await create(four, 9, model=OTHER)
    await evaluate(four, 1, 0.5, "new")
    for deleted in (OTHER, FRAUD):
        await ends.delete_model(four, deleted)
        for show in (False, True):
            everything = await found(four, "", model="default/-", show_deleted=show)
            assert len(everything) == (4 if deleted == OTHER else 0)
    # Not even as a metric that could be meant.
    assert await found(four, "evaluations.auc > 0", model="default/-") == []
    page = (
        await four.read(models.page, namespace="default", filter="alias = latest", show_deleted=True)
    ).entries
    assert [model.name for model in page] == ["fraud", "other"]
    page = (await four.read(models.page, namespace="default", filter="name:*")).entries
    assert page == []
    page = (
        await four.read(models.page, namespace="default", filter="delete_time:*", show_deleted=True)
    ).entries
    assert len(page) == 2
    await ends.purge_model(four, OTHER)
    page = (await four.read(models.page, namespace="default", show_deleted=True)).entries
    assert [model.name for model in page] == ["fraud"]
    with pytest.raises(errors.ModelDeleted):
        await found(four, show_deleted=True)


async def test_a_copy_is_found_by_all_that_it_has_and_by_where_it_comes_from(four: Database) -> None:
    await ends.add_model(four, OTHER)
    await create(four, 7, labels={"team": "risk"}, description="Best of all", semantic_version="1.0.0")
    await ends.copy(four, number(5), OTHER, semantic_version="2.0.0")
    for text in (
        "labels.team = risk", "best", "parameters.seed = 7", "semantic_version = 2.0.0",
        f'origin.version = "{FRAUD}:5"', "origin.creator = ada", "origin.uid:*", "import_time > 2020-01-01",
        "origin.create_time > 2020-01-01", 'origin.uri = "urn:uuid:*"', "origin.system = steelyard",
    ):  # fmt: skip
        assert await found(four, text, model=OTHER) == [1], text
    assert await found(four, "origin.create_time > 2099-01-01", model=OTHER) == []
    assert await found(four, "origin.version:*") == []


def owners(tx: Transaction) -> dict[str, set[int]]:
    """Return whose rows lie in each table that filters look at."""
    of_versions = (*OF_VERSIONS, tables.metrics, tables.evaluated_metrics, tables.files)
    found = {each.name: {row.version_id for row in tx.all(select(each))} for each in of_versions}
    return found | {each.name: {row.model_id for row in tx.all(select(each))} for each in OF_MODELS}


async def test_a_purge_leaves_nothing_that_filters_look_at(database: Database) -> None:
    full = await filled(database)
    draft = models.Draft("Text", {"a": "1"}, ("ada",), {"f1": "higher-is-better"})
    await database.write(models.modify, act(), name=FRAUD, draft=draft, mask=None)
    before = await database.read(owners)
    gone = {row[0] for row in await database.read(rows, tables.versions) if row[3] > 1}
    assert all(keys & gone for name, keys in before.items() if not name.startswith("model_"))
    for record in full.current(show_deleted=True):
        if record.number > 1 and not record.aliases:
            if record.delete_time is None:
                await ends.delete(database, record.number, model=f"default/{record.model}")
            await ends.purge(database, record.number, model=f"default/{record.model}")
    left = {row[0] for row in await database.read(rows, tables.versions)}
    after = await database.read(owners)
    assert gone - left
    assert all(keys <= left for name, keys in after.items() if not name.startswith("model_"))


async def test_a_purge_of_a_model_leaves_nothing_that_filters_look_at(registry: Database) -> None:
    draft = models.Draft("Text", {"a": "1"}, ("ada",), {"f1": "higher-is-better"})
    await registry.write(models.modify, act(), name=FRAUD, draft=draft, mask=None)
    await create(registry, 1, labels={"a": "1"}, description="Text", semantic_version="1.0.0")
    assert any((await registry.read(owners)).values())
    await ends.end_model(registry)
    assert not any((await registry.read(owners)).values())
    assert {row.creator_id for row in await registry.read(lambda tx: tx.all(select(tables.models)))} == {""}


async def test_pages_go_on_behind_a_version_that_was_purged(four: Database) -> None:
    for order in ("", "number desc", "parameters.seed", "labels.team, digest desc"):
        await create(four, 90 + len(order))
        answer = await four.read(versions.page, model=FRAUD, order_by=order, page_size=2)
        page, after = answer.entries, answer.position
        whole = await found(four, "", order)
        await ends.end(four, page[-1].number)
        rest = (await four.read(versions.page, model=FRAUD, order_by=order, after=after)).entries
        assert [version.number for version in (*page, *rest)] == whole


async def test_a_page_behind_which_the_model_was_purged_says_so(four: Database) -> None:
    after = (await four.read(versions.page, model=FRAUD, page_size=2)).position
    await ends.delete_model(four)
    with pytest.raises(errors.ModelDeleted):
        await four.read(versions.page, model=FRAUD, after=after)
    rest = (await four.read(versions.page, model="default/-", after=[[], 0, "fraud", 2])).entries
    assert rest == []
    await ends.purge_model(four)
    with pytest.raises(errors.ModelNotFound, match="purged"):
        await four.read(versions.page, model=FRAUD, after=after)


async def test_the_aliases_of_its_versions_count_into_the_size_of_a_page(registry: Database) -> None:
    description, name = "d" * 60_000, "{:03}" + "a" * (LIMITS.name_characters - 3)
    for seed in range(20):
        await create(registry, seed, description=description)

    def point(tx: Transaction) -> None:
        for place in range(LIMITS.aliases_count):
            aliases.put(tx, act(), reference=number(1), name=name.format(place))

    await registry.write(point)
    answer = await registry.read(versions.page, model=FRAUD, page_size=1000)
    page, after = answer.entries, answer.position
    assert len(page[0].aliases) == LIMITS.aliases_count
    size_bytes = sum(len(version.description) + len("".join(version.aliases)) for version in page)
    assert LIMITS.page_bytes - 2 * len(description) < size_bytes <= LIMITS.page_bytes
    rest = (await registry.read(versions.page, model=FRAUD, after=after, page_size=1000)).entries
    assert [version.number for version in (*page, *rest)] == list(range(1, 21))
