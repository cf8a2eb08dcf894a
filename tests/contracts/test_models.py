"""Models and namespaces: names that are unique without regard to letter case and never change hands."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from steelyard_server import errors
from steelyard_server.core import models, namespaces
from steelyard_server.core.models import Draft, Model
from steelyard_server.db.database import Database
from steelyard_server.limits import LIMITS
from tests.contracts.registry import FRAUD, act, create, everything


async def rename(database: Database, name: str, new_name: str, **options: Any) -> Model:
    return await database.write(models.rename, act(), name=name, new_name=new_name, **options)


async def add(database: Database, name: str) -> Model:
    return await database.write(models.create, act(), name=name, draft=Draft())


async def test_a_renamed_model_is_found_by_all_the_names_it_had(registry: Database) -> None:
    before = await registry.read(models.get, name=FRAUD)
    await rename(registry, FRAUD, "default/risk")
    after = await rename(registry, "default/risk", "default/scam")
    version, _, _ = await create(registry, 1, model=FRAUD)

    for name in (FRAUD, "default/risk", "default/scam"):
        found = await registry.read(models.get, name=name)
        assert (found.uid, found.text) == (before.uid, "default/scam")
    assert after.former_names == ["default/fraud", "default/risk"]
    assert version.model == "default/scam"


async def test_a_name_that_redirects_is_not_reusable_and_one_that_stands_is_taken(registry: Database) -> None:
    await rename(registry, FRAUD, "default/risk")
    await add(registry, "default/churn")
    before = await registry.read(everything)
    for name, error in (
        (FRAUD, errors.NameRetired),
        ("default/FRAUD", errors.NameRetired),
        ("default/risk", errors.ModelAlreadyExists),
        ("default/Risk", errors.ModelAlreadyExists),
    ):
        with pytest.raises(error):
            await add(registry, name)
        with pytest.raises(error):
            await rename(registry, "default/churn", name)
    assert await registry.read(everything) == before


async def test_a_model_may_take_back_a_name_that_was_its_own(registry: Database) -> None:
    await rename(registry, FRAUD, "default/risk")
    back = await rename(registry, "default/risk", FRAUD)
    assert (back.text, back.former_names) == (FRAUD, ["default/risk"])


async def test_a_rename_may_change_only_the_letter_case(registry: Database) -> None:
    renamed = await rename(registry, FRAUD, "default/Fraud")

    assert (renamed.text, renamed.former_names) == ("default/Fraud", [])
    assert (await registry.read(models.get, name="default/FRAUD")).text == "default/Fraud"


async def test_a_rename_to_the_present_name_changes_nothing(registry: Database) -> None:
    before = await registry.read(everything)
    assert (await rename(registry, FRAUD, FRAUD)).former_names == []
    assert await registry.read(everything) == before


async def test_a_model_has_a_bounded_number_of_former_names_and_may_return_to_each(
    registry: Database,
) -> None:
    called = [FRAUD, *(f"default/name {index}" for index in range(LIMITS.former_names_count))]
    for old, new in pairwise(called):
        await rename(registry, old, new)
    before = await registry.read(everything)
    with pytest.raises(errors.LimitExceeded):
        await rename(registry, FRAUD, "default/one more")
    assert await registry.read(everything) == before
    assert len((await rename(registry, FRAUD, called[1])).former_names) == LIMITS.former_names_count


async def test_names_that_differ_only_by_letter_case_are_one(registry: Database) -> None:
    names = ["default/Straße", "default/STRASSE", "default/strasse", "default/straße"]
    results = await asyncio.gather(*(add(registry, name) for name in names), return_exceptions=True)

    (winner,) = (result for result in results if isinstance(result, Model))
    assert [type(result) for result in results].count(errors.ModelAlreadyExists) == 3
    for name in names:
        assert (await registry.read(models.get, name=name)).uid == winner.uid


async def test_two_namespaces_have_models_of_the_same_name(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="other")
    await add(registry, "other/fraud")
    with pytest.raises(errors.ResourceMismatch):
        await rename(registry, FRAUD, "other/x")
    listed = (await registry.read(models.page, namespace="other")).entries
    assert [model.text for model in listed] == ["other/fraud"]


async def test_an_update_with_a_stale_etag_changes_nothing(registry: Database) -> None:
    first = await registry.read(models.get, name=FRAUD)
    changed = await registry.write(
        models.modify, act(), name=FRAUD, draft=Draft(description="new"), mask=None, etag=str(first.sequence)
    )
    before = await registry.read(everything)
    with pytest.raises(errors.EtagMismatch):
        await rename(registry, FRAUD, "default/risk", etag=str(first.sequence))
    assert await registry.read(everything) == before
    assert (changed.description, changed.sequence > first.sequence) == ("new", True)


async def test_a_namespace_with_models_stays_and_default_stays_always(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="other")
    await add(registry, "other/fraud")
    await registry.write(namespaces.create, act(), name="empty")
    await registry.write(namespaces.remove, act(), name="empty")
    before = await registry.read(everything)
    for name, error in (
        ("other", errors.NamespaceNotEmpty),
        ("default", errors.ReservedName),
        ("empty", errors.NamespaceNotFound),
    ):
        with pytest.raises(error):
            await registry.write(namespaces.remove, act(), name=name)
    assert await registry.read(everything) == before


async def test_a_namespace_is_not_deleted_under_a_model_that_is_being_made(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="other")
    made, removed = await asyncio.gather(
        add(registry, "other/fraud"),
        registry.write(namespaces.remove, act(), name="other"),
        return_exceptions=True,
    )
    assert isinstance(made, errors.NamespaceNotFound) != isinstance(removed, errors.NamespaceNotEmpty)


async def test_a_registry_that_was_used_does_not_get_default_again(registry: Database) -> None:
    before = await registry.read(everything)
    await registry.write(namespaces.ensure_default, act())
    assert await registry.read(everything) == before
