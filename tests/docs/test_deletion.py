"""The commands of docs/deletion.md are run in order, on a model with two versions."""

from __future__ import annotations

from pathlib import Path

import steelyard
from tests.client.trees import write_tree
from tests.docs.pages import ROOT, blocks
from tests.docs.test_readme import run
from tests.servers import ServerProcess

PAGE = ROOT / "docs" / "deletion.md"


def test_the_commands_of_the_page_do_what_it_says(child: ServerProcess, tmp_path: Path) -> None:
    reader = tmp_path / "reader"
    reader.mkdir()
    with steelyard.Client(child.address) as client:
        for number in (1, 2):
            client.push("fraud", write_tree(tmp_path / "model", {"a": str(number).encode()}))
        commands = [command for block in blocks(PAGE) for command in block.commands()]
        assert all(command.startswith("steelyard ") for command in commands)
        for command in commands:
            run("sh", "-euc", command, reader=reader, address=child.address)
        assert [version.number for version in client.versions.list("fraud", show_deleted=True)] == [1]
        assert [model.name for model in client.models.list(show_deleted=True)] == ["default/fraud"]
