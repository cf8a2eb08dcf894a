"""Quotas: what is too much is refused whole, what is there stays, and two at once do not slip past."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from typing import Any

import pytest

from steelyard_server import errors
from steelyard_server.core import blobs, copies, namespaces
from steelyard_server.core.quotas import Quota
from steelyard_server.db.database import Database, Transaction
from tests.contracts.ends import add_model, copy, delete, end, end_model, numbers, undelete
from tests.contracts.registry import BLOB, FRAUD, act, create, end_leases, everything, is_held, number
from tests.contracts.stored import require_equal

COPY = "other/copy"


def blob(seed: int, size_bytes: int = 10) -> tuple[str, int]:
    return "sha256:" + hashlib.sha256(str(seed).encode()).hexdigest(), size_bytes


async def allow(
    database: Database, name: str = "default", *, mask: tuple[str, ...] = ("quota",), **numbers: int
) -> namespaces.Namespace:
    draft = namespaces.Draft(quota=Quota(**numbers))
    return await database.write(namespaces.modify, act(), name=name, mask=mask, draft=draft)


async def usage(database: Database, name: str = "default") -> tuple[int, int]:
    await database.read(require_equal)
    used = (await database.read(namespaces.get, name=name)).usage
    return used.size_bytes, used.versions_count


async def refused(database: Database, wish: Any) -> dict[str, str]:
    """Return what a refusal says, which leaves everything as it was."""
    before = await database.read(everything)
    with pytest.raises(errors.QuotaExceeded) as error:
        await wish
    assert await database.read(everything) == before
    return error.value.metadata


async def test_a_version_too_many_is_refused_until_one_is_purged(registry: Database) -> None:
    await allow(registry, versions_count=2)
    for seed in (1, 2):
        await create(registry, seed)
    facts = {"namespace": "default", "quota": "versions_count", "allowed": "2", "used": "2", "asked": "1"}

    assert await refused(registry, create(registry, 3)) == facts
    await delete(registry, 1)
    assert await refused(registry, create(registry, 3)) == facts, "A deleted version keeps its place."
    await undelete(registry, 1)
    await end(registry, 1)
    version, created, _ = await create(registry, 3)
    assert (version.number, created) == (3, True)
    assert await usage(registry) == (BLOB[1], 2)


async def test_content_that_is_there_needs_no_room(registry: Database) -> None:
    await create(registry, 1)
    await allow(registry, versions_count=1, size_bytes=1)

    assert (await create(registry, 1))[1] is False
    await registry.write(blobs.record, namespace="default", blobs=[BLOB])
    admitted = {"namespace": "default", "digest": BLOB[0], "size_bytes": BLOB[1]}
    assert await registry.read(blobs.admit, **admitted) is not None
    assert await usage(registry) == (BLOB[1], 1)


async def test_all_models_of_a_namespace_share_its_quota_and_no_other_does(registry: Database) -> None:
    await registry.write(
        namespaces.create, act(), name="other", draft=namespaces.Draft(quota=Quota(versions_count=1))
    )
    await add_model(registry, "other/a")
    await add_model(registry, "other/b")
    await copy(registry, number((await create(registry, 1))[0].number), "other/a")

    await refused(registry, copy(registry, number(1), "other/b"))
    await create(registry, 2)
    assert await usage(registry, "other") == (BLOB[1], 1)
    await end_model(registry, "other/a")
    await copy(registry, number(1), "other/b")
    assert await usage(registry, "other") == (BLOB[1], 1)
    assert await usage(registry) == (BLOB[1], 2)


async def test_bytes_too_many_are_refused_and_each_blob_counts_once(registry: Database) -> None:
    await allow(registry, size_bytes=BLOB[1] + 25)
    await registry.write(blobs.record, namespace="default", blobs=[blob(1), BLOB, blob(1)])
    wish = registry.write(blobs.record, namespace="default", blobs=[blob(1), blob(2), blob(3)])

    assert await refused(registry, wish) == {
        "namespace": "default",
        "quota": "size_bytes",
        "allowed": str(BLOB[1] + 25),
        "used": str(BLOB[1] + 10),
        "asked": "20",
    }
    await registry.write(blobs.record, namespace="default", blobs=[blob(1), blob(2)])
    assert await usage(registry) == (BLOB[1] + 20, 0)


async def test_a_header_is_refused_before_its_bytes_come(registry: Database) -> None:
    await allow(registry, size_bytes=BLOB[1] + 10)

    for digest in (blob(1)[0], ""):
        wish = {"namespace": "default", "digest": digest}
        assert await registry.read(blobs.admit, size_bytes=10, **wish) is None
        facts = await refused(registry, registry.read(blobs.admit, size_bytes=11, **wish))
        assert (facts["used"], facts["asked"]) == (str(BLOB[1]), "11")


@pytest.mark.parametrize(
    ("quota", "room"),
    [
        ({}, (None, None)),
        ({"size_bytes": BLOB[1] + 3, "versions_count": 4}, (3, 3)),
        ({"size_bytes": 1, "versions_count": 1}, (0, 0)),
    ],
)
async def test_whoever_asks_what_is_missing_hears_for_how_much_there_is_room(
    registry: Database, quota: dict[str, int], room: tuple[int | None, int | None]
) -> None:
    await create(registry, 1)
    await allow(registry, **quota)

    missing = await registry.write(
        blobs.find_missing, namespace="default", wanted=[BLOB, blob(1)], sizes_bytes=[]
    )
    assert (missing.digests, missing.available_bytes, missing.available_versions_count) == (
        [blob(1)[0]],
        *room,
    )


async def test_a_copy_takes_bytes_of_the_namespace_that_gets_it(registry: Database) -> None:
    await create(registry, 1)
    await registry.write(
        namespaces.create, act(), name="other", draft=namespaces.Draft(quota=Quota(size_bytes=BLOB[1] - 1))
    )
    await add_model(registry, COPY)

    facts = await refused(registry, copy(registry, number(1), COPY))
    assert (facts["namespace"], facts["quota"], facts["asked"]) == ("other", "size_bytes", str(BLOB[1]))
    assert await numbers(registry, model=COPY) == []
    await allow(registry, "other", size_bytes=BLOB[1])
    await copy(registry, number(1), COPY)
    assert await usage(registry, "other") == (BLOB[1], 1)


async def release(database: Database, **options: Any) -> list[str]:
    """Do what a collection does with what namespaces hold, and return what was found."""
    found = await database.read(blobs.needless, after_digest="", last_digest="sha256:g", **options)
    await database.write(blobs.release_needless, digests=found, **options)
    return found


async def test_bytes_that_only_another_namespace_names_stop_counting(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="other")
    await add_model(registry, COPY)
    await create(registry, 1)
    await registry.write(end_leases)
    await copy(registry, number(1), COPY)

    assert await release(registry) == []
    await delete(registry, 1, model=COPY)
    assert await release(registry) == [], "It may be undeleted."
    await end_model(registry, COPY)
    assert await usage(registry, "other") == (BLOB[1], 0)
    assert await release(registry) == [BLOB[0]]
    assert (await usage(registry), await usage(registry, "other")) == ((BLOB[1], 1), (0, 0))
    assert (await is_held(registry, BLOB), await is_held(registry, BLOB, namespace="other")) == (True, False)


async def test_a_lease_holds_what_only_another_namespace_names(registry: Database) -> None:
    await create(registry, 1)
    await registry.write(namespaces.create, act(), name="other")
    await registry.write(blobs.record, namespace="other", blobs=[BLOB])

    assert await release(registry) == []
    assert await is_held(registry, BLOB, namespace="other")
    assert await release(registry, end_leases=True) == [BLOB[0]]
    assert not await is_held(registry, BLOB, namespace="other")
    assert await is_held(registry, BLOB)


async def test_what_nobody_names_is_left_to_its_grace(registry: Database) -> None:
    await registry.write(end_leases)
    assert await release(registry) == []
    assert await is_held(registry, BLOB)


async def test_what_a_copy_under_way_relies_on_is_not_released(registry: Database) -> None:
    await create(registry, 1)
    await registry.write(namespaces.create, act(), name="other")
    await add_model(registry, COPY)
    await registry.write(blobs.record, namespace="other", blobs=[BLOB])
    await registry.write(end_leases)
    copied, released = threading.Event(), threading.Event()

    def copy_and_wait(tx: Transaction) -> None:
        copies.copy(tx, act(), source=number(1), model=COPY)
        copied.set()
        # Nobody comes past while this is not committed.
        released.wait(0.5)

    copying = asyncio.create_task(registry.write(copy_and_wait))
    await asyncio.to_thread(copied.wait, 10)
    await registry.write(blobs.release_needless, digests=[BLOB[0]])
    released.set()
    await copying

    assert await is_held(registry, BLOB, namespace="other")
    assert await usage(registry, "other") == (BLOB[1], 1)


async def test_a_quota_below_what_is_there_takes_nothing_away(registry: Database) -> None:
    for seed in (1, 2, 3):
        await create(registry, seed)
    changed = await allow(registry, size_bytes=1, versions_count=1)

    assert (changed.quota, changed.usage.versions_count) == (Quota(1, 1), 3)
    assert await numbers(registry) == [1, 2, 3]
    await refused(registry, create(registry, 4))
    await end(registry, 1, 2)
    await refused(registry, create(registry, 4))
    await end(registry, 3)
    await create(registry, 4)
    await allow(registry)
    await create(registry, 5)


async def test_a_mask_changes_one_number_of_a_quota_or_all(registry: Database) -> None:
    await allow(registry, size_bytes=100, versions_count=5)

    changed = await allow(registry, mask=("quota.size_bytes",), size_bytes=200)
    assert changed.quota == Quota(200, 5)
    changed = await allow(registry, mask=("quota.versions_count",))
    assert changed.quota == Quota(200, 0)
    changed = await allow(registry, mask=("quota",), versions_count=7)
    assert changed.quota == Quota(0, 7)
    with pytest.raises(errors.FieldMaskInvalid) as error:
        await allow(registry, mask=("quota.files",))
    assert "quota.size_bytes" in error.value.metadata["allowed"]


@pytest.mark.parametrize("name", ["size_bytes", "versions_count"])
async def test_a_negative_quota_is_refused(registry: Database, name: str) -> None:
    with pytest.raises(errors.OutOfBounds) as error:
        await registry.write(
            namespaces.create, act(), name="other", draft=namespaces.Draft(quota=Quota(**{name: -1}))
        )
    assert error.value.field == f"quota.{name}"
    with pytest.raises(errors.OutOfBounds) as error:
        await allow(registry, **{name: -1})
    assert error.value.field == f"namespace.quota.{name}"


async def test_what_no_namespace_holds_any_more_counts_in_none(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="other")
    for name in ("default", "other"):
        await registry.write(blobs.record, namespace=name, blobs=[blob(1), blob(2)])

    await registry.write(blobs.release, digests=[blob(1)[0], blob(9)[0]])
    assert (await usage(registry), await usage(registry, "other")) == ((BLOB[1] + 10, 0), (10, 0))
    await registry.write(namespaces.remove, act(), name="other")
    await registry.write(namespaces.create, act(), name="other")
    assert await usage(registry, "other") == (0, 0)


async def test_of_many_uploads_at_once_only_those_that_fit_are_held(registry: Database) -> None:
    """PostgreSQL runs them side by side."""
    await allow(registry, size_bytes=BLOB[1] + 35)
    wishes = (
        registry.write(blobs.record, namespace="default", blobs=[blob(seed), blob(seed % 4)])
        for seed in range(12)
    )

    results = await asyncio.gather(*wishes, return_exceptions=True)
    assert {type(each) for each in results} == {type(None), errors.QuotaExceeded}
    assert await usage(registry) == (BLOB[1] + 30, 0)


async def test_of_many_creates_at_once_only_those_that_fit_are_made(registry: Database) -> None:
    for name in ("a", "b", "c"):
        await add_model(registry, f"default/{name}")
    await allow(registry, versions_count=4)
    wishes = (create(registry, seed, model=f"default/{'abc'[seed % 3]}") for seed in range(12))

    results = await asyncio.gather(*wishes, return_exceptions=True)
    assert [type(each) for each in results].count(errors.QuotaExceeded) == 8
    assert await usage(registry) == (BLOB[1], 4)


async def test_uploads_creates_and_copies_at_once_are_counted_right(registry: Database) -> None:
    """And none waits for another in a circle: a deadlock would make a use case run again, slowly."""
    await registry.write(namespaces.create, act(), name="other")
    await add_model(registry, COPY)
    for seed in range(6):
        await registry.write(blobs.record, namespace="default", blobs=[blob(seed)])
        await create(registry, seed, blob=blob(seed))
    wishes = [
        *(copy(registry, number(seed + 1), COPY) for seed in range(6)),
        *(registry.write(blobs.record, namespace="other", blobs=[blob(seed)]) for seed in range(6)),
        *(create(registry, 10 + seed, blob=blob(seed)) for seed in range(6)),
        *(registry.write(blobs.record, namespace="default", blobs=[blob(20 + seed)]) for seed in range(6)),
    ]

    await asyncio.gather(*wishes)
    assert await usage(registry, "other") == (60, 6)
    assert await usage(registry) == (BLOB[1] + 120, 12)


async def test_a_model_without_a_place_for_its_versions_is_there_all_the_same(registry: Database) -> None:
    await allow(registry, versions_count=1)
    await create(registry, 1)
    await add_model(registry, "default/second")
    await refused(registry, create(registry, 1, model="default/second"))
    assert await numbers(registry, model=FRAUD) == [1]
