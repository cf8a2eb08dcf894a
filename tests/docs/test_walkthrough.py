"""The walk-through with grpcurl: each command of the page is run, and prints what the page shows."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ADDRESS, ROOT, Block, blocks
from tests.servers import ServerProcess

PAGE = ROOT / "docs" / "walkthrough-grpcurl.md"
TOOLS = ROOT / ".tools" / "bin"
COMMAND_SECONDS = 30
LEFT_OUT = "…"


def steps() -> list[tuple[Block, Block]]:
    """Pair each block of commands with the block below it, which shows what they print."""
    shown = [block for block in blocks(PAGE) if block.language != "console"]
    pairs = list(zip(shown[::2], shown[1::2], strict=True))
    for commands, output in pairs:
        assert commands.language == "sh", f"line {commands.line} is no command"
        assert output.language != "sh", f"nothing shows what the commands of line {commands.line} print"
    return pairs


def unlike(shown: str, printed: str) -> str:
    """Return how *printed* differs from what is shown, where an ellipsis shows any text, or any lines."""
    lines = shown.splitlines()
    pattern = "".join(r"(?:.*\n)*?" if line.strip() == LEFT_OUT else like(line) for line in lines)
    if re.fullmatch(pattern, printed):
        return ""
    return "\n".join(difflib.unified_diff(lines, printed.splitlines(), "page", "printed", lineterm=""))


def like(line: str) -> str:
    return ".+?".join(re.escape(part) for part in line.split(LEFT_OUT)) + r"\n"


def run(commands: str, *, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", commands],
        cwd=directory,
        env={**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=COMMAND_SECONDS,
        check=False,
    )


def test_every_command_of_the_page_prints_what_the_page_shows(child: ServerProcess, tmp_path: Path) -> None:
    assert (TOOLS / "grpcurl").exists(), "There is no grpcurl; `make .tools/bin/grpcurl` builds it."
    directory = tmp_path / "reader"
    directory.mkdir()
    for commands, output in steps():
        result = run(commands.text.replace(ADDRESS, child.address), directory=directory)
        wrong = unlike(output.text, result.stdout)
        assert not wrong, f"line {output.line} of {PAGE.name} shows something else:\n{wrong}"
        refused = output.text.startswith("ERROR:")
        assert (result.returncode != 0) == refused, f"line {commands.line} ended with {result.returncode}"


def test_the_page_goes_from_an_empty_registry_to_a_file_read_back_and_an_error() -> None:
    commands = "".join(block.text for block, _ in steps())
    methods = ["GetServerInfo", "CreateModel", "FindMissingBlobs", "WriteBlobs", "CreateVersion", "SetAlias"]
    places = [commands.index(f"/{method}") for method in [*methods, "GetVersion", "ReadFile"]]
    assert places == sorted(places)
    assert ".proto" not in commands


@pytest.mark.parametrize(
    ("shown", "printed"), [('"uid": "…"\n', '"uid": "17"\n'), ("a\n  …\nb\n", "a\nx\ny\nb\n")]
)
def test_an_ellipsis_stands_for_other_text(shown: str, printed: str) -> None:
    assert unlike(shown, printed) == ""


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("sha256:0381\n", "sha256:0382\n"),
        ('"uid": "…"\n', '"uid": ""\n'),
        ('"uid": "…"\n', '"uid": "1"\n"etag": "2"\n'),
        ("a\n  …\nb\n", "a\nx\nb\nc\n"),
    ],
)
def test_nothing_else_on_the_page_may_differ_from_what_is_printed(shown: str, printed: str) -> None:
    assert unlike(shown, printed) != ""
