"""``backup`` and ``restore``: what they print, and the code that they end with."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import json_format

import steelyard
from steelyard.v1 import maintenance_service_pb2 as pb
from tests.cli.shell import Shell, finished
from tests.client.trees import MODEL, write_tree
from tests.client.waiting import until
from tests.servers import ServerProcess, server_process

EMPTY = hashlib.sha256(b"").hexdigest()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServerProcess]:
    """Run a server that makes backups in `backups`, with a version in it."""
    (tmp_path / "backups").mkdir()
    with server_process(tmp_path / "data", "--backup-dir", str(tmp_path / "backups")) as started:
        with steelyard.Client(started.address, cache_dir=tmp_path / "cache") as client:
            client.push("fraud", write_tree(tmp_path / "model", MODEL), alias="champion")
        yield started


@pytest.fixture
def shell(served: ServerProcess, tmp_path: Path) -> Shell:
    return Shell(tmp_path, {"STEELYARD_SERVER": served.address})


def blob_files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.suffix != ".crc")


def test_a_backup_is_made_checked_and_restored_with_one_digest(
    shell: Shell, tmp_path: Path, served: ServerProcess
) -> None:
    made = shell.ok("backup", "monday").facts
    checked = shell.ok("restore", "backups/monday", "--check").facts
    restored = shell.ok("restore", "backups/monday", "--data-dir", "restored", "--verify").facts

    assert made["backup"] == "monday"
    assert made["digest"] == checked["registry_digest"] == restored["registry_digest"]
    assert made["events"] == checked["sequence"] == restored["sequence"]
    assert int(restored["event"]) == int(made["events"]) + 1
    assert made["rows"] == checked["rows"] == restored["rows"]
    assert made["blobs"] == checked["blobs"] == restored["blobs"]
    with server_process(tmp_path / "restored") as again:
        Shell(tmp_path, {"STEELYARD_SERVER": again.address}).ok("verify", "fraud@champion")


def test_json_is_that_of_the_message_and_names_everything(shell: Shell) -> None:
    made = json_format.Parse(shell.ok("backup", "monday", "--json").out, pb.BackupResponse())
    restored = json.loads(shell.ok("restore", "backups/monday", "--data-dir", "new", "--json").out)

    assert (made.name, made.done) == ("monday", True)
    assert restored["registry_digest"] == made.registry_digest
    assert restored["missing"] == []


def test_a_terminal_gets_a_bar_that_vanishes_and_a_table(shell: Shell) -> None:
    drawn = shell.on_terminal("backup", "monday")
    assert drawn.code == 0
    assert "monday" in drawn.out
    assert "sha256:" in drawn.out


def test_damaged_bytes_are_named_and_the_code_is_8(shell: Shell, tmp_path: Path) -> None:
    hurt = max(blob_files(tmp_path / "data" / "blobs" / "sha256"), key=lambda path: path.stat().st_size)
    hurt.write_bytes(b"x" * hurt.stat().st_size)

    made = shell.run("backup", "monday")
    checked = shell.run("restore", "backups/monday", "--check")
    restored = shell.run("restore", "backups/monday", "--data-dir", "restored")

    assert (made.code, checked.code, restored.code) == (8, 8, 8)
    assert [f"sha256:{hurt.name}", "damaged"] in [row[:2] for row in made.rows]
    assert made.rows[-1][-1] == "default/fraud:1"
    assert "1 blob whose stored bytes are damaged or missing" in made.err
    for done in (checked, restored):
        assert "registry_digest" in done.facts
        assert f"sha256:{hurt.name}" in done.err
    assert (tmp_path / "restored" / "registry.db").exists()


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("restore backups/nothing", 3, ["There is no directory backups/nothing", "Name that of a backup"]),
        ("restore backups --check", 3, ["no registry.json", "Name another"]),
        ("restore backups/monday --data-dir model/weights.onnx", 3, ["is no directory", "empty --data-dir"]),
        ("restore backups/monday --data-dir data", 3, ["Another Steelyard server", "data"]),
        ("restore backups/monday --data-dir model", 3, ["into an empty --data-dir only"]),
        ("restore backups/monday --data-dir new --database mysql://x", 2, ["no", "PostgreSQL"]),
        ("restore", 2, ["source"]),
        ("restore backups/damaged --data-dir new", 8, ["is damaged or missing"]),
        ("restore backups/damaged --check", 8, ["is damaged or missing"]),
        ("backup monday", 3, ["BACKUP_ALREADY_EXISTS"]),
        ("backup Monday", 2, ["INVALID_NAME"]),
        ("backup -s 127.0.0.1:9 monday", 2, ["No such option"]),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    shell: Shell, tmp_path: Path, command: str, code: int, words: list[str]
) -> None:
    shell.ok("backup", "monday")
    shell.ok("backup", "damaged")
    table = tmp_path / "backups" / "damaged" / "state" / "versions.jsonl"
    table.write_bytes(table.read_bytes().replace(b"fraud", b"fraus").replace(b"sha256", b"sha257"))
    before = {path.name for path in tmp_path.iterdir()}

    done = shell.run(*command.split())

    assert done.code == code, done.out + done.err
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err
    assert {path.name for path in tmp_path.iterdir()} == before
    assert {path.name for path in (tmp_path / "model").iterdir()} == {path.split("/")[0] for path in MODEL}


def test_a_server_without_a_directory_says_how_to_start_it(tmp_path: Path) -> None:
    with server_process(tmp_path / "data") as started:
        done = Shell(tmp_path, {"STEELYARD_SERVER": started.address}).run("backup")
    assert done.code == 3
    assert "--backup-dir" in done.err
    assert "BACKUP_NOT_CONFIGURED" in done.err


def test_a_collection_waits_for_a_backup_and_says_so(
    shell: Shell, tmp_path: Path, served: ServerProcess
) -> None:
    """The backup waits for a pipe in place of the empty file, until somebody opens the other end."""
    (tmp_path / "model" / "empty").write_bytes(b"")
    shell.ok("push", "fraud", "model")
    stored = tmp_path / "data" / "blobs" / "sha256"
    empty = stored / EMPTY[:2] / EMPTY[2:4] / EMPTY
    empty.unlink()
    os.mkfifo(empty)
    stray = stored / "00" / "00" / ("0" * 64)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")

    backup = shell.start("backup", "monday")
    until((tmp_path / "backups" / ".monday.incomplete" / "blobs").exists)
    collection = shell.start("gc", "--grace", "0", "--trash", "0")
    assert collection.stderr is not None
    said = collection.stderr.readline().decode()
    assert stray.exists()
    empty.open("wb").close()

    assert said == "A backup is being made; bytes are moved when it has those that it needs.\n"
    assert (finished(backup).code, finished(collection).code) == (0, 0)
    assert not stray.exists()


def test_no_server_and_so_no_collection_runs_while_a_restore_does(shell: Shell, tmp_path: Path) -> None:
    """The restore waits for a pipe in place of a blob, until somebody opens the other end."""
    made = shell.ok("backup", "monday").facts
    blob = blob_files(tmp_path / "backups" / "monday" / "blobs")[0]
    data = blob.read_bytes()
    blob.unlink()
    os.mkfifo(blob)

    restore = shell.start("restore", "backups/monday", "--data-dir", "restored")
    with blob.open("wb") as pipe:
        served = shell.run("serve", "--data-dir", "restored", "--listen", "127.0.0.1:0")
        again = shell.run("restore", "backups/monday", "--data-dir", "restored")
        pipe.write(data)

    for refused in (served, again):
        assert refused.code == 3
        assert f"Another Steelyard restore (process {restore.pid}) runs on restored;" in refused.err
    done = finished(restore)
    assert (done.code, done.facts["registry_digest"]) == (0, made["digest"])
    with server_process(tmp_path / "restored") as started:
        there = Shell(tmp_path, {"STEELYARD_SERVER": started.address})
        there.ok("gc", "--grace", "0", "--trash", "0")
        there.ok("verify", "fraud@champion")


async def test_the_asynchronous_client_backs_up_too(served: ServerProcess) -> None:
    seen: list[steelyard.Backup] = []
    async with steelyard.AsyncClient(served.address) as client:
        made = await client.maintenance.backup("monday", progress=seen.append)
    assert made.name == "monday"
    assert (made.blobs_count, made.problems) == (made.total_blobs_count, ())
    assert seen[-1] == made
