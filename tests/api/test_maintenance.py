"""Collections and usage over the wire: what goes, what stays, and how a run is followed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from steelyard.v1 import maintenance_service_pb2 as pb
from steelyard_server.blobs.local import LocalStore
from steelyard_server.db import tables
from steelyard_server.maintenance.storage import NICENESS
from tests.api.calls import Refused, call, call_raw
from tests.api.uploads import SECONDS, UploadStream, digest_of, held_bytes, put
from tests.contracts.ends import end_versions
from tests.contracts.registry import end_leases, rows
from tests.servers import Running, running_server

AT_ONCE = {"graceSeconds": "0", "trashSeconds": "0"}
MIB = 1 << 20


async def collect(running: Running, **fields: Any) -> pb.CollectGarbageResponse:
    """Run a collection and return its last response."""
    answers = await call(running.channel, "CollectGarbage", AT_ONCE | fields)
    assert [answer.done for answer in answers] == [False] * (len(answers) - 1) + [True]
    last: pb.CollectGarbageResponse = answers[-1]
    return last


async def version(running: Running, *contents: bytes, model: str = "default/fraud") -> None:
    """Upload files and make a version of them."""
    for data in contents:
        await put(running.channel, data)
    await create(running, *contents, model=model)


async def create(running: Running, *contents: bytes, model: str = "default/fraud") -> None:
    """Make a version of files that were uploaded."""
    files = [
        {"path": f"{index}", "digest": digest_of(data), "size_bytes": len(data)}
        for index, data in enumerate(contents)
    ]
    await call(running.channel, "CreateVersion", {"model": model, "content": {"files": files}})


async def expire(running: Running) -> None:
    await running.server.database.write(end_leases)


async def events(running: Running) -> list[dict[str, Any]]:
    found = await running.server.database.read(rows, tables.events)
    return [json.loads(row[2]) for row in found]


async def read(running: Running, number: int, path: str) -> bytes:
    reference = {"model": "default/fraud", "number": number}
    messages = await call(running.channel, "ReadFile", {"version": reference, "path": path})
    return b"".join(message.data for message in messages)


def files(running: Running, folder: str) -> list[str]:
    root = running.server.config.data_dir / "blobs" / folder
    return sorted(path.name for path in root.rglob("*") if path.is_file())


@pytest.fixture
async def two(running: Running) -> Running:
    """Make two versions with a file in common."""
    await call(running.channel, "CreateModel", {"name": "default/fraud"})
    await version(running, b"common", b"first")
    await version(running, b"common", b"second")
    await expire(running)
    return running


async def test_after_a_collection_bytes_of_what_was_deleted_are_gone_and_the_rest_verifies(
    two: Running,
) -> None:
    await two.server.database.write(end_versions, number=1)
    answer = await collect(two)

    assert (answer.condemned_blobs_count, answer.condemned_bytes) == (1, len(b"first"))
    assert (answer.freed_blobs_count, answer.freed_bytes) == (1, len(b"first"))
    assert (answer.blobs_count, answer.examined_blobs_count, answer.stray_files_count) == (3, 3, 0)
    kept = sorted(digest_of(data).removeprefix("sha256:") for data in (b"common", b"second"))
    assert (files(two, "sha256"), files(two, "trash")) == (kept, [])
    assert await read(two, 2, "0") + await read(two, 2, "1") == b"commonsecond"
    assert (await call(two.channel, "VerifyStorage"))[-1].problems_count == 0


async def test_an_unnamed_upload_stays_under_its_lease_and_goes_after_it(running: Running) -> None:
    await put(running.channel, b"upload")
    assert (await collect(running)).condemned_blobs_count == 0
    assert await held_bytes(running.channel, digest_of(b"upload"), 6) is None
    await expire(running)
    assert (await collect(running)).freed_bytes == 6
    assert await held_bytes(running.channel, digest_of(b"upload"), 6) == 0


@pytest.mark.parametrize("data", [b"small", b"l" * MIB], ids=["small", "large"])
async def test_a_blob_is_stored_only_when_no_collection_is_at_its_files(
    running: Running, data: bytes
) -> None:
    claims = running.server._maintenance.storage.claims
    with claims.claim([digest_of(data)]):
        uploading = asyncio.create_task(send_whole(running, data))
        async with asyncio.timeout(SECONDS):
            while not claims._steps:
                await asyncio.sleep(0.005)
        assert (files(running, "sha256"), uploading.done()) == ([], False)
    await uploading
    assert files(running, "sha256") == [digest_of(data).removeprefix("sha256:")]


async def send_whole(running: Running, data: bytes) -> None:
    """Upload a blob in one message."""
    stream = UploadStream(running.channel)
    header = {"namespace": "default", "size_bytes": len(data), "digest": digest_of(data), "from_start": True}
    await stream.send(header=header, data=data, finish={})
    assert (await stream.accepted()).finished.digest == digest_of(data)
    await stream.half_close()


async def test_what_is_asked_for_gets_a_lease_before_it_is_called_present(two: Running) -> None:
    await two.server.database.write(end_versions)
    stream = UploadStream(two.channel)
    await stream.begin(size_bytes=6, digest=digest_of(b"common"))
    assert (await stream.answer()).already_present.digest == digest_of(b"common")
    await stream.half_close()
    await put(two.channel, b"first")
    await collect(two)
    await create(two, b"common", b"first")
    assert await read(two, 3, "0") + await read(two, 3, "1") == b"commonfirst"


async def test_a_collection_that_changes_something_is_one_event_by_its_caller(two: Running) -> None:
    await two.server.database.write(end_versions)
    before = len(await events(two))
    metadata = (("steelyard-actor", "grace"),)
    answers = await call(two.channel, "CollectGarbage", AT_ONCE | {"reason": "room"}, metadata=metadata)
    (event,) = (await events(two))[before:]

    assert event["action"] == "garbage.collect"
    assert event["actor"]["id"] == "grace"
    assert event["reason"].startswith("sha256:")
    assert answers[-1].sequence == int(event["sequence"])
    after = event["changes"][0]["after"]
    assert (after["condemned_blobs"], after["freed_blobs"], after["freed_bytes"]) == ("3", "3", "17")


async def test_a_collection_that_changes_nothing_makes_no_event(two: Running) -> None:
    before = len(await events(two))
    assert (await collect(two)).sequence == 0
    assert len(await events(two)) == before


async def test_a_dry_run_says_what_would_go_and_changes_nothing(two: Running) -> None:
    await two.server.database.write(end_versions, number=1)
    await collect(two, trashSeconds="3600")
    await two.server.database.write(end_versions)
    stray(two, b"stray")
    before = (len(await events(two)), files(two, "sha256"), files(two, "trash"))
    for times in ({}, {"trashSeconds": "3600"}, {"graceSeconds": "3600"}):
        await collect(two, dryRun=True, **times)
    rehearsed = await collect(two, dryRun=True)
    assert (len(await events(two)), files(two, "sha256"), files(two, "trash")) == before
    assert (rehearsed.condemned_blobs_count, rehearsed.freed_blobs_count, rehearsed.sequence) == (2, 4, 0)
    done = await collect(two)
    rehearsed.sequence = done.sequence
    assert rehearsed == done


def stray(running: Running, data: bytes) -> None:
    """Leave bytes as an upload does that is killed before it is recorded."""
    store = running.server.store
    assert isinstance(store, LocalStore)
    store.put({digest_of(data): data})


async def test_in_the_trash_bytes_wait_and_an_upload_brings_the_blob_back(two: Running) -> None:
    await two.server.database.write(end_versions)
    answer = await collect(two, trashSeconds="3600")
    assert (answer.condemned_blobs_count, answer.freed_blobs_count) == (3, 0)
    assert (files(two, "sha256"), len(files(two, "trash"))) == ([], 3)
    usage = await call(two.channel, "GetStorageUsage")
    assert (usage.stored_bytes, usage.trash_bytes) == (0, 17)

    await version(two, b"common")
    assert await read(two, 3, "0") == b"common"
    answer = await collect(two, trashSeconds="3600")
    assert (answer.condemned_blobs_count, answer.freed_blobs_count, answer.freed_bytes) == (0, 0, 6)
    assert len(files(two, "trash")) == 2
    assert (await collect(two)).freed_blobs_count == 2
    assert await read(two, 3, "0") == b"common"


async def test_strays_go_once_they_are_older_than_the_grace(running: Running) -> None:
    stray(running, b"stray")
    (running.server.config.data_dir / "blobs" / "sha256" / "mine.txt").write_text("not a blob")
    assert (await collect(running, graceSeconds="3600")).stray_files_count == 0
    answer = await collect(running, trashSeconds="3600")
    assert (answer.stray_files_count, answer.freed_blobs_count) == (1, 0)
    assert len(files(running, "trash")) == 1
    answer = await collect(running)
    assert (answer.freed_blobs_count, answer.freed_bytes) == (1, 5)
    assert answer.sequence > 0
    assert (files(running, "sha256"), files(running, "trash")) == (["mine.txt"], [])


async def test_the_settings_of_the_server_hold_unless_a_call_says_otherwise(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data", gc_grace=0.0, gc_trash=3600.0) as running:
        await put(running.channel, b"upload")
        await expire(running)
        answers = await call(running.channel, "CollectGarbage", {})
        assert (answers[-1].condemned_blobs_count, answers[-1].freed_blobs_count) == (1, 0)
        answers = await call(running.channel, "CollectGarbage", {"trashSeconds": "0"})
        assert answers[-1].freed_blobs_count == 1


@contextmanager
def held_up(running: Running) -> Iterator[asyncio.Event]:
    """Have runs wait for their threads until the event is set, or the block ends."""
    gate = threading.Event()
    threads = running.server._maintenance.storage.threads
    for _ in range(2):
        threads.submit(gate.wait, SECONDS)
    released: Any = gate
    try:
        yield released
    finally:
        gate.set()


def begin(running: Running, rpc: str, **fields: Any) -> Any:
    """Begin a call and return its stream of answers."""
    kind = {"CollectGarbage": pb.CollectGarbageRequest, "VerifyStorage": pb.VerifyStorageRequest}[rpc]
    raw: Any = running.channel
    method = raw.unary_stream(f"/steelyard.v1.MaintenanceService/{rpc}")
    return method(kind(**fields).SerializeToString(), timeout=SECONDS)


async def begun(running: Running, runs: str) -> None:
    """Wait until a run goes on."""
    async with asyncio.timeout(SECONDS):
        while (run := getattr(running.server._maintenance, runs)._run) is None or run.over:
            await asyncio.sleep(0.005)


async def test_a_second_call_joins_and_one_with_other_options_is_refused(running: Running) -> None:
    await put(running.channel, b"upload")
    with held_up(running) as release:
        first = begin(running, "VerifyStorage")
        await begun(running, "verifications")
        second = begin(running, "VerifyStorage")
        with pytest.raises(Refused, match="MAINTENANCE_RUNNING") as refused:
            await call(running.channel, "VerifyStorage", {"bytesPerSecond": "5"})
        assert refused.value.code == "FAILED_PRECONDITION"
        assert refused.value.info.metadata["kind"] == "verification"
        release.set()
        answers = [
            [pb.VerifyStorageResponse.FromString(each) async for each in stream] for stream in (first, second)
        ]
    assert answers[0][-1] == answers[1][-1]
    assert answers[0][-1].verified_blobs_count == 1


async def test_a_run_goes_on_when_its_stream_drops(running: Running) -> None:
    await put(running.channel, b"upload")
    await expire(running)
    with held_up(running) as release:
        stream = begin(running, "CollectGarbage", grace_seconds=0, trash_seconds=0)
        await begun(running, "collections")
        stream.cancel()
        release.set()
        run = running.server._maintenance.collections._run
        assert run is not None
        await run.wait(SECONDS)
    assert (run.error, run.progress.freed_blobs) == (None, 1)
    assert await held_bytes(running.channel, digest_of(b"upload"), 6) == 0


async def test_a_server_that_stops_ends_a_run_between_two_steps_and_says_so(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data") as running:
        for _ in range(2):
            await put(running.channel, os.urandom(1000))
        stream = begin(running, "VerifyStorage", bytes_per_second=1)
        await begun(running, "verifications")
        stopping = asyncio.create_task(running.server.stop(grace_seconds=SECONDS))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            async for _ in stream:
                pass
        assert Refused(ended.value).reason == "DRAINING"
        async with asyncio.timeout(SECONDS):
            await stopping


BAD = [
    ("CollectGarbage", {"graceSeconds": "-1"}, "OUT_OF_BOUNDS", "grace_seconds"),
    ("CollectGarbage", {"trashSeconds": "-1"}, "OUT_OF_BOUNDS", "trash_seconds"),
    ("CollectGarbage", {"graceSeconds": "3153600001"}, "OUT_OF_BOUNDS", "grace_seconds"),
    ("CollectGarbage", {"trashSeconds": "9223372036854775807"}, "OUT_OF_BOUNDS", "trash_seconds"),
    ("CollectGarbage", {"reason": "x" * 5000}, "TOO_LONG", "reason"),
    ("CollectGarbage", {"reason": "\0"}, "CONTROL_CHARACTERS", "reason"),
    ("VerifyStorage", {"bytesPerSecond": "-1"}, "OUT_OF_BOUNDS", "bytes_per_second"),
    ("GetStorageUsage", {"namespace": "A B"}, "INVALID_NAME", "namespace"),
]


@pytest.mark.parametrize(("rpc", "fields", "reason", "field"), BAD)
async def test_bad_input_is_refused_and_begins_nothing(
    running: Running, rpc: str, fields: dict[str, Any], reason: str, field: str
) -> None:
    with pytest.raises(Refused) as refused:
        await call(running.channel, rpc, fields)
    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", reason)
    assert refused.value.fields == [field]
    maintenance = running.server._maintenance
    assert maintenance.collections._run is maintenance.verifications._run is None


async def test_a_time_that_is_none_is_refused(running: Running) -> None:
    request = pb.VerifyStorageRequest()
    request.verified_before_time.seconds = 2**60
    with pytest.raises(Refused, match="TIMESTAMP_INVALID"):
        await call_raw(running.channel, "VerifyStorage", request.SerializeToString())


async def test_usage_is_told_by_namespace_and_by_model(two: Running) -> None:
    await call(two.channel, "CreateNamespace", {"name": "risk"})
    await put(two.channel, b"common", namespace="risk")
    answer = await call(two.channel, "GetStorageUsage")
    assert [(each.name, each.versions_count, each.blobs_count) for each in answer.usages] == [
        ("default", 2, 3),
        ("risk", 0, 1),
    ]
    assert [(each.size_bytes, each.unique_bytes) for each in answer.usages] == [(17, 11), (6, 0)]
    assert (answer.stored_bytes, answer.stored_blobs_count, answer.trash_bytes) == (17, 3, 0)
    assert answer.free_bytes > 0
    assert answer.sequence == len(await events(two))

    answer = await call(two.channel, "GetStorageUsage", {"namespace": "default"})
    assert [(each.name, each.size_bytes, each.unique_bytes) for each in answer.usages] == [
        ("default/fraud", 17, 17)
    ]
    with pytest.raises(Refused, match="NAMESPACE_NOT_FOUND"):
        await call(two.channel, "GetStorageUsage", {"namespace": "none-such"})


async def test_runs_begin_by_themselves_when_the_server_is_told_to(tmp_path: Path) -> None:
    settings = {"collect_every": 0.02, "gc_grace": 0.0, "gc_trash": 0.0}
    async with running_server(tmp_path / "data", **settings) as running:
        await put(running.channel, b"upload")
        await expire(running)
        async with asyncio.timeout(SECONDS):
            while files(running, "sha256"):
                await asyncio.sleep(0.005)
        assert (await events(running))[-1]["actor"]["id"] == "steelyard"


async def test_a_scheduled_verification_finds_damage_nobody_asked_about(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data", scrub_every=0.2) as running:
        await put(running.channel, b"upload")
        (path,) = (tmp_path / "data" / "blobs" / "sha256").rglob(digest_of(b"upload").removeprefix("sha256:"))
        path.write_bytes(b"uplaod")
        async with asyncio.timeout(SECONDS):
            while not running.server.store.is_damaged(digest_of(b"upload")):
                await asyncio.sleep(0.005)


async def test_threads_of_maintenance_give_way_to_those_that_serve(running: Running) -> None:
    await put(running.channel, b"weights")
    await collect(running)
    niceness = {
        thread.name.partition("_")[0]: os.getpriority(os.PRIO_PROCESS, thread.native_id)
        for thread in threading.enumerate()
        if thread.native_id
    }
    # Elsewhere than on Linux threads of a process share one number; nothing is nicer than 19.
    more = NICENESS if sys.platform == "linux" else 0
    assert niceness["maintenance"] == min(niceness["MainThread"] + more, 19)
    assert niceness["bytes"] == niceness["MainThread"]
