"""What an answer tells beside its rows: what they are ordered by, and what a filter asks for in vain."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard_server.core import evaluations, manifest, models, versions
from steelyard_server.core.content import Content, File, Framework, Metric, Parameter
from steelyard_server.core.filters import absences
from steelyard_server.db import search_keys
from steelyard_server.db.database import Database
from steelyard_server.history.events import time_text
from tests.contracts import ends
from tests.contracts.ends import delete
from tests.contracts.registry import BLOB, FRAUD, act, create, number
from tests.contracts.search_reference import SEMANTIC_VERSIONS

OTHER = "default/other"


@pytest.fixture
async def measured(registry: Database) -> Database:
    """Make a version that has much, one that has little, and one whose metric is NaN."""
    content = Content(
        (File("model.onnx", *BLOB),),
        metrics=(Metric("precision", "holdout", "", 0.1), Metric("val/f1", "", "", 1.0)),
        parameters=(Parameter("lr", 2**53 + 1), Parameter("on", value=False), Parameter("opt.name", "adam")),
        framework=Framework("onnx", "1.17"),
    )
    nan = Content(content.files, metrics=(Metric("precision", "holdout", "", math.nan),))
    labels = {"team": "risk", "long": "x" * 200}
    draft = versions.Draft(labels=labels, semantic_version="1.10.0-rc.2+build")
    await registry.write(versions.create, act(), model=FRAUD, built=manifest.build(content), draft=draft)
    await create(registry, 2)
    built = manifest.build(nan)
    await registry.write(versions.create, act(), model=FRAUD, built=built, draft=versions.Draft())
    evaluated = evaluations.Draft((Metric("auc", "new", "a=b", math.inf),), evaluate_time=1)
    await registry.write(evaluations.record, act(), reference=number(1), draft=evaluated)
    return registry


async def listed(database: Database, **query: Any) -> Any:
    return await database.read(versions.page, **{"model": FRAUD, **query})


async def test_each_row_has_what_it_is_ordered_by_as_a_filter_takes_it(measured: Database) -> None:
    for order, wanted in (
        ("metrics.precision@holdout desc, number", "0.1"),
        ("evaluations.auc", "inf"),
        ("parameters.lr", "9007199254740993"),
        ("parameters.on", "false"),
        ("parameters.opt.name", "adam"),
        ("labels.team desc", "risk"),
        ("framework.name", "onnx"),
    ):
        page = await listed(measured, order_by=order)
        assert [*page.order_values] == [wanted, "", ""], order
        field = order.split()[0].rstrip(",")
        (found,) = (await listed(measured, filter=f"{field} = {wanted}")).entries
        assert found.number == 1
        first = await listed(measured, order_by=order, page_size=2)
        rest = await listed(measured, order_by=order, after=first.position)
        assert [*first.order_values, *rest.order_values] == [wanted, "", ""]
    assert (await listed(measured, order_by="semantic_version")).order_values[0] == "1.10.0-rc.2"
    page = await listed(measured, order_by="create_time desc, number")
    assert [*page.order_values] == [time_text(each.create_time) for each in page.entries]
    assert (await listed(measured, order_by="labels.long")).order_values[0] == "x" * 128
    assert [*(await listed(measured, order_by="model, number")).order_values] == ["", "", ""]
    assert [*(await listed(measured, model="default/-", order_by="model")).order_values] == ["fraud"] * 3
    assert [*(await listed(measured)).order_values] == []
    page = await measured.read(models.page, namespace="default", order_by="latest_number")
    assert page.order_values == ["3"]


async def test_what_it_is_ordered_by_counts_into_the_size_of_a_page(registry: Database) -> None:
    """Of 17 rows that fit, one is too many when each comes with 128 characters of three bytes."""
    for seed in range(17):
        await create(registry, seed, description="日" * 20_000)
    counts = [len((await listed(registry, order_by=by, page_size=17)).entries) for by in ("", "description")]
    assert counts == [17, 16]


@given(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False))
def test_a_number_comes_back_from_its_key(value: float) -> None:
    key = search_keys.number(value)
    assert key is not None
    assert search_keys.number_of(key) == value


@pytest.mark.parametrize("text", SEMANTIC_VERSIONS)
def test_a_semantic_version_comes_back_from_its_key_without_its_build(text: str) -> None:
    assert search_keys.semantic_version_of(search_keys.semantic_version(text)) == text.partition("+")[0]


async def test_what_a_filter_asks_for_in_vain_is_told_with_what_is_near(measured: Database) -> None:
    for text, wanted in (
        ("metrics.precison > 0.9", {"metrics.precison": "metrics.precision@holdout"}),
        ("metrics.precision@holdot > 0", {"metrics.precision@holdot": "metrics.precision@holdout"}),
        ('metrics."val/f2" > 0', {'metrics."val/f2"': 'metrics."val/f1"'}),
        ("metrics:precison", {"metrics.precison": "metrics.precision@holdout"}),
        ("evaluations.acu@new > 0", {"evaluations.acu@new": ""}),
        ("evaluations.aucc > 0", {"evaluations.aucc": "evaluations.auc@new[a=b]"}),
        ("labels.tema = risk", {"labels.tema": "labels.team"}),
        ("labels:tema AND parameters.opt.nane = adam", {
            "labels.tema": "labels.team", "parameters.opt.nane": "parameters.opt.name"}),
        ("labels.team = x OR labels.zzz = y OR labels.zzz = z", {"labels.zzz": ""}),
        ("labels.team = x", {}),
        ("metrics.precision > 2", {}),
        ("NOT labels:* AND NOT labels.tema = risk AND number > 9", {}),
        ("number > 9", {}),
        ("labels:tem*", {}),
    ):  # fmt: skip
        for model in (FRAUD, "default/-"):
            page = await listed(measured, model=model, filter=text + " AND number < 100")
            told = {each.field: each.suggestion for each in page.absent_fields}
            assert told == (wanted if not page.entries else {}), text


async def test_it_is_told_only_on_a_first_page_that_is_empty(measured: Database) -> None:
    text = "labels.tema = risk OR number > 1"
    page = await listed(measured, filter=text, page_size=1)
    assert (len(page.entries), page.absent_fields) == (1, [])
    for each in (2, 3):
        await delete(measured, each)
    rest = await listed(measured, filter=text, after=page.position)
    assert (rest.entries, rest.absent_fields) == ([], [])
    (absent,) = (await listed(measured, filter=text)).absent_fields
    assert absent == absences.AbsentField("labels.tema", "labels.team")


async def test_names_of_another_model_or_namespace_are_not_suggested(measured: Database) -> None:
    await ends.add_model(measured, OTHER)
    (absent,) = (await listed(measured, model=OTHER, filter="labels.tema = risk")).absent_fields
    assert absent.suggestion == ""
    (absent,) = (await listed(measured, model="default/-", filter="labels.tema = risk")).absent_fields
    assert absent.suggestion == "labels.team"


async def test_no_more_is_told_than_a_few(measured: Database) -> None:
    text = " OR ".join(f"labels.zz{each} = x" for each in range(20))
    page = await listed(measured, filter=text)
    assert [each.field for each in page.absent_fields] == [f"labels.zz{each}" for each in range(8)]


async def test_labels_and_directions_of_models_are_told_too(registry: Database) -> None:
    draft = models.Draft(labels={"team": "risk"}, metric_directions={"precision": "higher-is-better"})
    await registry.write(models.create, act(), name=OTHER, draft=draft)
    for text, field, near in (
        ("labels.tema = risk", "labels.tema", "labels.team"),
        ("metric_directions:precison", "metric_directions.precison", "metric_directions.precision"),
    ):
        (absent,) = (await registry.read(models.page, namespace="default", filter=text)).absent_fields
        assert (absent.field, absent.suggestion) == (field, near)
