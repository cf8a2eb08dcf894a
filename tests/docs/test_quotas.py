"""The commands of docs/operations.md about namespaces are run in order, on a new server."""

from __future__ import annotations

from pathlib import Path

import steelyard
from tests.docs.pages import ROOT, blocks
from tests.docs.test_readme import run
from tests.servers import ServerProcess

PAGE = ROOT / "docs" / "operations.md"


def test_the_commands_of_the_page_do_what_it_says(child: ServerProcess, tmp_path: Path) -> None:
    reader = tmp_path / "reader"
    reader.mkdir()
    commands = [command for block in blocks(PAGE) for command in block.commands()]
    commands = [command for command in commands if command.startswith("steelyard namespaces ")]
    assert len(commands) == 7
    for command in commands:
        run("sh", "-euc", command, reader=reader, address=child.address)
    with steelyard.Client(child.address) as client:
        found = client.namespaces.get("risk")
        assert (found.quota, found.retention) == (steelyard.Quota(500 * 10**9, 0), steelyard.Retention())
