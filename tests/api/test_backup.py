"""Backup over the wire: under load, joined, refused, and what a restored server says to old cursors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from steelyard_server.backups import check, inventory
from steelyard_server.backups import write as writing
from tests.api.calls import Refused, call
from tests.api.uploads import digest_of, put
from tests.contracts.backups import names, restore, silent
from tests.servers import Running, running_server

DATA = b"weights of a model"
WAIT_SECONDS = 20


@pytest_asyncio.fixture
async def backed(tmp_path: Path) -> AsyncIterator[Running]:
    """Run a server that makes backups, with a version in it."""
    (tmp_path / "backups").mkdir()
    async with running_server(tmp_path / "data", backup_dir=str(tmp_path / "backups")) as started:
        await put(started.channel, DATA)
        await call(started.channel, "CreateModel", {"name": "default/fraud"})
        await create(started, 0)
        yield started


async def create(running: Running, seed: int) -> Any:
    file = {"path": "model.bin", "digest": digest_of(DATA), "sizeBytes": len(DATA)}
    content = {"files": [file], "parameters": [{"name": "seed", "integer": seed}]}
    return await call(running.channel, "CreateVersion", {"model": "default/fraud", "content": content})


async def back_up(running: Running, name: str = "") -> Any:
    """Make a backup and return its last response."""
    answers = await call(running.channel, "Backup", {"name": name})
    assert [answer.done for answer in answers] == [False] * (len(answers) - 1) + [True]
    return answers[-1]


async def test_a_backup_under_load_is_restored_and_old_cursors_are_refused(
    backed: Running, tmp_path: Path
) -> None:
    async def write_on() -> None:
        for seed in range(1, 10_000):
            await create(backed, seed)

    load = asyncio.create_task(write_on())
    while (await call(backed.channel, "GetServerInfo")).sequence < 20:
        await asyncio.sleep(0)
    made = await back_up(backed, "monday")
    load.cancel()
    with suppress(asyncio.CancelledError):
        await load
    last = await call(backed.channel, "GetServerInfo")
    query = {"model": "default/fraud", "pageSize": 2}
    page = await call(backed.channel, "ListVersions", query)
    await backed.server.stop(grace_seconds=0)
    assert last.sequence > made.sequence >= 20

    done = await restore(tmp_path / "backups" / "monday", tmp_path / "restored", verify=True)

    assert done.inventory.registry_digest == made.registry_digest
    async with running_server(tmp_path / "restored") as restored:
        info = await call(restored.channel, "GetServerInfo")
        assert (info.sequence, info.epoch) == (made.sequence + 1, done.epoch)
        assert (info.registry_uid, info.epoch != last.epoch) == (last.registry_uid, True)
        with pytest.raises(Refused) as refused:
            await call(restored.channel, "ListVersions", {**query, "pageToken": page.next_page_token})
        assert (refused.value.code, refused.value.reason) == ("FAILED_PRECONDITION", "HISTORY_REPLACED")
        assert dict(refused.value.info.metadata) == {"epoch": done.epoch}
        numbers = [each.number async for each in every_version(restored)]
        # One event each, besides those of the namespace and the model.
        assert numbers == list(range(1, made.sequence - 1))
        reference = {"model": "default/fraud", "number": "1"}
        read = await call(restored.channel, "ReadFile", {"version": reference, "path": "model.bin"})
        assert b"".join(part.data for part in read) == DATA


async def every_version(running: Running) -> AsyncIterator[Any]:
    token = ""
    while True:
        query = {"model": "default/fraud", "pageSize": 100, "pageToken": token}
        page = await call(running.channel, "ListVersions", query)
        for version in page.versions:
            yield version
        if not (token := page.next_page_token):
            return


async def test_the_last_response_says_what_is_in_the_backup(backed: Running, tmp_path: Path) -> None:
    made = await back_up(backed, "monday")

    found = check.check(tmp_path / "backups" / "monday", report=silent).inventory
    assert (made.name, made.sequence, made.registry_digest) == (
        "monday",
        found.sequence,
        found.registry_digest,
    )
    assert made.rows_count == sum(table.rows for table in found.tables)
    assert (made.blobs_count, made.total_blobs_count) == (1, 1)
    assert (made.blob_bytes, made.total_blob_bytes) == (len(DATA), len(DATA))
    assert (list(made.problems), made.problems_count) == ([], 0)


async def test_a_server_chooses_names_in_the_order_of_time(backed: Running, tmp_path: Path) -> None:
    made = [(await back_up(backed)).name for _ in range(3)]

    assert made == sorted(made)
    assert names(tmp_path / "backups") == set(made)


async def test_damaged_bytes_are_named_with_the_versions_that_need_them(
    backed: Running, tmp_path: Path
) -> None:
    digits = digest_of(DATA).removeprefix("sha256:")
    (tmp_path / "data" / "blobs" / "sha256" / digits[:2] / digits[2:4] / digits).unlink()

    made = await back_up(backed, "monday")

    (problem,) = made.problems
    assert (problem.digest, problem.size_bytes, problem.kind) == (digest_of(DATA), len(DATA), 2)
    assert (list(problem.versions), problem.versions_count) == (["default/fraud:1"], 1)
    assert (made.done, made.problems_count, made.blobs_count) == (True, 1, 0)


async def test_a_backup_goes_on_without_its_caller_and_can_be_joined(
    backed: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    copied: list[str] = []
    publish = writing._publish

    def held(draft: Any, made: Any) -> None:
        copied.append(made.registry_digest)
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(WAIT_SECONDS)
        publish(draft, made)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(writing, "_publish", held)
    first = asyncio.create_task(back_up(backed, "monday"))
    await begun.wait()
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    with pytest.raises(Refused) as refused:
        await back_up(backed, "tuesday")
    assert (refused.value.code, refused.value.reason) == ("FAILED_PRECONDITION", "MAINTENANCE_RUNNING")
    assert dict(refused.value.info.metadata) == {"kind": "backup"}
    second = asyncio.create_task(back_up(backed, "monday"))
    await asyncio.sleep(0)
    go_on.set()

    assert (await second).registry_digest in copied
    assert names(tmp_path / "backups") == {"monday"}
    assert len(copied) == 1


async def test_a_server_that_stops_ends_its_backup_and_leaves_nothing(
    backed: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    write_table = writing.write_table

    def slow(*args: Any, **kwargs: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        kwargs["stop"].wait(WAIT_SECONDS)
        return write_table(*args, **kwargs)

    monkeypatch.setattr(writing, "write_table", slow)
    backup = asyncio.create_task(back_up(backed, "monday"))
    await begun.wait()
    await backed.server.stop()

    with pytest.raises(Refused) as refused:
        await backup
    assert (refused.value.code, refused.value.reason) == ("UNAVAILABLE", "DRAINING")
    assert names(tmp_path / "backups") == set()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("..", "INVALID_NAME"),
        ("../up", "INVALID_NAME"),
        (".hidden", "INVALID_NAME"),
        ("a/b", "INVALID_NAME"),
        ("Monday", "INVALID_NAME"),
        ("con", "RESERVED_NAME"),
        ("a" * 129, "TOO_LONG"),
        ("a\0", "INVALID_NAME"),
    ],
)
async def test_a_name_that_is_none_is_refused(
    backed: Running, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(Refused) as refused:
        await back_up(backed, name)
    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", reason)
    assert refused.value.fields == ["name"]
    assert names(tmp_path / "backups") == set()


async def test_a_name_that_is_taken_is_refused_and_is_no_failure_in_the_log(
    backed: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = await back_up(backed, "monday")
    with pytest.raises(Refused) as refused:
        await back_up(backed, "monday")
    assert [each.getMessage() for each in caplog.records if each.exc_info] == []
    (said,) = (each.getMessage() for each in caplog.records if each.name.endswith("maintenance.runs"))
    assert ("backup" in said, "monday" in said, "BACKUP_ALREADY_EXISTS" in said) == (True, True, True)
    assert (refused.value.code, refused.value.reason) == ("ALREADY_EXISTS", "BACKUP_ALREADY_EXISTS")
    assert dict(refused.value.info.metadata) == {"name": "monday"}
    assert inventory.read(tmp_path / "backups" / "monday").registry_digest == made.registry_digest


@pytest.mark.parametrize("directory", ["", "nowhere"])
async def test_a_server_without_a_directory_for_backups_says_so(tmp_path: Path, directory: str) -> None:
    settings = {"backup_dir": str(tmp_path / directory)} if directory else {}
    async with running_server(tmp_path / "data", **settings) as started:
        with pytest.raises(Refused) as refused:
            await back_up(started)
    assert (refused.value.code, refused.value.reason) == ("FAILED_PRECONDITION", "BACKUP_NOT_CONFIGURED")


async def test_a_directory_that_cannot_be_written_is_told_without_its_path(
    backed: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(writing.disk, "sync", denied)
    with pytest.raises(Refused) as refused:
        await back_up(backed, "monday")
    assert (refused.value.code, refused.value.reason) == ("UNAVAILABLE", "STORAGE_UNAVAILABLE")
    assert "EACCES" in refused.value.message
    assert str(tmp_path) not in refused.value.message
