"""The page about bundles: its commands and its Python run in order, between two registries."""

from __future__ import annotations

import sys
from pathlib import Path

import steelyard
from tests.client.trees import write_tree
from tests.docs.pages import ADDRESS, ROOT, blocks
from tests.docs.test_readme import run
from tests.servers import ServerProcess, server_process

PAGE = ROOT / "docs" / "bundles.md"
OTHER = "127.0.0.1:7434"


def test_the_page_carries_models_from_one_registry_to_another(child: ServerProcess, tmp_path: Path) -> None:
    reader = tmp_path / "reader"
    reader.mkdir()
    with server_process(tmp_path / "other") as other:
        with steelyard.Client(child.address, cache_dir=tmp_path / "cache") as client:
            for number in (1, 2):
                tree = write_tree(tmp_path / "model", {"a": str(number).encode()})
                client.push("fraud", tree, alias="champion")
            client.push("churn", tree)
        for command in (command for block in blocks(PAGE, "console") for command in block.commands()):
            assert command.startswith("steelyard ")
            printed = run(
                "sh", "-euc", command.replace(OTHER, other.address), reader=reader, address=child.address
            )
        assert "imported from\tdefault/fraud:2 in steelyard urn:uuid:" in printed
        (script,) = blocks(PAGE, "python")
        text = script.text.replace(ADDRESS, child.address).replace(OTHER, other.address)
        printed = run(sys.executable, "-c", text, reader=reader, address="")
        assert printed.splitlines() == ["2", "True default/fraud:1", "model.create version.import"]
        with steelyard.Client(other.address, cache_dir=tmp_path / "cache") as client:
            found = {
                name: [each.number for each in client.versions.list(name)] for name in ("fraud", "risk/fraud")
            }
            assert found == {"fraud": [1, 2], "risk/fraud": [2, 3]}
            assert client.get("archive/churn:1").origin is not None
