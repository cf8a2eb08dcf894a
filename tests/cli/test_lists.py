"""Lists are cut for people, who are told so, and whole for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import steelyard
from steelyard.cli.output import LISTED
from tests.cli.shell import Shell
from tests.client.trees import write_tree

MANY = LISTED + 1
COMMANDS = ["models ls", "versions ls fraud", "alias log fraud"]


@pytest.fixture
def full(shell: Shell, tmp_path: Path) -> Shell:
    """Run commands where there are more models, versions and moves than a list shows."""
    settings = {"namespace": shell.variables["STEELYARD_NAMESPACE"]}
    with steelyard.Client(shell.variables["STEELYARD_SERVER"], **settings) as client:
        content = client.push("fraud", write_tree(tmp_path / "model", {"a": b"a"})).version.message.content
        for number in range(1, MANY):
            client.models.create(f"model-{number}")
            content.framework.name = f"framework {number}"
            client.versions.create("fraud", content)
        for number in range(1, MANY + 1):
            client.aliases.set(f"fraud:{number}", "champion")
    return shell


def test_a_list_that_is_cut_says_so_and_one_for_programs_is_whole(full: Shell) -> None:
    for command in COMMANDS:
        cut = full.ok(*command.split())
        assert len(cut.rows) == LISTED, command
        assert cut.err == f"These are the first {LISTED}; there are more, see --limit.\n"
        assert "there are more, see --limit." in full.on_terminal(*command.split()).out
        whole = full.ok(*command.split(), "--json")
        assert (len(json.loads(whole.out)), whole.err) == (MANY, "")


def test_a_limit_that_is_given_holds_for_people_and_programs(full: Shell) -> None:
    for command in COMMANDS:
        assert len(full.ok(*command.split(), "--limit", "3").rows) == 3
        assert len(json.loads(full.ok(*command.split(), "--limit", "3", "--json").out)) == 3
        exact = full.ok(*command.split(), "--limit", str(MANY))
        assert (len(exact.rows), exact.err) == (MANY, "")
