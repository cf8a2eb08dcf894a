"""The history of a model is found by the model, whatever becomes of it, and that of a namespace too."""

from __future__ import annotations

import hashlib
import json

import pytest

from steelyard_server import errors
from steelyard_server.core import aliases, evaluations, events, models, namespaces
from steelyard_server.core.content import Metric
from steelyard_server.core.events import Event
from steelyard_server.db.database import Database
from tests.contracts.ends import add_model, delete_model, end, end_model, put, undelete_model
from tests.contracts.registry import FRAUD, act, create, number


async def told(database: Database, scope: str) -> list[Event]:
    """Read the events of a scope, two a page."""
    page, after = await database.read(events.page, scope=scope, page_size=2)
    found = list(page)
    while after is not None:
        page, after = await database.read(events.page, scope=scope, after=after, page_size=2)
        assert len(page) <= 2
        found += page
    return found


def actions(found: list[Event]) -> list[str]:
    return [event.action for event in found]


async def test_a_model_has_all_its_events_and_no_others(registry: Database) -> None:
    await add_model(registry, "default/churn")
    await create(registry, 1)
    await create(registry, 2, model="default/churn")
    await create(registry, 2, description="words")
    await put(registry, "champion", 1)
    measured = evaluations.Draft((Metric("f1", "", "", 1.0),))
    await registry.write(evaluations.record, act(), reference=number(1), draft=measured)
    await registry.write(aliases.remove, act(), model=FRAUD, name="champion")
    await end(registry, 2)
    await registry.write(models.rename, act(), name=FRAUD, new_name="default/scam")
    await delete_model(registry, "default/scam")

    expected = ["model.create", "version.create", "version.create", "alias.set", "evaluation.record"]
    expected += ["alias.delete", "version.delete", "version.purge", "model.rename", "model.delete"]
    found = await told(registry, FRAUD)
    assert actions(found) == expected
    assert actions(await told(registry, "default/scam")) == expected
    assert actions(await told(registry, "default/churn")) == ["model.create", "version.create"]
    await undelete_model(registry, "default/scam")
    assert len(await told(registry, FRAUD)) == len(expected) + 1


async def test_a_namespace_has_its_own_events_and_those_of_all_its_models(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="other")
    await add_model(registry, "other/churn")
    await create(registry, 1)
    assert actions(await told(registry, "other")) == ["namespace.create", "model.create"]
    assert actions(await told(registry, "default")) == ["namespace.create", "model.create", "version.create"]


async def test_an_event_has_its_bytes_and_the_texts_that_it_binds(registry: Database) -> None:
    await create(registry, 1, description="two\nwords 🦉")
    event = (await told(registry, FRAUD))[-1]
    content = json.loads(event.content)
    (text,) = event.texts

    assert (content["sequence"], content["action"]) == (str(event.sequence), "version.create")
    assert event.actor == content["actor"]
    assert (text.name, text.content) == ("changes.0.description", "two\nwords 🦉")
    digest = hashlib.sha256(text.salt + text.content.encode()).hexdigest()
    assert content["changes"][0]["after"]["description"] == f"sha256:{digest}"


async def test_a_page_is_bounded_by_the_texts_beside_its_events(registry: Database) -> None:
    for seed in range(30):
        await create(registry, seed, description="é" * 32_768)
    page, after = await registry.read(events.page, scope=FRAUD, page_size=1000)
    assert after
    assert 2 <= len(page) <= 16
    assert len(await told(registry, FRAUD)) == 31


async def test_a_new_namespace_does_not_have_the_events_of_an_old_one_with_its_name(
    registry: Database,
) -> None:
    await registry.write(namespaces.create, act(), name="other", draft=namespaces.Draft("the old one"))
    await add_model(registry, "other/churn")
    await end_model(registry, "other/churn")
    await registry.write(namespaces.remove, act(), name="other")
    await registry.write(namespaces.create, act(), name="other")
    await add_model(registry, "other/churn")
    assert actions(await told(registry, "other")) == ["namespace.create", "model.create"]
    assert actions(await told(registry, "other/churn")) == ["model.create"]


@pytest.mark.parametrize(
    ("scope", "error"),
    [
        ("nowhere", errors.NamespaceNotFound),
        ("nowhere/none", errors.NamespaceNotFound),
        ("default/none", errors.ModelNotFound),
        ("Default", errors.InvalidName),
        ("default/a/b", errors.InvalidResourceName),
    ],
)
async def test_there_are_no_events_of_what_is_none(
    registry: Database, scope: str, error: type[errors.RegistryError]
) -> None:
    with pytest.raises(error):
        await registry.read(events.page, scope=scope)
