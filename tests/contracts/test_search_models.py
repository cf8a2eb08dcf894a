"""Lists of models, and what sets lists apart: namespaces, words, tokens that live through changes."""

from __future__ import annotations

from typing import Any

import pytest

from steelyard_server import errors
from steelyard_server.core import aliases, models, namespaces, versions
from steelyard_server.db.database import Database
from tests.contracts.registry import act, create, number

DRAFTS: dict[str, models.Draft] = {
    "churn_model": models.Draft("Who leaves", labels={"team": "growth"}, owners=("ada", "grace")),
    "fraud": models.Draft(
        "Finds fraud", labels={"team": "risk", "tier": ""}, metric_directions={"f1": "higher-is-better"}
    ),
    "Größe": models.Draft("STRASSE", owners=("ada",)),
    "x": models.Draft(),
}
FILTERS = [
    ("", ["Größe", "churn_model", "fraud", "x"]),
    ("name = fraud", ["fraud"]),
    ('name = "*r*"', ["Größe", "churn_model", "fraud"]),
    ("name != fraud", ["Größe", "churn_model", "x"]),
    ("churn", ["churn_model"]),
    ("FRAU*", ["fraud"]),
    ("straße", ["Größe"]),
    ("grösse", ["Größe"]),
    ("-fraud", ["Größe", "churn_model", "x"]),
    ("labels.team = risk OR owners:grace", ["churn_model", "fraud"]),
    ("labels:team -labels.team = risk", ["churn_model"]),
    ('labels.tier = ""', ["fraud"]),
    ("labels:*", ["churn_model", "fraud"]),
    ("owners = ada", ["Größe", "churn_model"]),
    ("NOT owners = ada", ["fraud", "x"]),
    ("metric_directions.f1 = higher-is-better", ["fraud"]),
    ("metric_directions:f1", ["fraud"]),
    ("description:*", ["Größe", "churn_model", "fraud"]),
    ("alias = champion", ["fraud"]),
    ("alias = latest", ["fraud", "x"]),
    ("latest_number >= 2", ["fraud"]),
    ("creator = ada create_time > 2020-01-01", ["Größe", "churn_model", "fraud", "x"]),
    ("uid = nothing", []),
]
ORDERS = [
    ("name desc", ["x", "fraud", "churn_model", "Größe"]),
    ("labels.team", ["churn_model", "fraud", "Größe", "x"]),
    ("labels.team desc", ["fraud", "churn_model", "x", "Größe"]),
    ("latest_number desc, name", ["fraud", "x", "Größe", "churn_model"]),
    ("metric_directions.f1, description desc", ["fraud", "churn_model", "Größe", "x"]),
    ("create_time", ["churn_model", "fraud", "Größe", "x"]),
]


@pytest.fixture
async def listed(database: Database) -> Database:
    from steelyard_server.core import blobs
    from tests.contracts.registry import BLOB

    for space in ("risk", "other"):
        await database.write(namespaces.create, act(), name=space)
        await database.write(blobs.record, namespace=space, blobs=[BLOB])
    for name, draft in DRAFTS.items():
        await database.write(models.create, act(), name=f"risk/{name}", draft=draft)
    await database.write(models.create, act(), name="other/fraud", draft=DRAFTS["fraud"])
    for seed, model in enumerate(("risk/fraud", "risk/fraud", "risk/x", "other/fraud")):
        await create(database, seed, model=model)
    await database.write(aliases.put, act(), reference=number(1, model="risk/fraud"), name="champion")
    return database


async def names(database: Database, filter_: str, order_by: str = "", *, page_size: int = 2) -> list[str]:
    found: list[str] = []
    after: Any = None
    while True:
        answer = await database.read(
            models.page, namespace="risk", filter=filter_, order_by=order_by, after=after, page_size=page_size
        )
        page, after = answer.entries, answer.position
        found += [model.name for model in page]
        if after is None:
            return found


async def test_models_are_found_by_what_they_have_in_their_namespace(listed: Database) -> None:
    for text, wanted in FILTERS:
        assert await names(listed, text) == wanted, text


async def test_models_are_ordered_with_absent_values_last(listed: Database) -> None:
    for order, wanted in ORDERS:
        assert await names(listed, "", order) == wanted, order
        assert await names(listed, "", order, page_size=1) == wanted, order


async def test_versions_of_all_models_are_those_of_the_namespace(listed: Database) -> None:
    for text, wanted in (
        ("", ["risk/fraud:1", "risk/fraud:2", "risk/x:1"]),
        ("fraud", ["risk/fraud:1", "risk/fraud:2"]),
    ):
        page = (await listed.read(versions.page, model="risk/-", filter=text)).entries
        assert [f"{version.model}:{version.number}" for version in page] == wanted
        assert page[0].aliases == ["champion"]
    for model, error in (
        ("nowhere/-", errors.NamespaceNotFound),
        ("-", errors.InvalidResourceName),
        ("a/b/-", errors.InvalidResourceName),
    ):
        with pytest.raises(error):
            await listed.read(versions.page, model=model)


async def test_no_model_is_called_like_all_of_them(listed: Database) -> None:
    with pytest.raises(errors.ReservedName):
        await listed.write(models.create, act(), name="risk/-", draft=models.Draft())
    with pytest.raises(errors.ReservedName):
        await listed.write(models.rename, act(), name="risk/x", new_name="risk/-")


async def test_pages_go_on_although_the_last_one_is_gone_from_the_filter(listed: Database) -> None:
    answer = await listed.read(models.page, namespace="risk", filter="-nothing", page_size=2)
    page, after = answer.entries, answer.position
    await listed.write(
        models.modify, act(), name="risk/churn_model", draft=models.Draft("nothing"), mask=("description",)
    )
    rest = (await listed.read(models.page, namespace="risk", filter="-nothing", after=after)).entries
    assert [model.name for model in (*page, *rest)] == ["Größe", "churn_model", "fraud", "x"]
