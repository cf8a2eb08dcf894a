"""What is garbage, and what becomes of it in the database, on both databases."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import select, update

from steelyard_server import errors
from steelyard_server.core import blobs, evaluations, files, garbage, models, namespaces, versions
from steelyard_server.core.content import Content, File, Metric
from steelyard_server.core.manifest import build as build_manifest
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction
from tests.contracts.ends import (
    add_model,
    copy,
    delete,
    delete_model,
    end,
    end_versions,
    purge,
    purge_model,
    undelete,
)
from tests.contracts.registry import (
    BLOB,
    FRAUD,
    act,
    build,
    create,
    end_leases,
    everything,
    number,
    rows,
)

OTHER = ("sha256:" + "e" * 64, 3)
HOUR = 3600


async def record(database: Database, *found: tuple[str, int], namespace: str = "default") -> None:
    await database.write(blobs.record, namespace=namespace, blobs=found)


async def examine(database: Database, *, grace_seconds: int = 0) -> set[str]:
    """Return what could be condemned."""
    found, _, _ = await database.read(garbage.examine, after_digest="", grace_seconds=grace_seconds)
    return {blob.digest for blob in found}


async def condemn(database: Database, *digests: str, grace_seconds: int = 0) -> list[str]:
    condemned = await database.write(garbage.condemn, digests=digests, grace_seconds=grace_seconds)
    return [blob.digest for blob in condemned]


async def states(database: Database, *digests: str) -> dict[str, bool]:
    """Return which of the blobs that are recorded are condemned."""
    found = await database.read(blobs.states, digests=digests)
    return {digest: condemn_time is not None for digest, condemn_time in found.items()}


async def holders(database: Database, digest: str) -> int:
    condition = tables.holdings.c.digest == digest
    return len(await database.read(lambda tx: tx.all(select(tables.holdings).where(condition))))


async def test_what_a_lease_holds_is_no_garbage_until_it_ends(registry: Database) -> None:
    assert await examine(registry) == set()
    assert await condemn(registry, BLOB[0]) == []
    await registry.write(end_leases)
    assert await examine(registry) == {BLOB[0]}
    assert await condemn(registry, BLOB[0]) == [BLOB[0]]


async def test_leases_can_be_ended_and_what_a_version_names_stays(registry: Database) -> None:
    await create(registry, 1)
    found, _, _ = await registry.read(garbage.examine, after_digest="", grace_seconds=0, end_leases=True)
    assert BLOB[0] not in {blob.digest for blob in found}
    options = {"digests": [BLOB[0]], "grace_seconds": 0, "end_leases": True}
    assert await registry.write(garbage.condemn, **options) == []
    await delete(registry, 1)
    await purge(registry, 1)
    assert await condemn(registry, BLOB[0]) == []
    (condemned,) = await registry.write(garbage.condemn, **options)
    assert condemned.digest == BLOB[0]


async def test_what_a_version_names_is_no_garbage_until_the_version_is_gone(registry: Database) -> None:
    await create(registry, 1)
    await registry.write(end_leases)
    assert await examine(registry) == set()
    assert await condemn(registry, BLOB[0]) == []
    await registry.write(end_versions)
    assert await condemn(registry, BLOB[0]) == [BLOB[0]]


async def test_what_a_deleted_version_names_is_no_garbage_until_it_is_purged(registry: Database) -> None:
    await create(registry, 1)
    await delete(registry, 1)
    await registry.write(end_leases)
    assert await examine(registry) == set()
    assert await condemn(registry, BLOB[0]) == []
    await undelete(registry, 1)
    await delete(registry, 1)
    await purge(registry, 1)
    assert await condemn(registry, BLOB[0]) == [BLOB[0]]


async def test_what_a_deleted_model_holds_is_no_garbage_until_it_is_purged(registry: Database) -> None:
    await create(registry, 1)
    await delete_model(registry)
    await registry.write(end_leases)
    assert await condemn(registry, BLOB[0]) == []
    await purge_model(registry)
    assert await condemn(registry, BLOB[0]) == [BLOB[0]]


async def test_the_report_of_an_evaluation_is_no_garbage_until_its_version_is_gone(
    registry: Database,
) -> None:
    await record(registry, OTHER)
    await create(registry, 1)
    report = File("report.html", OTHER[0], size_bytes=OTHER[1])
    draft = evaluations.Draft((Metric("precision", "new", "", 0.5),), report=report)
    await registry.write(evaluations.record, act(), reference=number(1), draft=draft)
    await registry.write(end_leases)
    assert await examine(registry) == set()
    assert await condemn(registry, BLOB[0], OTHER[0]) == []
    assert await registry.read(files.versions_with, digest=OTHER[0], maximum=1) == (["default/fraud:1"], 1)
    await end(registry, 1)
    assert await condemn(registry, BLOB[0], OTHER[0]) == sorted([BLOB[0], OTHER[0]])


async def test_what_a_copy_names_is_no_garbage_when_the_first_version_is_gone(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="other")
    await add_model(registry, "other/copies")
    await create(registry, 1)
    await copy(registry, number(1), "other/copies")
    await end(registry, 1)
    await registry.write(end_leases)
    assert await condemn(registry, BLOB[0]) == []
    assert await registry.write(blobs.renew, namespace="other", digest=BLOB[0], size_bytes=BLOB[1])
    await registry.write(end_leases)
    await end(registry, 1, model="other/copies")
    assert await condemn(registry, BLOB[0]) == [BLOB[0]]


async def test_a_file_that_stays_elsewhere_holds_no_bytes_here(registry: Database) -> None:
    file = File("model.onnx", *BLOB, uri="https://example.com/model.onnx")
    built = build_manifest(Content(files=(file,)))
    await registry.write(versions.create, act(), model=FRAUD, built=built, draft=versions.Draft())
    await registry.write(end_leases)
    assert await examine(registry) == {BLOB[0]}


async def test_what_is_younger_than_the_grace_is_no_garbage(registry: Database) -> None:
    await registry.write(end_leases)
    assert await examine(registry, grace_seconds=HOUR) == set()
    assert await condemn(registry, BLOB[0], grace_seconds=HOUR) == []

    def age(tx: Transaction) -> None:
        older = tables.blobs.c.create_time - HOUR * 1_000_000
        tx.run(update(tables.blobs).values(create_time=older), {})

    await registry.write(age)
    assert await condemn(registry, BLOB[0], grace_seconds=HOUR) == [BLOB[0]]


async def test_a_condemned_blob_is_held_by_nobody_and_missing_everywhere(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="other")
    await record(registry, BLOB, namespace="other")
    await registry.write(end_leases)
    await condemn(registry, BLOB[0])

    assert await holders(registry, BLOB[0]) == 0
    for namespace in ("default", "other"):
        wanted = {"namespace": namespace, "digest": BLOB[0], "size_bytes": BLOB[1]}
        assert await registry.read(blobs.admit, **wanted) is None
        assert not await registry.write(blobs.renew, **wanted)
    with pytest.raises(errors.BlobMissing):
        await create(registry, 1)


async def test_recording_a_condemned_blob_brings_it_back_to_the_one_who_did(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="other")
    await registry.write(end_leases)
    await condemn(registry, BLOB[0])
    await record(registry, BLOB, namespace="other")

    assert await states(registry, BLOB[0]) == {BLOB[0]: False}
    assert await holders(registry, BLOB[0]) == 1
    with pytest.raises(errors.BlobMissing):
        await create(registry, 1)
    await record(registry, BLOB)
    await create(registry, 1)


async def test_a_condemned_blob_is_forgotten_when_its_time_is_over(registry: Database) -> None:
    await registry.write(end_leases)
    await condemn(registry, BLOB[0])

    early = await registry.write(garbage.settle, digests=[BLOB[0]], trash_seconds=HOUR)
    assert early == ([], [BLOB[0]])
    over = await registry.write(garbage.settle, digests=[BLOB[0]], trash_seconds=0)
    assert over == ([BLOB[0]], [])
    assert await states(registry, BLOB[0]) == {}
    await record(registry, BLOB)
    await create(registry, 1)


async def test_a_blob_that_came_back_is_not_forgotten(registry: Database) -> None:
    await registry.write(end_leases)
    await condemn(registry, BLOB[0])
    await record(registry, BLOB)
    before = await registry.read(everything)
    assert await registry.write(garbage.settle, digests=[BLOB[0]], trash_seconds=0) == ([], [])
    assert await registry.read(everything) == before


async def test_a_condemned_blob_that_something_names_after_all_is_never_forgotten(registry: Database) -> None:
    """No rule makes such a row; should one ever, its bytes stay."""
    await create(registry, 1)
    await registry.write(lambda tx: tx.run(update(tables.blobs).values(condemn_time=1), {}))
    assert await registry.write(garbage.settle, digests=[BLOB[0]], trash_seconds=0) == ([], [BLOB[0]])


async def test_asking_for_a_blob_gives_it_a_lease(registry: Database) -> None:
    await registry.write(end_leases)
    wanted = {"namespace": "default", "digest": BLOB[0], "size_bytes": BLOB[1]}
    assert (await registry.read(blobs.admit, **wanted) or 0) < 0
    assert await registry.write(blobs.renew, **wanted)
    assert (await registry.read(blobs.admit, **wanted) or 0) > 23 * HOUR
    assert await condemn(registry, BLOB[0]) == []


async def test_pages_go_through_all_blobs_once(registry: Database) -> None:
    digests = sorted(f"sha256:{number:064x}" for number in range(2500))
    for begin in range(0, 2500, 500):
        await record(registry, *((digest, 1) for digest in digests[begin : begin + 500]))
    await registry.write(end_leases)
    seen: list[str] = []
    after, examined = "", 0
    while True:
        found, after, count = await registry.read(garbage.examine, after_digest=after, grace_seconds=0)
        if not count:
            break
        seen += [blob.digest for blob in found]
        examined += count
    assert seen == sorted([*digests, BLOB[0]])
    assert examined == 2501 == await registry.read(garbage.count)


async def test_versions_and_condemnations_at_once_leave_no_version_without_its_blob(
    registry: Database,
) -> None:
    """On PostgreSQL these are transactions at the same time; locks decide between them."""
    for name in ("a", "b", "c"):
        await registry.write(models.create, act(), name=f"default/{name}", draft=models.Draft())
    for round_ in range(25):
        await record(registry, BLOB)
        await registry.write(end_leases)
        condemning = [condemn(registry, BLOB[0]) for _ in range(3)]
        creating = [
            registry.write(
                versions.create,
                act(),
                model=f"default/{name}",
                built=build(round_),
                draft=versions.Draft(),
            )
            for name in ("a", "b", "c")
        ]
        finding = registry.write(blobs.find_missing, namespace="default", wanted=[BLOB], sizes_bytes=[])
        ended = await asyncio.gather(*condemning, *creating, finding, return_exceptions=True)

        condemned = any(ended[:3])
        created = [result for result in ended[3:6] if not isinstance(result, BaseException)]
        assert all(isinstance(each, versions.Outcome | errors.BlobMissing) for each in ended[3:6]), ended
        assert not isinstance(ended[6], BaseException)
        promised = not ended[6].digests
        assert not (condemned and (created or promised)), (round_, ended)
        await registry.write(end_versions)


async def test_uploads_and_condemnations_at_once_leave_what_was_uploaded(registry: Database) -> None:
    for _ in range(25):
        await registry.write(end_leases)
        await asyncio.gather(
            *(condemn(registry, BLOB[0]) for _ in range(3)),
            *(record(registry, BLOB, OTHER) for _ in range(3)),
        )
        assert await states(registry, BLOB[0], OTHER[0]) == {BLOB[0]: False, OTHER[0]: False}
        assert await holders(registry, BLOB[0]) == 1


async def test_a_collection_is_one_event_with_what_it_did(registry: Database) -> None:
    outcome = garbage.Outcome(3, 30, 2, 20, 1, "sha256:" + "0" * 64)
    sequence = await registry.write(garbage.report, act("ada", reason="room"), outcome=outcome)
    row = (await registry.read(rows, tables.events))[-1]
    event: dict[str, Any] = json.loads(row[2])

    assert (row[0], event["action"], event["actor"]["id"]) == (sequence, "garbage.collect", "ada")
    (change,) = event["changes"]
    assert change["resource"] == f"garbage/{change['uid']}"
    assert change["after"] == {
        "condemned_blobs": "3",
        "condemned_bytes": "30",
        "freed_blobs": "2",
        "freed_bytes": "20",
        "stray_files": "1",
        "list_digest": outcome.list_digest,
    }


async def test_every_column_that_could_refer_to_a_blob_is_looked_at(registry: Database) -> None:
    """A new kind of reference must be added to REFERRERS, or stand here with the reason why not."""
    known = {
        "blobs.digest",  # the blob itself
        "holdings.digest",  # leases, which are looked at by themselves
        "manifests.digest", "versions.digest", "tombstones.digest",  # of manifests, which are rows
        "requests.digest", "tokens.digest",  # of requests, and of secrets
        "datasets.digest", "parents.digest",  # of what is elsewhere, and of manifests
    }  # fmt: skip
    columns = {
        f"{table.name}.{column.name}"
        for table in tables.Base.metadata.sorted_tables
        for column in table.columns
        if "digest" in column.name
    }
    assert columns - known == {str(each.digest) for each in blobs.REFERRERS}


async def test_verification_takes_what_was_verified_longest_ago(registry: Database) -> None:
    await record(registry, OTHER)
    everything_due = {"before_time": 2**63 - 1}
    assert await registry.read(blobs.due_total, **everything_due) == (2, 10)
    assert await registry.read(blobs.due, after_digest="", before_time=0) == []
    created = (await registry.read(rows, tables.blobs))[0][2]
    await registry.write(blobs.mark_verified, digests=[BLOB[0]])
    due = await registry.read(blobs.due, after_digest="", before_time=created + 1)
    assert BLOB[0] not in {blob.digest for blob in due}
    assert [
        blob.digest for blob in await registry.read(blobs.due, after_digest="", **everything_due)
    ] == sorted([BLOB[0], OTHER[0]])
    await registry.write(end_leases)
    await condemn(registry, OTHER[0])
    assert await registry.read(blobs.due_total, **everything_due) == (1, 7)
