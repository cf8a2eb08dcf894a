"""How much is stored, by namespace and model, against the same sums made in Python."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from steelyard_server import errors
from steelyard_server.core import (
    blobs,
    evaluations,
    garbage,
    manifest,
    models,
    namespaces,
    usage,
    versions,
)
from steelyard_server.core.content import Content, File, Metric
from steelyard_server.core.usage import Stored, Usage
from steelyard_server.db.database import Database, Transaction
from tests.contracts.ends import delete, end, end_model, purge
from tests.contracts.registry import BLOB, act, create, end_leases, number

NAMESPACES = ("default", "risk", "empty")
MODELS = ("default/fraud", "default/churn", "risk/fraud", "risk/none")
SIZES = {f"sha256:{number:064x}": 1 + number * number for number in range(12)}

Owned = dict[str, set[str]]


async def fill(database: Database, *, seed: int) -> tuple[Owned, Owned, dict[str, int]]:
    """Make versions with random files; return the blobs of namespaces and models, and their versions."""
    dice = random.Random(seed)  # noqa: S311 - the same registry each time
    held: Owned = defaultdict(set)
    named: Owned = {name: set() for name in MODELS}
    counts: dict[str, int] = defaultdict(int)
    for name in NAMESPACES[1:]:
        await database.write(namespaces.create, act(), name=name)
    for name in MODELS[1:]:
        await database.write(models.create, act(), name=name, draft=models.Draft())
    for index in range(20):
        model = dice.choice(MODELS[:3])
        namespace = model.partition("/")[0]
        digests = dice.sample(sorted(SIZES), dice.randint(1, 3))
        await database.write(
            blobs.record, namespace=namespace, blobs=[(digest, SIZES[digest]) for digest in digests]
        )
        files = [File(f"{index}-{place}", digest, SIZES[digest]) for place, digest in enumerate(digests)]
        # The same blob at two paths counts once, and one that stays elsewhere does not count.
        files += [File(f"{index} again", digests[0], SIZES[digests[0]])]
        files += [File(f"{index} away", "sha256:" + "f" * 64, 10_000, uri="https://example.com/")]
        built = manifest.build(Content(files=tuple(files)))
        await database.write(versions.create, act(), model=model, built=built, draft=versions.Draft())
        held[namespace].update(digests)
        named[model].update(digests)
        counts[model] += 1
        counts[namespace] += 1
    return held, named, counts


def expected(
    owned: Owned, counts: dict[str, int], *, of: tuple[str, ...], all_sizes: dict[str, int]
) -> list[Usage]:
    usages = []
    for name in of:
        mine = owned.get(name, set())
        others = set().union(*(digests for other, digests in owned.items() if other != name))
        size_bytes = sum(all_sizes[digest] for digest in mine)
        unique_bytes = sum(all_sizes[digest] for digest in mine - others)
        usages.append(Usage(name, counts.get(name, 0), len(mine), size_bytes, unique_bytes))
    return sorted(usages, key=lambda each: (-each.size_bytes, each.name))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_usage_is_what_python_adds_up(registry: Database, seed: int) -> None:
    held, named, counts = await fill(registry, seed=seed)
    sizes = SIZES | dict([BLOB])
    # What is uploaded and not named yet counts for its namespace, as long as its lease holds.
    leased = {name: digests | ({BLOB[0]} if name == "default" else set()) for name, digests in held.items()}
    everywhere, _, stored = await registry.read(usage.find, namespace="")
    assert everywhere == expected(leased, counts, of=NAMESPACES, all_sizes=sizes)
    digests = set().union(*leased.values())
    assert stored == Stored(len(digests), sum(sizes[digest] for digest in digests), 0)

    await registry.write(end_leases)
    everywhere, _, _ = await registry.read(usage.find, namespace="")
    assert everywhere == expected(held, counts, of=NAMESPACES, all_sizes=sizes)
    for namespace in NAMESPACES:
        usages, count, _ = await registry.read(usage.find, namespace=namespace)
        mine = tuple(name for name in MODELS if name.startswith(f"{namespace}/"))
        assert usages == expected(named, counts, of=mine, all_sizes=sizes)
        assert count == len(mine)


async def test_the_report_of_an_evaluation_counts_for_its_model(registry: Database) -> None:
    await create(registry, 1)
    report = ("sha256:" + "e" * 64, 30)
    await registry.write(blobs.record, namespace="default", blobs=[report])
    file = File("report.html", report[0], size_bytes=report[1])
    draft = evaluations.Draft((Metric("precision", "", "", 0.5),), report=file)
    for _ in range(2):
        await registry.write(evaluations.record, act(), reference=number(1), draft=draft)
    await registry.write(end_leases)
    for namespace, name in (("", "default"), ("default", "default/fraud")):
        usages, _, _ = await registry.read(usage.find, namespace=namespace)
        assert usages == [Usage(name, 1, 2, BLOB[1] + 30, BLOB[1] + 30)]


async def test_a_deleted_version_uses_its_bytes_until_it_is_purged(registry: Database) -> None:
    await create(registry, 1)
    await create(registry, 2)
    await registry.write(end_leases)
    await delete(registry, 2)
    usages, _, _ = await registry.read(usage.find, namespace="default")
    assert usages == [Usage("default/fraud", 2, 1, BLOB[1], BLOB[1])]
    await purge(registry, 2)
    await end(registry, 1)
    usages, _, _ = await registry.read(usage.find, namespace="default")
    assert usages == [Usage("default/fraud", 0, 0, 0, 0)]
    await end_model(registry)
    assert await registry.read(usage.find, namespace="default") == ([], 0, Stored(1, BLOB[1], 0))


async def test_what_is_condemned_counts_for_the_trash_alone(registry: Database) -> None:
    await registry.write(end_leases)
    await registry.write(garbage.condemn, digests=[BLOB[0]], grace_seconds=0)
    usages, _, stored = await registry.read(usage.find, namespace="")
    assert usages == [Usage("default", 0, 0, 0, 0)]
    assert stored == Stored(0, 0, BLOB[1])


async def test_sums_of_sizes_may_be_larger_than_a_32_bit_number(registry: Database) -> None:
    size_bytes = 70_368_744_177_664
    large = [(f"sha256:{number:064x}", size_bytes) for number in range(3)]
    await registry.write(blobs.record, namespace="default", blobs=large)
    (only,), _, stored = await registry.read(usage.find, namespace="")
    assert only.size_bytes == only.unique_bytes == stored.size_bytes == 3 * size_bytes + BLOB[1]


async def test_an_unknown_or_malformed_namespace_is_refused(registry: Database) -> None:
    with pytest.raises(errors.NamespaceNotFound):
        await registry.read(usage.find, namespace="none-such")
    with pytest.raises(errors.InvalidName):
        await registry.read(usage.find, namespace="a/b")


async def test_the_largest_come_first_not_more_than_a_page_and_all_are_counted(registry: Database) -> None:
    await create(registry, 1)

    def many(tx: Transaction) -> None:
        for index in range(1005):
            namespaces.create(tx, act(), name=f"n{index:04}")

    await registry.write(many)
    usages, count, _ = await registry.read(usage.find, namespace="")
    assert (len(usages), count) == (1000, 1006)
    assert [each.name for each in usages[:3]] == ["default", "n0000", "n0001"]
