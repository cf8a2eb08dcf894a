"""Imports: a version keeps its number and says where it was; a batch of them is all or nothing."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from steelyard_server import errors
from steelyard_server.core import aliases, batches, blobs, evaluations, manifest, models, namespaces, versions
from steelyard_server.core.batches import Batch, Wish
from steelyard_server.core.content import Content, File, Metric
from steelyard_server.core.drafts import Draft
from steelyard_server.core.origins import Origin
from steelyard_server.db import tables
from steelyard_server.db.database import Database
from steelyard_server.history import canonical
from steelyard_server.limits import LIMITS
from tests.contracts.ends import add_model, delete, end, numbers, purge, undelete
from tests.contracts.registry import BLOB, FRAUD, act, build, by_alias, create, everything, number, rows
from tests.contracts.stored import require_equal

ORIGIN = Origin(
    "steelyard", uri="urn:uuid:1", version="risk/fraud:3", creator="grace", uid="there", create_time=1_000_000
)
ORIGIN_JSON = {
    "system": "steelyard",
    "uri": "urn:uuid:1",
    "version": "risk/fraud:3",
    "creator": "grace",
    "uid": "there",
    "create_time": "1970-01-01T00:00:01.000000Z",
}


def kept(value: int, **draft: Any) -> dict[str, Any]:
    """Draft a version that keeps a number."""
    return {"origin": ORIGIN, "number": value} | draft


def wish(seed: int, value: int = 0, **draft: Any) -> Wish:
    return Wish(build(seed), Draft(**({"origin": ORIGIN, "number": value} | draft)))


async def batch(database: Database, *wishes: Wish, model: str = FRAUD) -> Batch:
    return await database.write(batches.create, act(), model=model, wishes=wishes)


async def last_event(database: Database) -> dict[str, Any]:
    statement = select(tables.events.c.content).order_by(tables.events.c.sequence)
    found = await database.read(lambda tx: tx.all(statement))
    told: dict[str, Any] = json.loads(bytes(found[-1].content))
    return told


async def test_an_imported_version_keeps_its_number_and_says_where_it_was(registry: Database) -> None:
    made, created, _ = await create(registry, 1, **kept(3))
    read = await registry.read(versions.get, reference=by_alias("latest"))
    event = await last_event(registry)

    assert (made.number, created, read.number) == (3, True, 3)
    assert (read.origin, read.import_time) == (ORIGIN_JSON, read.create_time)
    assert (event["action"], event["changes"][0]["after"]["origin"]) == ("version.import", ORIGIN_JSON)
    assert event["changes"][0]["after"]["import_time"] == event["time"]
    assert read.creator["id"] == "ada"
    assert await numbers(registry) == [3]
    await registry.read(require_equal)


async def test_numbers_go_on_behind_an_imported_one_and_those_left_out_are_never_used(
    registry: Database,
) -> None:
    await create(registry, 1, **kept(3))
    made, _, _ = await create(registry, 2)
    far, _, _ = await create(registry, 3, **kept(2**62))
    after, _, _ = await create(registry, 4)

    assert (made.number, far.number, after.number) == (4, 2**62, 2**62 + 1)
    for value in (1, 2, 4, 5, 2**62 - 1, 2**62):
        with pytest.raises(errors.NumberTaken) as refused:
            await create(registry, 9, **kept(value))
        assert refused.value.metadata["last_number"] == str(2**62 + 1)
    with pytest.raises(errors.VersionNotFound):
        await registry.read(versions.get, reference=number(1))


async def test_a_number_is_taken_also_when_its_version_is_deleted_or_purged(registry: Database) -> None:
    for seed in (1, 2, 3):
        await create(registry, seed)
    await delete(registry, 2)
    await end(registry, 3)
    before = await registry.read(everything)
    for value, why in ((1, "is another version"), (2, "is another version"), (3, "was purged")):
        with pytest.raises(errors.NumberTaken, match=why):
            await create(registry, 9, **kept(value))
    assert await registry.read(everything) == before
    made, _, _ = await create(registry, 9, **kept(4))
    assert made.number == 4


async def test_an_import_of_what_is_there_changes_nothing(registry: Database) -> None:
    first, _, _ = await create(registry, 1)
    imported, _, _ = await create(registry, 2, **kept(5))
    before = await registry.read(everything)
    for seed, value, version in ((1, 1, first), (2, 5, imported), (1, 0, first), (2, 0, imported)):
        again, created, _ = await create(registry, seed, **kept(value, description="other words"))
        assert (again.uid, created) == (version.uid, False)
    with pytest.raises(errors.VersionAlreadyExists, match="whose number is '1'"):
        await create(registry, 1, **kept(7))
    with pytest.raises(errors.VersionAlreadyExists, match="whose number is '5'"):
        await create(registry, 2, **kept(1))
    assert await registry.read(everything) == before
    assert (await registry.read(versions.get, reference=number(1))).origin is None


async def test_content_that_was_deleted_is_not_imported_over(registry: Database) -> None:
    await create(registry, 1)
    await delete(registry, 1)
    for value in (0, 1, 2):
        with pytest.raises(errors.ContentDeleted):
            await create(registry, 1, **kept(value))
    await undelete(registry, 1)
    assert not (await create(registry, 1, **kept(1)))[1]
    await delete(registry, 1)
    await purge(registry, 1)
    with pytest.raises(errors.NumberTaken):
        await create(registry, 1, **kept(1))


REFUSED: list[tuple[dict[str, Any], type[errors.RegistryError], str]] = [
    ({"number": 3}, errors.FieldRequired, "origin"),
    ({"number": -1, "origin": ORIGIN}, errors.OutOfBounds, "number"),
    ({"origin": Origin("")}, errors.FieldRequired, "origin.system"),
    ({"origin": Origin("s", uri="x" * 2049)}, errors.TooLong, "origin.uri"),
    ({"origin": Origin("s", creator="a\nb")}, errors.ControlCharacters, "origin.creator"),
    ({"digest": "sha256:1"}, errors.DigestInvalid, "digest"),
    ({"digest": build(2).digest}, errors.DigestMismatch, "digest"),
]


@pytest.mark.parametrize(("draft", "error", "field"), REFUSED)
async def test_what_is_wrong_is_refused_with_its_field_and_changes_nothing(
    registry: Database, draft: dict[str, Any], error: type[errors.RegistryError], field: str
) -> None:
    before = await registry.read(everything)
    with pytest.raises(error) as refused:
        await create(registry, 1, **draft)
    assert refused.value.field == field
    with pytest.raises(error) as refused:
        await batch(registry, wish(3), Wish(build(1), Draft(**({"origin": ORIGIN} | draft)))) if (
            "origin" in draft or "digest" in draft
        ) else await batch(registry, Wish(build(1), Draft(**draft)))
    assert refused.value.field.endswith(field)
    assert refused.value.field.startswith("requests[")
    assert await registry.read(everything) == before
    made, _, _ = await create(registry, 2, digest=build(2).digest)
    assert made.number == 1


async def test_a_batch_is_one_event_of_all_versions_in_their_order(registry: Database) -> None:
    await create(registry, 1)
    made = await batch(registry, wish(2, 4), wish(1, 1), wish(3, 6), wish(4))
    event = await last_event(registry)
    (head,) = await registry.read(rows, tables.registry)

    assert [(each.number, each.created) for each in made.members] == [
        (4, True),
        (1, False),
        (6, True),
        (7, True),
    ]
    assert made.sequence == head[3]
    assert event["action"] == "version.import"
    assert [change["resource"] for change in event["changes"]] == [f"version/{FRAUD}:{n}" for n in (4, 6, 7)]
    assert (await create(registry, 5))[0].number == 8
    read = await registry.read(versions.get, reference=number(6))
    assert (read.origin, read.digest) == (ORIGIN_JSON, build(3).digest)
    assert read.content.files == build(3).content.files
    await registry.read(require_equal)


async def test_a_batch_without_origins_creates_and_says_so(registry: Database) -> None:
    made = await batch(registry, Wish(build(1), Draft()), Wish(build(2), Draft("words")))
    assert [each.number for each in made.members] == [1, 2]
    assert (await last_event(registry))["action"] == "version.create"
    assert (await registry.read(versions.get, reference=number(2))).import_time is None


async def test_a_batch_of_what_is_there_makes_no_event_and_sets_what_was_not_set(registry: Database) -> None:
    await batch(registry, wish(1, 1), wish(2, 2))
    before = await registry.read(everything)
    again = await batch(registry, wish(1, 1), wish(2, 2))
    assert ([each.created for each in again.members], again.changed) == ([False, False], False)
    assert await registry.read(everything) == before

    await batch(registry, wish(1, 1, semantic_version="1.0.0"), wish(2, 2))
    assert (await last_event(registry))["action"] == "version.update"
    assert (await registry.read(versions.get, reference=number(1))).semantic_version == "1.0.0"
    await registry.read(require_equal)


MISSING = ("sha256:" + "a" * 64, 1)
ALL_OR_NONE: list[tuple[list[Wish], type[errors.RegistryError]]] = [
    ([wish(2), wish(3, 1)], errors.NumberTaken),
    ([wish(2, 9), wish(3, 8)], errors.NumberTaken),
    ([wish(2, 5), wish(1, 6)], errors.VersionAlreadyExists),
    ([wish(2), Wish(build(3, blob=MISSING), Draft(origin=ORIGIN))], errors.BlobMissing),
    ([wish(2), wish(3, semantic_version="1.0.0")], errors.SemanticVersionAlreadyExists),
    ([wish(2), wish(3, idempotency_key="run 1")], errors.IdempotencyKeyReused),
    ([wish(2), wish(2)], errors.DuplicateKey),
    ([wish(2, semantic_version="2.0.0"), wish(3, semantic_version="2.0.0")], errors.DuplicateKey),
    ([wish(2, idempotency_key="k"), wish(3, idempotency_key="k")], errors.DuplicateKey),
    ([wish(2), Wish(build(3), Draft())], errors.FieldRequired),
    ([], errors.FieldRequired),
    ([wish(seed) for seed in range(LIMITS.batch_create_count + 1)], errors.LimitExceeded),
    (
        [wish(seed, description="é" * (LIMITS.batch_create_texts_bytes // 16)) for seed in range(8)]
        + [wish(9, labels={"a": "b"})],
        errors.LimitExceeded,
    ),
]


@pytest.mark.parametrize(("wishes", "error"), ALL_OR_NONE)
async def test_a_batch_of_which_one_is_refused_changes_nothing(
    registry: Database, wishes: list[Wish], error: type[errors.RegistryError]
) -> None:
    await create(registry, 1, semantic_version="1.0.0", idempotency_key="run 1")
    before = await registry.read(everything)
    with pytest.raises(error):
        await batch(registry, *wishes)
    assert await registry.read(everything) == before


async def test_all_files_of_a_batch_are_at_most_those_of_one_version(registry: Database) -> None:
    def large(seed: int, count: int) -> Wish:
        files = tuple(File(f"{seed}/{index}", *BLOB) for index in range(count))
        return Wish(manifest.build(Content(files=files)), Draft(origin=ORIGIN))

    with pytest.raises(errors.LimitExceeded, match="10001 files"):
        await batch(registry, large(1, 5_000), large(2, 5_001))
    made = await batch(registry, large(1, 5_000), large(2, 5_000))
    assert [each.created for each in made.members] == [True, True]


async def test_the_largest_batch_still_fits_into_one_event(registry: Database) -> None:
    """Names, texts and labels of any size: what has no room stands beside the event."""
    name = "default/" + '"' * 256
    await add_model(registry, name)
    origin = replace(ORIGIN, uri="é" * 1024, version="v" * 2048, creator="c" * 2048)
    room = LIMITS.batch_create_texts_bytes // LIMITS.batch_create_count - 8
    for labels in ({}, {"k": '"' * 4000, "l": "x" * 4000}, {"k": "x" * 700}):
        wishes = [
            wish(
                seed + 1000 * len(labels),
                origin=origin,
                labels=labels,
                description="d" * (room - sum(map(len, [*labels, *labels.values()]))),
                idempotency_key=f"{seed} {len(labels)} {len(str(labels))}" + "k" * 2000,
                semantic_version=f"{seed}.{len(str(labels))}.0",
            )
            for seed in range(LIMITS.batch_create_count)
        ]
        await batch(registry, *wishes, model=name)
    await registry.read(require_equal)


async def test_batches_at_once_get_numbers_one_after_the_other(registry: Database) -> None:
    made = await asyncio.gather(
        *(batch(registry, *(wish(10 * each + place) for place in range(5))) for each in range(6))
    )
    given = [each.number for one in made for each in one.members]
    assert sorted(given) == list(range(1, 31))
    assert all([each.number for each in one.members] == sorted(
        each.number for each in one.members
    ) for one in made)  # fmt: skip
    await registry.read(require_equal)


def measured(value: float = 0.5, **draft: Any) -> evaluations.Draft:
    stated = {"evaluate_time": 7, "origin": ORIGIN, "description": "words"} | draft
    return evaluations.Draft((Metric("f1", "newdata", "", value),), **stated)


async def record(database: Database, draft: evaluations.Draft, target: int = 1) -> evaluations.Recorded:
    return await database.write(evaluations.record, act(), reference=number(target), draft=draft)


async def test_an_imported_evaluation_keeps_who_measured_it_as_stated_and_is_not_doubled(
    registry: Database,
) -> None:
    await create(registry, 1)
    for value in (0.5, math.nan):
        origin = replace(ORIGIN, uid=f"there {value}")
        first = await record(registry, measured(value, origin=origin))
        before = await registry.read(everything)
        again = await record(registry, measured(value, origin=origin))
        assert await registry.read(everything) == before
        assert (first.created, again.created) == (True, False)
        assert again.evaluation.uid == first.evaluation.uid
        with pytest.raises(errors.EvaluationAlreadyExists):
            await record(registry, measured(0.25, origin=origin))
        with pytest.raises(errors.EvaluationAlreadyExists):
            await record(registry, measured(value, origin=origin, evaluate_time=8))
    event = await last_event(registry)
    assert event["action"] == "evaluation.import"
    assert event["changes"][0]["after"]["origin"] == ORIGIN_JSON | {"uid": "there nan"}
    listed, _, _ = await registry.read(evaluations.page, reference=number(1))
    assert [(each.evaluator["id"], each.origin["creator"]) for each in listed if each.origin] == [
        ("ada", "grace"),
        ("ada", "grace"),
    ]
    await registry.read(require_equal)


async def test_an_evaluation_that_comes_back_home_is_the_one_that_was_recorded_here(
    registry: Database,
) -> None:
    await create(registry, 1)
    own = await record(registry, measured(origin=None))
    home = await record(registry, measured(origin=replace(ORIGIN, uid=own.evaluation.uid)))
    assert (home.created, home.evaluation.uid, home.evaluation.origin) == (False, own.evaluation.uid, None)


async def test_another_version_may_have_an_evaluation_of_the_same_origin(registry: Database) -> None:
    await create(registry, 1)
    await create(registry, 2)
    made = [await record(registry, measured(), target) for target in (1, 2)]
    assert [each.created for each in made] == [True, True]


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        ({"origin": replace(ORIGIN, uid="")}, "evaluation.origin.uid"),
        ({"origin": replace(ORIGIN, system="")}, "evaluation.origin.system"),
        ({"evaluate_time": None}, "evaluation.evaluate_time"),
    ],
)
async def test_an_imported_evaluation_says_what_it_was_and_when(
    registry: Database, draft: dict[str, Any], field: str
) -> None:
    await create(registry, 1)
    with pytest.raises(errors.FieldRequired) as refused:
        await record(registry, measured(**draft))
    assert refused.value.field == field


async def test_an_alias_may_be_set_to_an_imported_version(registry: Database) -> None:
    await batch(registry, wish(1, 7))
    await registry.write(aliases.put, act(), reference=number(7), name="champion")
    assert (await registry.read(versions.get, reference=by_alias("champion"))).number == 7


async def test_an_import_needs_the_blobs_in_its_own_namespace(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="other")
    await add_model(registry, "other/fraud")
    with pytest.raises(errors.BlobMissing):
        await batch(registry, wish(1, 1), model="other/fraud")
    await registry.write(blobs.record, namespace="other", blobs=[BLOB])
    assert (await batch(registry, wish(1, 1), model="other/fraud")).changed
    assert (await registry.read(models.get, name="other/fraud")).latest_number == 1


def test_the_digest_of_content_is_that_of_its_canonical_json() -> None:
    assert build(1).digest == canonical.digest(build(1).encoded)
