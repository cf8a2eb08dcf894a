"""A backup comes back whole or not at all, on either database, and everybody can tell that it did."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from sqlalchemy import insert

from steelyard_server import errors, server
from steelyard_server.backups import inventory, restore, target
from steelyard_server.backups.inventory import BackupDamaged, NotABackup
from steelyard_server.backups.target import TargetNotEmpty
from steelyard_server.config import Config
from steelyard_server.core import models
from steelyard_server.core.models import Draft
from steelyard_server.db import tables
from steelyard_server.db.build import DatabaseNotEmpty
from steelyard_server.db.database import open_database
from steelyard_server.directory import DirectoryInUse, DirectoryLock, RestoreUnfinished
from tests.contracts import backups
from tests.contracts.backups import BYTES, DIGESTS, Registry, fill, names, running, store_bytes
from tests.contracts.registry import act, build, everything
from tests.contracts.stored import require_equal
from tests.contracts.test_backups import blob_path, flip
from tests.databases import Cluster

OLD = Path(__file__).parent / "testdata" / "backup-0001"


@pytest.fixture
async def original(location: Any, tmp_path: Path) -> AsyncIterator[Registry]:
    """Run a registry that has a backup called `monday`."""
    async with running(location, tmp_path / "data", backups=tmp_path / "backups") as started:
        await fill(started)
        await started.back_up("monday")
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """Name where to restore: nothing for SQLite, or a new PostgreSQL database without a table."""
    if request.param == "sqlite":
        return ""
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.create_empty()


def is_empty(directory: Path, database: str) -> bool:
    """Say whether there is nothing in a target."""
    if names(directory):
        return False
    if not database:
        return True
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
        )
        return found.fetchone() == (0,)


async def test_a_restored_registry_is_the_one_that_was_backed_up(
    original: Registry, database: str, tmp_path: Path
) -> None:
    before = await original.everything()
    data_dir = tmp_path / "restored"

    done = await backups.restore(original.backups / "monday", data_dir, database=database, verify=True)

    assert names(data_dir) == ({"blobs"} if database else {"blobs", "registry.db"})
    location = database or data_dir / "registry.db"
    async with running(location, data_dir, backups=tmp_path / "new") as restored:
        after = await restored.everything()
        await restored.database.read(require_equal)
        # What is needed is there, and stays; what was condemned has no bytes to free.
        collected = await restored.collect()
        assert (collected.condemned_blobs, collected.freed_blobs, collected.freed_bytes) == (0, 1, 0)
        for digest, data in zip(DIGESTS, BYTES, strict=True):
            with restored.store.open(digest, size_bytes=len(data)) as reader:
                assert reader.read(0, len(data)) == data
    (head,) = before.pop("registry")
    assert after.pop("registry") == [(1, head[1], done.epoch, head[3] + 1, after["events"][-1][1], head[5])]
    assert done.epoch != head[2]
    event = orjson.loads(after["events"].pop()[2])
    assert after.pop("event_texts")[-1][:2] == (done.sequence, "reason")
    before.pop("event_texts")
    after["event_resources"].remove((f"epoch/{done.epoch}", done.sequence))
    assert after == before
    assert (event["action"], event["sequence"]) == ("registry.restore", str(done.sequence))
    assert event["changes"][0]["uid"] == done.epoch
    assert event["changes"][0]["after"] == {
        "backup_sequence": str(head[3]),
        "registry_digest": done.inventory.registry_digest,
    }


async def test_both_databases_have_the_same_digest_of_the_same_registry(
    original: Registry, cluster: Cluster, tmp_path: Path
) -> None:
    """From one database into the other and back, each time backed up anew."""
    source = original.backups / "monday"
    url = cluster.create_empty()
    for data_dir, location in ((tmp_path / "one", url), (tmp_path / "two", tmp_path / "two" / "registry.db")):
        await backups.restore(source, data_dir, database=location if location == url else "")
        async with running(location, data_dir, backups=tmp_path / "backups") as restored:
            rows = await restored.everything()
            made = await restored.back_up(data_dir.name)
        source = tmp_path / "backups" / data_dir.name
    # Only the two restores are new.
    assert made.sequence == len(rows["events"])
    assert len(rows["events"]) == len((await original.everything())["events"]) + 2
    shared = [table.name for table in tables.Base.metadata.sorted_tables]
    grown = {"registry", "events", "event_resources", "event_texts"}
    shared = [name for name in shared if name not in grown]
    lines = [
        {table.name: table.digest for table in inventory.read(tmp_path / "backups" / name).tables}
        for name in ("monday", "one", "two")
    ]
    assert [{name: each[name] for name in shared} for each in lines] == [
        {name: lines[0][name] for name in shared}
    ] * 3


async def test_what_comes_after_a_restore_gets_new_keys(
    original: Registry, database: str, tmp_path: Path
) -> None:
    data_dir = tmp_path / "restored"
    await backups.restore(original.backups / "monday", data_dir, database=database)

    async with running(database or data_dir / "registry.db", data_dir, backups=tmp_path / "new") as restored:
        await restored.database.write(models.create, act(), name="risk/after", draft=Draft())
        await restored.database.read(require_equal)


async def test_a_restore_can_be_restored_again(original: Registry, tmp_path: Path) -> None:
    """The fold holds over two epochs."""
    first, second = tmp_path / "first", tmp_path / "second"
    await backups.restore(original.backups / "monday", first)
    async with running(first / "registry.db", first, backups=tmp_path / "new") as restored:
        made = await restored.back_up("again")
    done = await backups.restore(tmp_path / "new" / "again", second)

    async with running(second / "registry.db", second, backups=tmp_path / "new") as restored:
        await restored.database.read(require_equal)
        events = (await restored.everything())["events"]
    assert done.inventory.registry_digest == made.registry_digest
    assert [orjson.loads(row[2])["action"] for row in events[-2:]] == ["registry.restore"] * 2


@pytest.mark.parametrize("is_elsewhere", [False, True])
async def test_a_registry_whose_restore_was_broken_off_at_the_very_end_is_left_alone(
    original: Registry, cluster: Cluster, tmp_path: Path, *, is_elsewhere: bool
) -> None:
    """All was committed; only `restoring` was still there."""
    database = cluster.create_empty() if is_elsewhere else ""
    data_dir = tmp_path / "restored"
    await backups.restore(original.backups / "monday", data_dir, database=database)
    (data_dir / "restoring").mkdir()
    if is_elsewhere:
        (data_dir / "restoring" / "uncommitted").touch()

    with pytest.raises(DatabaseNotEmpty if is_elsewhere else TargetNotEmpty):
        await backups.restore(original.backups / "monday", data_dir, database=database)

    assert len([path for path in (data_dir / "blobs" / "sha256").rglob("*") if path.is_file()]) >= len(BYTES)
    if not is_elsewhere:
        started = await server.start(Config(data_dir=data_dir, listen="127.0.0.1:0"))
        await started.stop(grace_seconds=0)
        assert "restoring" not in names(data_dir)


@pytest.mark.parametrize("left", ["registry.db", "blobs", "notes.txt"])
async def test_a_directory_with_anything_in_it_is_refused(
    original: Registry, tmp_path: Path, left: str
) -> None:
    data_dir = tmp_path / "restored"
    data_dir.mkdir()
    (data_dir / left).write_bytes(b"mine")

    with pytest.raises(TargetNotEmpty, match="into an empty --data-dir only"):
        await backups.restore(original.backups / "monday", data_dir)
    assert (data_dir / left).read_bytes() == b"mine"
    assert [path.name for path in data_dir.iterdir()] == [left]


async def test_a_live_registry_is_refused(original: Registry, tmp_path: Path) -> None:
    data_dir = tmp_path / "live"
    running_server = await server.start(Config(data_dir=data_dir, listen="127.0.0.1:0"))
    before = names(data_dir)
    with pytest.raises(DirectoryInUse):
        await backups.restore(original.backups / "monday", data_dir)
    assert names(data_dir) == before
    await running_server.stop(grace_seconds=0)
    with pytest.raises(TargetNotEmpty, match="has a registry"):
        await backups.restore(original.backups / "monday", data_dir)
    assert names(data_dir) >= {"registry.db", "blobs"}


class Overtaken(type(Path())):  # type: ignore[misc]
    """A directory that another process makes right after somebody saw that it is not there."""

    locks: list[DirectoryLock]

    def exists(self) -> bool:
        found: bool = super().exists()
        if not found:
            self.locks = [DirectoryLock(Path(self))]
            (Path(self) / "registry.db").touch()
        return found


def test_a_registry_that_begins_while_a_restore_does_is_left_alone(tmp_path: Path) -> None:
    data = Overtaken(tmp_path / "data")
    with pytest.raises(DirectoryInUse), target.empty(data, database=""):
        pass
    assert (tmp_path / "data" / "registry.db").exists()
    data.locks.pop().close()


async def test_a_database_that_has_a_server_or_tables_is_refused(
    original: Registry, cluster: Cluster, tmp_path: Path
) -> None:
    url = cluster.create_migrated()
    config = Config(data_dir=tmp_path / "live", listen="127.0.0.1:0", database=url)
    running_server = await server.start(config)
    data_dir = tmp_path / "restored"
    with pytest.raises(DirectoryInUse, match="on this database"):
        await backups.restore(original.backups / "monday", data_dir, database=url)
    await running_server.stop(grace_seconds=0)
    with pytest.raises(DatabaseNotEmpty):
        await backups.restore(original.backups / "monday", data_dir, database=url)
    assert not data_dir.exists()


async def test_a_server_cannot_start_while_a_restore_runs(
    original: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = tmp_path / "restored"
    refused = []

    def place(workspace: Path, name: str) -> None:
        with pytest.raises(DirectoryInUse) as caught:
            DirectoryLock(data_dir)
        refused.append(caught.value)
        target_place(workspace, name)

    target_place = target.put_in_place
    monkeypatch.setattr(target, "put_in_place", place)
    await backups.restore(original.backups / "monday", data_dir)
    assert len(refused) == 2


def forget_inventory(backup: Path) -> None:
    (backup / "registry.json").unlink()


def rewritten(backup: Path, **facts: Any) -> None:
    """Change an inventory as somebody would who knows how."""
    known = orjson.loads((backup / "registry.json").read_bytes()) | facts
    known["check"] = inventory._check(known)
    (backup / "registry.json").write_bytes(orjson.dumps(known))


def climb_out(backup: Path) -> None:
    known = orjson.loads((backup / "registry.json").read_bytes())
    known["tables"][0]["name"] = "../../outside"
    rewritten(backup, tables=known["tables"])


def unsettle(backup: Path) -> None:
    """Leave out the rows of a table that others refer to, with all digests right."""
    path = backup / "state" / "manifests.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    known = orjson.loads((backup / "registry.json").read_bytes())
    (entry,) = [each for each in known["tables"] if each["name"] == "manifests"]
    digest = backups.digest_of(path.read_bytes())
    entry |= {"rows": 0, "size_bytes": path.stat().st_size, "digest": digest}
    listed = tuple(inventory.TableFile(**each) for each in known["tables"])
    rewritten(backup, tables=known["tables"], registry_digest=inventory.registry_digest(listed))


@pytest.mark.parametrize(
    ("hurt", "error", "says"),
    [
        (forget_inventory, NotABackup, "no registry.json"),
        (lambda backup: flip(backup / "registry.json", at=9), BackupDamaged, "registry.json is damaged"),
        (lambda backup: rewritten(backup, format=2), NotABackup, "format 2"),
        (lambda backup: rewritten(backup, schema="9999"), NotABackup, "newer than this server knows"),
        (lambda backup: rewritten(backup, surprise=1), BackupDamaged, "is damaged"),
        (climb_out, BackupDamaged, "is damaged"),
        (lambda backup: flip(backup / "state" / "versions.jsonl"), BackupDamaged, "versions.jsonl is dam"),
        (lambda backup: (backup / "derived" / "files.jsonl").unlink(), BackupDamaged, "files.jsonl is dam"),
        (lambda backup: flip(blob_path(backup, DIGESTS[1])), BackupDamaged, DIGESTS[1]),
        (lambda backup: flip(blob_path(backup, DIGESTS[3]), at=5), BackupDamaged, DIGESTS[3]),
        (lambda backup: blob_path(backup, DIGESTS[3]).unlink(), BackupDamaged, "--allow-damage"),
        (unsettle, BackupDamaged, "is not consistent"),
    ],
)
async def test_what_is_no_sound_backup_is_refused_and_leaves_nothing(
    original: Registry, database: str, tmp_path: Path, hurt: Any, error: type[Exception], says: str
) -> None:
    hurt(original.backups / "monday")
    data_dir = tmp_path / "restored"

    with pytest.raises(error, match=says):
        await backups.restore(original.backups / "monday", data_dir, database=database)
    assert is_empty(data_dir, database)
    assert not data_dir.exists()


async def test_a_directory_that_was_there_stays_there_when_a_restore_fails(
    original: Registry, tmp_path: Path
) -> None:
    data_dir = tmp_path / "restored"
    data_dir.mkdir()
    flip(blob_path(original.backups / "monday", DIGESTS[1]))
    with pytest.raises(BackupDamaged):
        await backups.restore(original.backups / "monday", data_dir)
    assert data_dir.exists()
    assert names(data_dir) == set()


async def test_damaged_bytes_can_be_left_out_and_count_as_missing(original: Registry, tmp_path: Path) -> None:
    flip(blob_path(original.backups / "monday", DIGESTS[1]))
    blob_path(original.backups / "monday", DIGESTS[3]).unlink()
    data_dir = tmp_path / "restored"

    done = await backups.restore(original.backups / "monday", data_dir, allow_damage=True, verify=True)

    assert done.missing == tuple(sorted((DIGESTS[1], DIGESTS[3])))
    assert done.blobs == 2
    async with running(data_dir / "registry.db", data_dir, backups=tmp_path / "new") as restored:
        assert restored.store.is_damaged(DIGESTS[1])
        with pytest.raises(errors.BlobLost):
            restored.store.open(DIGESTS[1], size_bytes=len(BYTES[1]))
        # An upload of the same bytes mends it.
        store_bytes(restored.store)
        assert not restored.store.is_damaged(DIGESTS[1])
        with restored.store.open(DIGESTS[1], size_bytes=len(BYTES[1])) as reader:
            assert reader.read(0, 100) == BYTES[1]


async def test_what_was_missing_when_it_was_backed_up_does_not_keep_the_rest_from_coming_back(
    original: Registry, tmp_path: Path
) -> None:
    shutil.rmtree(original.backups / "monday")
    original.store.note_damage(DIGESTS[1])
    flip(tmp_path / "data" / "blobs" / "sha256" / DIGESTS[1][7:9] / DIGESTS[1][9:11] / DIGESTS[1][7:])
    await original.back_up("tuesday")

    done = await backups.restore(original.backups / "tuesday", tmp_path / "restored", verify=True)

    assert done.missing == (DIGESTS[1],)


async def test_bytes_that_are_wrong_once_they_are_written_are_found(
    original: Registry, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only --verify reads again what was written."""
    store_blobs = restore._store_blobs

    def spoiled(*args: Any, **kwargs: Any) -> Any:
        done = store_blobs(*args, **kwargs)
        (file,) = (kwargs["workspace"] / "blobs").rglob(DIGESTS[3].removeprefix("sha256:"))
        flip(file, at=2_000_000)
        return done

    monkeypatch.setattr(restore, "_store_blobs", spoiled)
    data_dir = tmp_path / "restored"
    with pytest.raises(errors.BlobCorrupt):
        await backups.restore(original.backups / "monday", data_dir, database=database, verify=True)
    assert is_empty(data_dir, database)


async def test_a_database_that_reads_otherwise_than_it_was_written_is_refused(
    original: Registry, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = restore.tables.load

    def forgetful(tx: Any, shape: Any, lines: Any) -> None:
        load(tx, shape, list(lines)[: -1 if shape.name == "metrics" else None])

    monkeypatch.setattr(restore.tables, "load", forgetful)
    data_dir = tmp_path / "restored"
    with pytest.raises(BackupDamaged, match="The table metrics reads otherwise"):
        await backups.restore(original.backups / "monday", data_dir, database=database)
    assert is_empty(data_dir, database)


async def test_a_version_whose_blob_is_not_recorded_is_refused(original: Registry, tmp_path: Path) -> None:
    stray = backups.digest_of(b"stray")
    (version, *_), *_ = (await original.everything())["versions"]
    row = {"version_id": version, "path": "stray", "digest": stray, "size_bytes": 5, "role": "other"}
    await original.database.write(lambda tx: tx.run(insert(tables.files), row | {"external_uri": None}))
    await original.back_up("tuesday")

    with pytest.raises(BackupDamaged, match=stray):
        await backups.restore(original.backups / "tuesday", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from steelyard_server.backups import restore, target
from tests.contracts.backups import RESTORE, silent
source, data_dir, database, place, count = sys.argv[1:]
left = [int(count)]
def die(function):
    def run(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return run
if place == "sync":
    target.disk.sync_directory = die(target.disk.sync_directory)
else:
    target.put_in_place = die(target.put_in_place)
options = restore.Options(Path(data_dir), database=database)
restore.restore(Path(source), options, RESTORE, report=silent)
"""


@pytest.mark.parametrize(
    ("place", "count"), [("sync", 0), ("sync", 3), ("sync", 7), ("place", 0), ("place", 1)]
)
async def test_a_restore_that_is_killed_is_run_again(
    database: str, tmp_path: Path, place: str, count: int
) -> None:
    data_dir = tmp_path / "restored"
    command = [sys.executable, "-c", KILLED, OLD, data_dir, database, place, str(count)]
    done = await asyncio.to_thread(subprocess.run, command, timeout=100, check=False, capture_output=True)
    if (place, count, bool(database)) == ("place", 1, True):
        # A database elsewhere has no second place to take.
        assert done.returncode == 0, done.stderr.decode()
        return
    assert done.returncode == -9, done.stderr.decode()
    assert is_empty(data_dir, database) or names(data_dir) <= {"restoring", "blobs"}
    if any((data_dir / "restoring").iterdir()):
        with pytest.raises(RestoreUnfinished, match="Run it again"):
            await server.start(Config(data_dir=data_dir, listen="127.0.0.1:0", database=database))

    again = await backups.restore(OLD, data_dir, database=database)

    opened = await open_database(database or data_dir / "registry.db")
    assert len((await opened.read(everything))["events"]) == again.sequence
    await opened.close()


async def test_a_backup_of_the_first_schema_is_migrated(database: str, tmp_path: Path) -> None:
    """The backup stands in the repository and never changes."""
    data_dir = tmp_path / "restored"
    done = await backups.restore(OLD, data_dir, database=database, verify=True)

    assert done.inventory.schema == "0001"
    async with running(database or data_dir / "registry.db", data_dir, backups=tmp_path / "new") as restored:
        rows = await restored.everything()
        await restored.database.read(require_equal)
        await restored.database.write(models.create, act(), name="default/after", draft=Draft())
    assert len(rows["versions"]) == 2
    # What is derived and was not there then is found in what was.
    assert len(rows["version_facts"]) == 2
    assert json.loads(rows["events"][-1][2])["action"] == "registry.restore"
    assert build(0).digest in {row[0] for row in rows["manifests"]}
