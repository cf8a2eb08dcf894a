"""Versions: numbers without gaps or repeats, content that is there once, and nothing half done."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from steelyard_server import errors
from steelyard_server.core import blobs, manifest, models, namespaces, references, requests, versions
from steelyard_server.core.content import Content, File, Metric
from steelyard_server.core.references import Reference
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from tests.contracts.registry import BLOB, FRAUD, act, build, by_alias, create, everything, number, rows

ELSEWHERE = ("sha256:" + "e" * 64, 3)


async def test_concurrent_creates_get_the_numbers_from_one_on_without_gaps(registry: Database) -> None:
    await registry.write(models.create, act(), name="default/churn", draft=models.Draft())
    other = asyncio.gather(*(create(registry, seed, model="default/churn") for seed in range(10)))
    created = await asyncio.gather(*(create(registry, seed) for seed in range(50)))

    assert sorted(version.number for version, _, _ in created) == list(range(1, 51))
    assert len({version.digest for version, _, _ in created}) == 50
    assert sorted(version.number for version, _, _ in await other) == list(range(1, 11))
    assert (await registry.read(models.get, name=FRAUD)).latest_number == 50


async def test_creates_that_fail_between_others_leave_no_gap(registry: Database) -> None:
    wishes = [create(registry, seed, blob=ELSEWHERE if seed % 3 == 0 else BLOB) for seed in range(30)]
    results = await asyncio.gather(*wishes, return_exceptions=True)

    numbers = [result[0].number for result in results if not isinstance(result, BaseException)]
    assert sorted(numbers) == list(range(1, 21))
    assert sum(isinstance(result, errors.BlobMissing) for result in results) == 10


async def test_the_same_content_again_is_the_version_that_is_there(registry: Database) -> None:
    first, created, sequence = await create(registry, 1, description="first")
    before = await registry.read(everything)
    again, created_again, seen = await create(registry, 1, description="other words")

    assert (created, created_again) == (True, False)
    assert replace(again, id=0) == first
    assert seen == sequence
    assert await registry.read(everything) == before


async def test_the_same_content_at_once_is_one_version(registry: Database) -> None:
    created = await asyncio.gather(*(create(registry, 1) for _ in range(20)))

    assert sorted(new for _, new, _ in created) == [False] * 19 + [True]
    assert {version.uid for version, _, _ in created} == {created[0][0].uid}
    assert len(await registry.read(rows, tables.versions)) == 1


async def test_the_same_content_may_be_a_version_of_two_models(registry: Database) -> None:
    await registry.write(models.create, act(), name="default/churn", draft=models.Draft())
    one, _, _ = await create(registry, 1)
    other, created, _ = await create(registry, 1, model="default/churn")

    assert created
    assert (one.digest, one.number) == (other.digest, other.number)
    assert one.uid != other.uid


async def test_an_idempotency_key_is_kept_with_the_version(registry: Database) -> None:
    first, _, _ = await create(registry, 1, idempotency_key="run 7")
    again, created, _ = await create(registry, 1, idempotency_key="run 7")
    without, _, _ = await create(registry, 1)

    assert not created
    assert again == without
    assert replace(again, id=0) == first
    assert first.idempotency_key == "run 7"


async def test_what_existing_content_does_not_have_yet_is_set_once(registry: Database) -> None:
    first, _, _ = await create(registry, 1)
    await create(registry, 2, semantic_version="1.0.0")
    named, created, sequence = await create(registry, 1, semantic_version="1.1.0", idempotency_key="run 7")
    again, _, seen = await create(registry, 1, semantic_version="1.1.0", idempotency_key="run 7")

    assert not created
    assert sequence == seen == named.sequence > first.sequence
    assert named == again == await registry.read(versions.get, reference=number(1))
    assert (named.semantic_version, named.idempotency_key) == ("1.1.0", "run 7")
    for clash in ({"semantic_version": "1.2.0"}, {"idempotency_key": "run 8"}):
        with pytest.raises(errors.VersionAlreadyExists):
            await create(registry, 1, **clash)


async def test_a_semantic_version_that_another_has_is_not_set_on_existing_content(registry: Database) -> None:
    await create(registry, 1)
    await create(registry, 2, semantic_version="1.0.0")
    before = await registry.read(everything)
    with pytest.raises(errors.SemanticVersionAlreadyExists):
        await create(registry, 1, semantic_version="1.0.0")
    assert await registry.read(everything) == before


CLASHES: list[tuple[int, dict[str, Any], type[errors.RegistryError]]] = [
    (2, {"idempotency_key": "run 7"}, errors.IdempotencyKeyReused),
    (1, {"idempotency_key": "run 8"}, errors.VersionAlreadyExists),
    (1, {"semantic_version": "2.0.0"}, errors.VersionAlreadyExists),
    (2, {"semantic_version": "1.0.0"}, errors.SemanticVersionAlreadyExists),
    (2, {"semantic_version": "1.0"}, errors.SemanticVersionInvalid),
    (2, {"description": "a\0b"}, errors.ControlCharacters),
    (2, {"labels": {"a": "\n"}}, errors.ControlCharacters),
]


async def test_what_is_set_once_is_refused_when_it_clashes_and_nothing_changes(registry: Database) -> None:
    await create(registry, 1, idempotency_key="run 7", semantic_version="1.0.0")
    before = await registry.read(everything)
    for seed, draft, error in CLASHES:
        with pytest.raises(error):
            await create(registry, seed, **draft)
    assert await registry.read(everything) == before


async def test_two_creates_at_once_with_one_key_and_other_content_are_one_version(registry: Database) -> None:
    wishes = (create(registry, seed, idempotency_key="run 7") for seed in range(10))
    results = await asyncio.gather(*wishes, return_exceptions=True)

    refused = [result for result in results if isinstance(result, BaseException)]
    assert {type(error) for error in refused} == {errors.IdempotencyKeyReused}
    assert len(refused) == 9


async def test_a_version_without_its_blobs_is_refused_and_nothing_changes(registry: Database) -> None:
    before = await registry.read(everything)
    with pytest.raises(errors.BlobMissing) as refused:
        await create(registry, 1, blob=ELSEWHERE)

    assert refused.value.metadata == {"namespace": "default", "count": "1", "digests": ELSEWHERE[0]}
    assert await registry.read(everything) == before


async def test_a_blob_that_only_another_namespace_holds_is_missing_here(registry: Database) -> None:
    """The wall: what an answer says is the same as for a blob that exists nowhere."""
    await registry.write(namespaces.create, act(), name="other")
    await registry.write(blobs.record, namespace="other", blobs=[ELSEWHERE])
    before = await registry.read(everything)
    with pytest.raises(errors.BlobMissing):
        await create(registry, 1, blob=ELSEWHERE)
    missing = await registry.write(
        blobs.find_missing, namespace="default", wanted=[ELSEWHERE], sizes_bytes=[ELSEWHERE[1]]
    )

    assert (missing.digests, missing.held_sizes_bytes) == ([ELSEWHERE[0]], [])
    assert await registry.read(everything) == before


async def test_a_file_of_another_size_than_its_blob_is_refused(registry: Database) -> None:
    before = await registry.read(everything)
    with pytest.raises(errors.SizeMismatch):
        await create(registry, 1, blob=(BLOB[0], 8))
    assert await registry.read(everything) == before


async def test_a_rehearsal_answers_and_changes_nothing(registry: Database) -> None:
    before = await registry.read(everything)
    arguments: dict[str, Any] = {"model": FRAUD, "built": build(1), "draft": versions.Draft()}

    def encode(result: versions.Outcome) -> bytes:
        return str(result.version.number).encode()

    def rehearse(tx: Transaction) -> bytes:
        return requests.once(tx, act(), versions.create, encode, validate_only=True, **arguments)

    with pytest.raises(requests.Rehearsal) as rehearsal:
        await registry.write(rehearse)
    assert rehearsal.value.answer == b"1"
    assert await registry.read(everything) == before


async def test_a_version_is_found_by_all_its_names(registry: Database) -> None:
    for seed in range(3):
        await create(registry, seed, semantic_version=f"1.{seed}.0")
    second = await registry.read(versions.get, reference=number(2))
    names = [Reference(FRAUD, "digest", second.digest), Reference(FRAUD, "semantic_version", "1.1.0")]

    assert [await registry.read(versions.get, reference=name) for name in names] == [second, second]
    assert (await registry.read(versions.get, reference=by_alias("latest"))).number == 3


UNKNOWN: list[tuple[references.Kind, str | int, type[errors.RegistryError]]] = [
    ("number", 4, errors.VersionNotFound),
    ("number", 2**63 - 1, errors.VersionNotFound),
    ("number", 0, errors.OutOfBounds),
    ("number", -1, errors.OutOfBounds),
    ("alias", "champion", errors.AliasNotFound),
    ("digest", "sha256:" + "0" * 64, errors.VersionNotFound),
    ("digest", "sha256:0", errors.DigestInvalid),
    ("semantic_version", "9.0.0", errors.VersionNotFound),
]


async def test_what_no_version_is_called_is_not_found(registry: Database) -> None:
    await create(registry, 1)
    for kind, value, error in UNKNOWN:
        with pytest.raises(error):
            await registry.read(versions.get, reference=Reference(FRAUD, kind, value))


async def test_an_update_changes_what_its_mask_names_and_never_content(registry: Database) -> None:
    before, _, _ = await create(registry, 1, description="old", labels={"a": "b"})
    changed = await registry.write(
        versions.modify,
        act(),
        reference=number(1),
        description="new",
        labels={},
        mask=("description",),
        etag=str(before.sequence),
    )
    with pytest.raises(errors.EtagMismatch):
        await registry.write(
            versions.modify,
            act(),
            reference=number(1),
            description="stale",
            labels={},
            mask=None,
            etag=str(before.sequence),
        )
    after = await registry.read(versions.get, reference=number(1))

    assert after == changed
    assert (after.description, after.labels) == ("new", {"a": "b"})
    assert (after.digest, after.content, after.create_time) == (
        before.digest,
        before.content,
        before.create_time,
    )


async def test_pages_follow_each_other_in_both_orders_while_others_write(registry: Database) -> None:
    for seed in range(7):
        await create(registry, seed)

    async def all_numbers(order: str) -> list[int]:
        found: list[int] = []
        after: Any = None
        while after is not None or not found:
            answer = await registry.read(versions.page, model=FRAUD, order_by=order, after=after, page_size=3)
            page, after = answer.entries, answer.position
            found += [version.number for version in page]
            if order:
                await create(registry, 100 + len(found))
        return found

    assert await all_numbers("") == [1, 2, 3, 4, 5, 6, 7]
    assert await all_numbers(" number  desc ") == [7, 6, 5, 4, 3, 2, 1]
    with pytest.raises(errors.OrderByInvalid):
        await registry.read(versions.page, model=FRAUD, order_by="name")


async def test_metrics_are_kept_exactly_and_as_numbers_that_both_databases_compare_alike(
    registry: Database,
) -> None:
    values = {"nan": math.nan, "minus zero": -0.0, "smallest": 5e-324, "infinity": math.inf}
    metrics = tuple(Metric(name, "", "", value) for name, value in values.items())
    content = Content(files=(File("a", BLOB[0], BLOB[1]),), metrics=metrics)
    await registry.write(
        versions.create, act(), model=FRAUD, built=manifest.build(content), draft=versions.Draft()
    )
    stored = await registry.read(lambda tx: tx.all(select(tables.metrics)))

    assert {row.name: row.value for row in stored} == values | {"nan": None}
    assert {row.name: math.copysign(1, row.value) for row in stored if row.value is not None} == {
        "minus zero": 1.0,
        "smallest": 1.0,
        "infinity": 1.0,
    }
    assert {row.name: row.value_text for row in stored} == {
        "nan": "NaN",
        "minus zero": "-0",
        "smallest": "5e-324",
        "infinity": "Infinity",
    }
