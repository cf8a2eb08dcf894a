"""Ancestors in common are found by digest, in the namespace and within bounds, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from steelyard_server.core import comparisons, manifest, models, namespaces, versions
from steelyard_server.core.comparisons import Comparison
from steelyard_server.core.content import Content, File, Parameter, Parent
from steelyard_server.core.references import Reference
from steelyard_server.core.versions import Version
from steelyard_server.db.database import Database
from steelyard_server.limits import LIMITS
from tests.contracts.ends import add_model, copy, delete, delete_model
from tests.contracts.registry import BLOB, FRAUD, act, number

BASE = "sha256:" + "a" * 64


async def compare(database: Database, *wanted: Reference, **options: Any) -> Comparison:
    return await database.read(comparisons.compare, namespace="default", wanted=wanted, **options)


def descendant(*parents: Version | Parent, seed: int) -> Content:
    """Make content that names its parents, by digest or as they are given."""
    named = tuple(
        each if isinstance(each, Parent) else Parent("retrained-from", digest=each.digest) for each in parents
    )
    file = File("a", BLOB[0], BLOB[1])
    return Content(files=(file,), parameters=(Parameter("seed", seed),), parents=named)


async def add(database: Database, content: Content, *, model: str = FRAUD) -> Version:
    built = manifest.build(content)
    outcome = await database.write(versions.create, act(), model=model, built=built, draft=versions.Draft())
    return outcome.version


async def test_ancestors_in_common_are_found_through_other_models_nearest_first(registry: Database) -> None:
    base = Parent("fine-tuned-from", digest=BASE, uri="hf://org/base")
    await registry.write(models.create, act(), name="default/between", draft=models.Draft())
    root = await add(registry, descendant(base, seed=1))
    between = await add(registry, descendant(root, seed=2), model="default/between")
    left = await add(registry, descendant(between, seed=3))
    right = await add(registry, descendant(between, root, seed=4))
    alone = await add(registry, descendant(Parent("merged-from", uri="s3://alone"), seed=5))

    found = await compare(registry, number(left.number), number(right.number), number(alone.number))
    assert [(each.uri, each.digest, each.descendants) for each in found.shared_ancestors] == [
        ("default/between:1", between.digest, (0, 1)),
        (f"{FRAUD}:1", root.digest, (0, 1)),
        ("hf://org/base", BASE, (0, 1)),
    ]
    found = await compare(registry, number(root.number), number(right.number))
    assert [(each.uri, each.descendants) for each in found.shared_ancestors] == [
        (f"{FRAUD}:1", (0, 1)),
        ("hf://org/base", (0, 1)),
    ]


async def test_the_ancestor_that_is_near_to_all_comes_before_one_that_is_far_from_one(
    registry: Database,
) -> None:
    far, near = [await add(registry, descendant(seed=seed)) for seed in (1, 2)]
    between = await add(registry, descendant(far, seed=3))
    left = await add(registry, descendant(far, near, seed=4))
    right = await add(registry, descendant(near, between, seed=5))
    found = await compare(registry, number(left.number), number(right.number))
    assert [each.digest for each in found.shared_ancestors] == [near.digest, far.digest]


async def test_a_deleted_ancestor_is_followed_and_named_only_where_there_is_no_other(
    registry: Database,
) -> None:
    base = Parent("fine-tuned-from", digest=BASE, uri="hf://org/base")
    for name in ("default/copy", "default/gone"):
        await add_model(registry, name)
    root = await add(registry, descendant(base, seed=1), model="default/gone")
    await copy(registry, number(1, model="default/gone"), "default/copy")
    await add(registry, descendant(seed=9))
    await copy(registry, number(1, model="default/gone"), FRAUD)
    for seed in (2, 3):
        await add(registry, descendant(root, seed=seed))

    async def named() -> list[str]:
        return [each.uri for each in (await compare(registry, number(3), number(4))).shared_ancestors]

    assert await named() == ["default/gone:1", "hf://org/base"]
    await delete_model(registry, "default/gone")
    assert await named() == ["default/copy:1", "hf://org/base"]
    await delete(registry, 1, model="default/copy")
    assert await named() == [f"{FRAUD}:2", "hf://org/base"]
    await delete(registry, 2)
    assert await named() == ["default/gone:1", "hf://org/base"]


async def test_an_ancestor_that_is_only_an_address_is_shared_by_its_address(registry: Database) -> None:
    parents = [Parent("fine-tuned-from", uri="hf://org/base"), Parent("adapter-of", uri="hf://org/base")]
    for seed, parent in enumerate(parents):
        await add(registry, descendant(parent, seed=seed))
    (shared,) = (await compare(registry, number(1), number(2))).shared_ancestors
    assert (shared.digest, shared.uri, shared.descendants) == ("", "hf://org/base", (0, 1))


async def test_copies_of_one_content_are_no_ancestors_of_each_other(registry: Database) -> None:
    await registry.write(models.create, act(), name="default/copy", draft=models.Draft())
    for model in (FRAUD, "default/copy"):
        await add(registry, descendant(seed=1), model=model)
    found = await compare(registry, number(1), number(1, model="default/copy"))
    assert found.shared_ancestors == []
    assert (found.parameters, found.files.count) == ([], 0)


async def test_ancestors_are_followed_in_the_namespace_only(registry: Database) -> None:
    """What another namespace has, those who may read this one need not know."""
    await registry.write(namespaces.create, act(), name="other")
    await registry.write(models.create, act(), name="other/base", draft=models.Draft())
    secret = Parent("fine-tuned-from", uri="s3://secret")
    external = File("a", uri="s3://a", digest="", size_bytes=1)
    hidden = await add(registry, Content(files=(external,), parents=(secret,)), model="other/base")
    for seed in (1, 2):
        await add(registry, descendant(hidden, seed=seed))
    (shared,) = (await compare(registry, number(1), number(2))).shared_ancestors
    assert (shared.digest, shared.uri) == (hidden.digest, "")


@pytest.mark.parametrize("limit", ["compared_generations_count", "compared_ancestors_count"])
async def test_the_walk_to_ancestors_is_bounded(
    registry: Database, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, limit, 2)
    line = [await add(registry, descendant(seed=0))]
    for seed in range(1, 8):
        line.append(await add(registry, descendant(line[-1], seed=seed)))
    left, right = [await add(registry, descendant(line[-1], seed=seed)) for seed in (8, 9)]
    found = await compare(registry, number(left.number), number(right.number))
    # Two are looked at; the parent of the second is named by it.
    assert [each.uri for each in found.shared_ancestors] == [f"{FRAUD}:8", f"{FRAUD}:7", ""]
