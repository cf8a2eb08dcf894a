"""A backup is one moment of the whole registry, on both databases, in a form that depends on neither."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from steelyard_server import errors
from steelyard_server.backups import blobs, check, inventory, place, tables, write
from steelyard_server.core import models
from steelyard_server.core.models import Draft
from steelyard_server.db.database import Transaction
from steelyard_server.db.tables import Base
from tests.contracts.backups import (
    BYTES,
    CONDEMNED,
    DIGESTS,
    HARD_DOUBLES,
    Registry,
    digest_of,
    fill,
    names,
    running,
    silent,
)
from tests.contracts.registry import act

ALL_BYTES = sum(map(len, BYTES))


@pytest.fixture
async def registry(location: Any, tmp_path: Path) -> AsyncIterator[Registry]:
    async with running(location, tmp_path / "data", backups=tmp_path / "backups") as started:
        await fill(started)
        yield started


def blob_path(backup: Path, digest: str) -> Path:
    digits = digest.removeprefix("sha256:")
    return backup / "blobs" / digits[:2] / digits


def stored_path(registry: Registry, digest: str) -> Path:
    digits = digest.removeprefix("sha256:")
    return registry.backups.parent / "data" / "blobs" / "sha256" / digits[:2] / digits[2:4] / digits


def flip(path: Path, *, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_every_table_is_state_or_derived_or_bookkeeping() -> None:
    listed = [table.name for each in tables.FOLDERS.values() for table in each]

    assert sorted(listed) == sorted(Base.metadata.tables), (
        "Put each new table into one list of backups/tables.py: STATE when its rows change by events only "
        "and the fold of the events gives them back; DERIVED when they can be found in registry state, as "
        "words of a search can; BOOKKEEPING when they change without an event, as leases do."
    )


async def test_a_backup_has_every_row_and_every_byte(registry: Registry) -> None:
    made = await registry.back_up("monday")

    backup = registry.backups / "monday"
    found = check.check(backup, report=silent)
    rows = await registry.everything()
    assert names(registry.backups) == {"monday"}
    assert {table.name: table.rows for table in found.inventory.tables} == {
        name: len(each) for name, each in rows.items()
    }
    assert made.rows == sum(map(len, rows.values()))
    assert (made.blobs, made.total_blobs) == (len(BYTES), len(BYTES))
    assert (made.blob_bytes, made.total_blob_bytes) == (ALL_BYTES, ALL_BYTES)
    assert [blob_path(backup, digest).read_bytes() for digest in DIGESTS] == list(BYTES)
    assert found.inventory.registry_digest == made.registry_digest
    assert (made.problems, found.damaged, found.inventory.problems) == ([], (), ())


def written(value: Any) -> Any:
    """Write a value as the format says, without the code of the server."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return repr(value).removesuffix(".0").replace("inf", "Infinity")
    return value


def digest_by_hand(tx: Transaction) -> str:
    """Compute the logical digest by reading all rows and sorting them here."""
    lines = []
    for table in tables.STATE:
        key = [list(table.columns).index(column) for column in table.primary_key]
        kinds = {int: "integer", str: "text", float: "double", bytes: "bytes"}
        columns = [[column.name, kinds[column.type.python_type]] for column in table.columns]
        header = {"table": table.name, "key": [table.columns[i].name for i in key], "columns": columns}
        rows = [list(row) for row in tx.all(select(table))]
        rows.sort(key=lambda row: [v.encode() if isinstance(v := row[i], str) else v for i in key])
        content = [header, *([written(value) for value in row] for row in rows)]
        text = "".join(json.dumps(each, separators=(",", ":"), ensure_ascii=False) + "\n" for each in content)
        lines.append(f"{hashlib.sha256(text.encode()).hexdigest()}  {table.name}.jsonl\n")
    lines.sort(key=lambda line: line.split("  ")[1])
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


async def test_the_logical_digest_is_that_of_a_plain_reading(registry: Registry) -> None:
    made = await registry.back_up()

    assert made.registry_digest == await registry.database.read(digest_by_hand)


async def test_the_logical_digest_can_be_computed_with_sha256sum(registry: Registry) -> None:
    made = await registry.back_up("monday")

    command = ["sh", "-euc", "cd state && LC_ALL=C sha256sum *.jsonl | sha256sum"]
    backup = registry.backups / "monday"
    done = await asyncio.to_thread(subprocess.run, command, cwd=backup, check=True, capture_output=True)
    printed = done.stdout.decode()
    assert f"sha256:{printed.split()[0]}" == made.registry_digest


async def test_the_digest_changes_with_every_event_and_with_nothing_else(registry: Registry) -> None:
    first = (await registry.back_up()).registry_digest
    again = (await registry.back_up()).registry_digest
    await registry.database.write(models.create, act(), name="risk/another", draft=Draft())
    changed = (await registry.back_up()).registry_digest

    assert first == again != changed


async def test_what_is_no_registry_state_is_in_the_backup_and_not_in_the_digest(registry: Registry) -> None:
    rows = await registry.everything()
    before = await registry.back_up("before")
    await registry.database.write(forget)
    after = await registry.back_up("after")

    assert [name for name, found in rows.items() if not found] == [], "Let `fill` make some of these."
    assert before.registry_digest == after.registry_digest
    kept = {table.name: table.rows for table in inventory.read(registry.backups / "before").tables}
    assert kept == {name: len(found) for name, found in rows.items()}
    left = {table.name for table in inventory.read(registry.backups / "after").tables if table.rows}
    assert left == {table.name for table in tables.STATE}


def forget(tx: Transaction) -> None:
    """Delete all that is no registry state."""
    for table in reversed(Base.metadata.sorted_tables):
        if table not in tables.STATE:
            tx.run(table.delete(), {})


async def test_what_is_condemned_is_listed_without_its_bytes(registry: Registry) -> None:
    made = await registry.back_up("monday")

    digest = digest_of(CONDEMNED)
    assert digest in {row[0] for row in (await registry.everything())["blobs"]}
    assert digest not in {blob.digest for blob in blobs.listed(registry.backups / "monday")}
    assert not blob_path(registry.backups / "monday", digest).exists()
    assert (made.blobs, made.problems) == (len(BYTES), [])


async def test_a_backup_is_one_moment_while_writes_go_on(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each table is written after another write was answered, which none of the later tables may have."""
    loop = asyncio.get_running_loop()
    numbers = iter(range(1000))
    write_table = write.write_table

    async def create() -> None:
        await registry.database.write(
            models.create, act(), name=f"risk/meanwhile {next(numbers)}", draft=Draft()
        )

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        asyncio.run_coroutine_threadsafe(create(), loop).result(20)
        return write_table(*args, **kwargs)

    expected = await registry.database.read(digest_by_hand)
    monkeypatch.setattr(write, "write_table", interrupted)
    made = await registry.back_up("monday")

    assert made.registry_digest == expected
    assert made.sequence == inventory.read(registry.backups / "monday").sequence
    assert await registry.database.read(digest_by_hand) != expected


async def test_a_second_backup_links_to_the_bytes_of_the_first(registry: Registry) -> None:
    await registry.back_up("first")
    second = await registry.back_up("second")

    paths = [(blob_path(registry.backups / name, DIGESTS[3])) for name in ("first", "second")]
    assert paths[0].stat().st_ino == paths[1].stat().st_ino
    assert second.blobs == len(BYTES)
    # What was cut since is copied anew.
    paths[1].unlink()
    paths[1].write_bytes(b"cut")
    await registry.back_up("third")
    assert blob_path(registry.backups / "third", DIGESTS[3]).read_bytes() == BYTES[3]


@pytest.mark.parametrize(("hurt", "kind"), [(flip, "damaged"), (Path.unlink, "missing")])
async def test_damage_is_named_and_the_backup_completes_without_it(
    registry: Registry, hurt: Any, kind: str
) -> None:
    hurt(stored_path(registry, DIGESTS[3]))

    made = await registry.back_up("monday")

    (problem,) = made.problems
    assert (problem.digest, problem.kind, problem.versions_count) == (DIGESTS[3], kind, 4)
    assert problem.versions == [f"risk/Straße:{number}" for number in range(1, 5)]
    assert (made.problems_count, made.blobs, made.total_blobs) == (1, 3, 4)
    assert registry.store.is_damaged(DIGESTS[3])
    found = check.check(registry.backups / "monday", report=silent)
    assert [each.digest for each in found.inventory.problems] == [DIGESTS[3]]
    assert (found.damaged, found.blobs) == ((), 3)
    assert not blob_path(registry.backups / "monday", DIGESTS[3]).exists()


async def test_what_was_damaged_is_taken_from_the_backup_before(registry: Registry) -> None:
    await registry.back_up("sunday")
    flip(stored_path(registry, DIGESTS[3]))

    made = await registry.back_up("monday")

    assert (made.problems, made.blobs) == ([], 4)


@pytest.mark.parametrize("kind", ["directory with a file", "empty directory", "file", "dangling link"])
async def test_a_name_that_is_taken_is_refused_and_left_alone(registry: Registry, kind: str) -> None:
    target = registry.backups / "monday"
    if kind == "file":
        target.write_bytes(b"mine")
    elif kind == "dangling link":
        target.symlink_to("nowhere")
    else:
        target.mkdir()
        if kind == "directory with a file":
            (target / "mine").write_bytes(b"mine")

    with pytest.raises(errors.BackupAlreadyExists) as refused:
        await registry.back_up("monday")

    assert refused.value.metadata == {"name": "monday"}
    assert names(registry.backups) == {"monday"}
    assert kind != "directory with a file" or (target / "mine").read_bytes() == b"mine"


async def test_a_name_that_is_taken_meanwhile_is_left_alone(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish(draft: Any, made: inventory.Inventory) -> None:
        (registry.backups / "monday").mkdir()
        inventory.write(draft.path, made)
        draft.publish()

    monkeypatch.setattr(write, "_publish", publish)
    with pytest.raises(errors.BackupAlreadyExists):
        await registry.back_up("monday")
    assert names(registry.backups) == {"monday"}
    assert names(registry.backups / "monday") == set()


async def test_a_backup_without_a_directory_is_refused(registry: Registry) -> None:
    registry.backups.rmdir()

    with pytest.raises(errors.BackupNotConfigured, match="Make or mount it"):
        await registry.back_up()
    assert not registry.backups.exists()


async def test_a_disk_that_is_full_leaves_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    for place_of_fault, name in ((write.disk, "sync"), (inventory.disk, "sync_directory")):
        with monkeypatch.context() as faulty:
            faulty.setattr(place_of_fault, name, full)
            with pytest.raises(errors.StorageFull, match="The disk of backups is full"):
                await registry.back_up("monday")
        assert names(registry.backups) == set()


async def test_a_server_that_stops_leaves_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table = write.write_table

    def stopping(*args: Any, **kwargs: Any) -> Any:
        registry.storage.stop.set()
        return write_table(*args, **kwargs)

    monkeypatch.setattr(write, "write_table", stopping)
    with pytest.raises(errors.Draining):
        await registry.back_up("monday")
    assert names(registry.backups) == set()


async def test_what_a_crash_left_is_removed_and_what_is_under_way_is_not(registry: Registry) -> None:
    abandoned = registry.backups / place.DRAFT.format(name="sunday")
    (abandoned / "state").mkdir(parents=True)
    with place.draft(registry.backups, name="other", registry="") as draft:
        await registry.back_up("monday")

        assert draft.path.is_dir()
        assert names(registry.backups) == {"monday", draft.path.name}


@pytest.mark.parametrize("file", ["registry.json", "state/events.jsonl", "bookkeeping/blobs.jsonl", "blobs"])
async def test_any_changed_bit_of_a_backup_is_found(registry: Registry, file: str) -> None:
    await registry.back_up("monday")
    backup = registry.backups / "monday"
    path = blob_path(backup, DIGESTS[1]) if file == "blobs" else backup / file
    whole = path.read_bytes()
    for at in range(0, len(whole), max(len(whole) // 40, 1)):
        for bit in (0, 5, 7):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            assert is_damaged(backup), (at, bit)
        path.write_bytes(whole[:at])
        assert is_damaged(backup), at
    path.write_bytes(whole)
    assert not is_damaged(backup)


def is_damaged(backup: Path) -> bool:
    try:
        return bool(check.check(backup, report=silent).damaged)
    except (inventory.BackupDamaged, inventory.NotABackup):
        return True


async def test_doubles_and_texts_survive_as_they_are(registry: Registry) -> None:
    await registry.back_up("monday")
    lines = (registry.backups / "monday" / "derived" / "metrics.jsonl").read_bytes().splitlines()
    shape = tables.parse_header(lines[0])
    values = {row["name"]: (row["value"], row["value_text"]) for row in tables.rows(shape, lines[1:])}
    rows = {row[1]: (row[6], row[7]) for row in (await registry.everything())["metrics"]}

    assert len(values) == len(HARD_DOUBLES)
    assert values == rows


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"[1]", b'["a","b","c"]', b"[1,2", b"null", b'[1,2,"not base64!"]'],
)
def test_a_line_that_is_no_row_is_refused(line: bytes) -> None:
    shape = tables.shape(Base.metadata.tables["events"])
    with pytest.raises(tables.MalformedTable):
        list(tables.rows(shape, [line]))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b'{"table":"t","key":["a"],"columns":[["b","text"]]}',
        b'{"table":"t","key":["a"],"columns":[["a","date"]]}',
        b'{"table":"t","key":[],"columns":[["a","text"]]}',
        b'{"table":"t","key":["a"],"columns":["a"]}',
    ],
)
def test_a_header_that_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(tables.MalformedTable):
        tables.parse_header(header)
