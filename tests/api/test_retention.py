"""Retention over the wire: a collection applies it first, and its rehearsal says exactly what would go."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from steelyard.v1 import maintenance_service_pb2 as pb
from steelyard_server.db import tables
from steelyard_server.db.database import Transaction
from tests.api.calls import Refused, call
from tests.api.uploads import digest_of, put
from tests.contracts.ends import add_model
from tests.contracts.registry import create, end_leases, everything, found, rows
from tests.servers import Running, running_server

AT_ONCE = {"graceSeconds": "0", "trashSeconds": "0"}
FRAUD = "default/fraud"
HOUR = 3_600_000_000


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """Run a server with a model of five versions; each has a file of its own and one in common."""
    async with running_server(tmp_path / "data") as started:
        await call(started.channel, "CreateModel", {"name": FRAUD})
        for seed in range(5):
            await version(started, b"common", b"%d" % seed)
        await started.server.database.write(end_leases)
        yield started


async def version(running: Running, *contents: bytes, model: str = FRAUD) -> None:
    for data in contents:
        await put(running.channel, data)
    files = [
        {"path": f"{digest_of(data)}", "digest": digest_of(data), "size_bytes": len(data)}
        for data in contents
    ]
    await call(running.channel, "CreateVersion", {"model": model, "content": {"files": files}})


async def rule(running: Running, **retention: int) -> Any:
    wish = {"namespace": {"name": "default", "retention": retention}, "update_mask": "retention"}
    return (await call(running.channel, "UpdateNamespace", wish)).namespace


async def collect(running: Running, **fields: Any) -> pb.CollectGarbageResponse:
    last: pb.CollectGarbageResponse = (await call(running.channel, "CollectGarbage", AT_ONCE | fields))[-1]
    assert last.done
    return last


async def numbers(running: Running, *, show_deleted: bool = False) -> list[int]:
    wish = {"model": FRAUD, "show_deleted": show_deleted}
    return [each.number for each in (await call(running.channel, "ListVersions", wish)).versions]


def an_hour_later(tx: Transaction) -> None:
    """Let all that is deleted have been so for an hour more."""
    for table in (tables.versions, tables.models):
        deleted = table.c.delete_time.isnot(None)
        tx.run(update(table).where(deleted).values(delete_time=table.c.delete_time - HOUR), {})


async def test_a_rule_is_set_shown_changed_and_lifted(running: Running) -> None:
    made = await rule(running, keep_versions_count=20, keep_seconds=7_776_000, purge_after_seconds=2_592_000)
    assert made.retention.keep_seconds == 7_776_000
    wish = {"namespace": {"name": "default", "retention": {}}, "update_mask": "retention.keepSeconds"}
    changed = (await call(running.channel, "UpdateNamespace", wish)).namespace.retention
    assert (changed.keep_versions_count, changed.keep_seconds, changed.purge_after_seconds) == (
        20,
        0,
        2_592_000,
    )
    assert not (await rule(running)).HasField("retention")
    created = await call(running.channel, "CreateNamespace", {"name": "x", "retention": {"keep_seconds": 1}})
    assert created.namespace.retention.keep_seconds == 1
    with pytest.raises(Refused) as refused:
        await rule(running, purge_after_seconds=-1)
    assert (refused.value.reason, refused.value.fields) == (
        "OUT_OF_BOUNDS",
        ["namespace.retention.purge_after_seconds"],
    )


async def test_a_collection_deletes_and_later_purges_and_frees(running: Running) -> None:
    database = running.server.database
    await call(running.channel, "SetAlias", {"version": {"model": FRAUD, "number": "1"}, "alias": "champion"})
    await rule(running, keep_versions_count=2, purge_after_seconds=3600)

    first = await collect(running, reason="monthly")
    assert (first.deleted_versions_count, first.purged_versions_count, first.condemned_blobs_count) == (
        2,
        0,
        0,
    )
    assert await numbers(running) == [1, 4, 5]
    event = json.loads((await database.read(rows, tables.events))[-1][2])
    assert event["action"] == "version.delete"
    assert event["actor"]["id"] == "anonymous"
    assert event["reason"], "The reason of the run is that of what it lets go."
    assert (await collect(running)).deleted_versions_count == 0
    await database.write(an_hour_later)

    before = await database.read(everything)
    rehearsed = await collect(running, dryRun=True)
    assert await database.read(everything) == before
    done = await collect(running)
    for field in (
        "purged_versions_count",
        "condemned_blobs_count",
        "condemned_bytes",
        "freed_blobs_count",
        "freed_bytes",
    ):
        assert getattr(rehearsed, field) == getattr(done, field), field
    assert (done.purged_versions_count, done.freed_blobs_count, done.freed_bytes) == (2, 2, 2)
    assert await numbers(running, show_deleted=True) == [1, 4, 5]
    with pytest.raises(Refused) as refused:
        await call(running.channel, "UndeleteVersion", {"version": {"model": FRAUD, "number": "2"}})
    assert "purged" in refused.value.message
    await version(running, b"new")
    assert await numbers(running) == [1, 4, 5, 6]


async def test_a_deleted_model_is_purged_whole_with_its_bytes(running: Running) -> None:
    await call(running.channel, "DeleteVersion", {"version": {"model": FRAUD, "number": "3"}})
    await call(running.channel, "DeleteModel", {"name": FRAUD})
    await rule(running, keep_versions_count=1, purge_after_seconds=3600)
    nothing = await collect(running)
    assert (nothing.deleted_versions_count, nothing.purged_versions_count, nothing.purged_models_count) == (
        0,
        0,
        0,
    )
    await running.server.database.write(an_hour_later)

    answers = [await collect(running, dryRun=True), await collect(running)]
    for answer in answers:
        assert (answer.purged_models_count, answer.purged_versions_count) == (1, 5)
        (expired,) = answer.expired
        assert (expired.model, expired.model_purged) == (FRAUD, True)
        assert (list(expired.deleted_numbers), list(expired.purged_numbers)) == ([], [1, 2, 3, 4, 5])
        assert (answer.condemned_blobs_count, answer.freed_blobs_count) == (6, 6)
    usage = (await call(running.channel, "GetNamespace", {"name": "default"})).namespace.usage
    assert (usage.size_bytes, usage.versions_count) == (0, 0)


async def test_a_rehearsal_keeps_blobs_that_something_else_names(running: Running) -> None:
    """The report of an evaluation of a version that stays, and a copy in a namespace without a rule."""
    await call(running.channel, "CreateNamespace", {"name": "other"})
    await call(running.channel, "CreateModel", {"name": "other/copy"})
    source = {"model": FRAUD, "number": "1"}
    await call(running.channel, "CopyVersion", {"source": source, "model": "other/copy"})
    report = {"path": "r", "digest": digest_of(b"1"), "size_bytes": 1}
    evaluation = {"metrics": [{"name": "f1", "value": 0.5}], "report": report}
    await call(
        running.channel,
        "RecordEvaluation",
        {"version": {"model": FRAUD, "number": "5"}, "evaluation": evaluation},
    )
    await rule(running, keep_versions_count=1, purge_after_seconds=3600)
    await collect(running)
    await running.server.database.write(an_hour_later)

    rehearsed, done = await collect(running, dryRun=True), await collect(running)
    assert rehearsed.purged_versions_count == done.purged_versions_count == 4
    assert list(rehearsed.expired) == list(done.expired)
    assert [list(each.purged_numbers) for each in done.expired] == [[1, 2, 3, 4]]
    assert rehearsed.freed_blobs_count == done.freed_blobs_count == 2


async def test_what_a_collection_does_not_name_it_counts(tmp_path: Path) -> None:
    """At most 100 versions of a model are named, and 100 models; of the others it is known how many."""
    async with running_server(tmp_path / "data") as running:
        database = running.server.database
        await found(database)
        for seed in range(121):
            await create(database, seed)
        for index in range(105):
            await add_model(database, name := f"default/m{index:03}")
            for seed in range(2):
                await create(database, seed, model=name)
        await rule(running, keep_versions_count=1, purge_after_seconds=3600)

        for went in ("deleted", "purged"):
            rehearsed, done = await collect(running, dryRun=True), await collect(running)
            assert list(rehearsed.expired) == list(done.expired)
            for answer in (rehearsed, done):
                assert getattr(answer, f"{went}_versions_count") == 120 + 105
                assert (answer.expired_models_count, len(answer.expired)) == (106, 100)
                first, second = answer.expired[:2]
                assert (first.model, second.model) == (FRAUD, "default/m000")
                assert list(getattr(first, f"{went}_numbers")) == list(range(1, 101))
                assert getattr(first, f"{went}_versions_count") == 120
                assert getattr(second, f"{went}_versions_count") == 1
            await database.write(an_hour_later)
