"""The page about operations: its commands are run in order, against real servers on both databases."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import steelyard
from steelyard import reasons
from tests.client.trees import write_tree
from tests.databases import running_cluster
from tests.docs.pages import ROOT, blocks
from tests.docs.test_readme import FILES, run
from tests.servers import ServerProcess, server_process

PAGE = ROOT / "docs" / "operations.md"
SERVE = "steelyard serve "
BACKUPS = ("Back up", "Check a backup", "Restore", "Move from SQLite to PostgreSQL, and back")
URL = "postgresql+psycopg://steelyard@db.example/registry"


def commands() -> list[tuple[str, str]]:
    """Return the commands of the page, each with its heading."""
    return [(block.heading, command) for block in blocks(PAGE, "console") for command in block.commands()]


@pytest.fixture
def database() -> Iterator[str]:
    """Run a PostgreSQL server with an empty database."""
    with running_cluster() as cluster:
        yield cluster.create_empty().replace("postgresql://", "postgresql+psycopg://")


def pulled(address: str, dest: Path) -> dict[str, bytes]:
    with steelyard.Client(address) as client:
        client.pull("fraud@champion", dest)
    return {
        path.relative_to(dest).as_posix(): path.read_bytes() for path in dest.rglob("*") if path.is_file()
    }


# Ten processes one after the other.
@pytest.mark.timeout(300)
def test_the_commands_of_the_page_back_up_check_restore_and_move(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEELYARD_CACHE_DIR", str(tmp_path / "cache"))
    reader = tmp_path / "reader"
    for name, data in FILES.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    reader.mkdir()
    first, begin, *others = [command for heading, command in commands() if heading in BACKUPS]
    run("sh", "-euc", first, reader=reader, address="")
    served = 0
    with server_process(tmp_path / "data", "--backup-dir", str(reader / begin.split()[-1])) as original:
        with steelyard.Client(original.address) as client:
            client.push("fraud", tmp_path / "model", alias="champion")
        for number, command in enumerate(others):
            words = command.replace(URL, database).split()
            if words[:2] == ["steelyard", "serve"]:
                # As the page says it, but for the address.
                data_dir, *more = words[3:]
                with server_process(reader / data_dir, *more) as restored:
                    assert pulled(restored.address, tmp_path / f"copy {number}") == FILES
                served += 1
            else:
                text = command.replace(URL, database)
                printed = run("sh", "-euc", text, reader=reader, address=original.address)
                assert "registry_digest" in printed or "digest" in printed or words[0] == "cd", command
    assert served == 2


def test_the_digest_on_the_page_is_the_one_that_is_printed(tmp_path: Path) -> None:
    (tmp_path / "reader").mkdir()
    (tmp_path / "reader" / "backups").mkdir()
    by_hand = next(command for _, command in commands() if command.startswith("cd "))
    with server_process(tmp_path / "data", "--backup-dir", str(tmp_path / "reader" / "backups")) as served:
        made = run("steelyard", "backup", "monday", reader=tmp_path / "reader", address=served.address)
    computed = run("sh", "-euc", by_hand, reader=tmp_path / "reader", address="")
    assert f"digest\tsha256:{computed.split()[0]}" in made


def stored_files(child: ServerProcess) -> int:
    root = child.directory / "blobs"
    return sum(path.is_file() for folder in ("sha256", "trash") for path in (root / folder).rglob("*"))


def test_the_commands_of_the_page_free_and_verify_what_is_stored(tmp_path: Path) -> None:
    reader = tmp_path / "reader"
    reader.mkdir()
    tending = [command for heading, command in commands() if heading not in BACKUPS]
    assert all(command.startswith("steelyard ") for command in tending)
    (serve,) = [command for command in tending if command.startswith(SERVE)]
    arguments = shlex.split(serve.removeprefix(SERVE))
    with server_process(tmp_path / "data", *arguments) as child, steelyard.Client(child.address) as client:
        for data in (b"first", b"second"):
            client.push("fraud", write_tree(tmp_path / "model", {"a": data}))
        assert stored_files(child) == 2
        for command in tending:
            if command != serve:
                run("sh", "-euc", command, reader=reader, address=child.address)
        assert stored_files(child) == 1
        assert client.read("fraud:2", "a") == b"second"
        with pytest.raises(reasons.VersionNotFound):
            client.get("fraud:1")
