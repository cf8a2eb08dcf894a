"""The commands of docs/operations.md are run in order, on a server that was started as it says."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import steelyard
from steelyard import reasons
from tests.client.trees import write_tree
from tests.docs.pages import ROOT, blocks
from tests.docs.test_readme import run
from tests.servers import ServerProcess, server_process

PAGE = ROOT / "docs" / "operations.md"
SERVE = "steelyard serve "


def end_leases(child: ServerProcess) -> None:
    """Let the day be over for which an upload is kept in any case."""
    with closing(sqlite3.connect(child.directory / "registry.db", timeout=30)) as connection, connection:
        connection.execute("UPDATE holdings SET lease_expire_time = 0")


def stored_files(child: ServerProcess) -> int:
    root = child.directory / "blobs"
    return sum(path.is_file() for folder in ("sha256", "trash") for path in (root / folder).rglob("*"))


def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    reader = tmp_path / "reader"
    reader.mkdir()
    commands = [command for block in blocks(PAGE) for command in block.commands()]
    assert all(command.startswith("steelyard ") for command in commands)
    (serve,) = [command for command in commands if command.startswith(SERVE)]
    arguments = shlex.split(serve.removeprefix(SERVE))
    with server_process(tmp_path / "data", *arguments) as child, steelyard.Client(child.address) as client:
        for data in (b"first", b"second"):
            client.push("fraud", write_tree(tmp_path / "model", {"a": data}))
        end_leases(child)
        assert stored_files(child) == 2
        for command in commands:
            if command != serve:
                run("sh", "-euc", command, reader=reader, address=child.address)
        assert stored_files(child) == 1
        assert client.read("fraud:2", "a") == b"second"
        with pytest.raises(reasons.VersionNotFound):
            client.get("fraud:1")
