"""The page about the history: its commands and its Python run, and its table names every action."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import steelyard
from tests.docs.pages import ADDRESS, ROOT, blocks
from tests.docs.test_compare import COMMAND_SECONDS, environment_of, run
from tests.servers import ServerProcess

PAGE = ROOT / "docs" / "history.md"
COMMANDS = [command for block in blocks(PAGE, "console") for command in block.commands()]
FOLLOWING = [command for command in COMMANDS if re.search(r" (--follow|-F)\b", command)]


@pytest.fixture
def told(child: ServerProcess, tmp_path: Path) -> ServerProcess:
    """Let a few things happen that the page asks for."""
    (tmp_path / "model.onnx").write_bytes(b"weights")
    with steelyard.Client(child.address, actor="ada", cache_dir=tmp_path / "cache") as client:
        client.push("fraud", tmp_path / "model.onnx", alias="champion", reason="ticket 7")
    return child


def test_the_commands_and_the_python_of_the_page_run(told: ServerProcess, tmp_path: Path) -> None:
    printed = {}
    for command in COMMANDS:
        if command not in FOLLOWING and ("| jq" not in command or shutil.which("jq")):
            printed[command] = run("sh", "-euc", command, reader=tmp_path, address=told.address)
    assert len(printed) >= 5
    last = [text.splitlines()[-1].split("\t")[3:] for text in printed.values() if "\t" in text]
    assert last == [["alias.set", "alias/default/fraud@champion", "ticket 7"]] * len(last)
    (script,) = blocks(PAGE, "python")
    text = script.text.replace(ADDRESS, told.address)
    printed_by_python = run(sys.executable, "-c", text, reader=tmp_path, address=told.address)
    assert printed_by_python.splitlines()[0] == "4 ada ('alias/default/fraud@champion',)"


@pytest.mark.parametrize("command", FOLLOWING)
def test_a_command_that_follows_ends_with_ctrl_c(told: ServerProcess, tmp_path: Path, command: str) -> None:
    process = subprocess.Popen(
        ["sh", "-euc", f"exec {command}"],
        cwd=tmp_path,
        env=environment_of(tmp_path, address=told.address),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=COMMAND_SECONDS)
        assert process.returncode == 130
    finally:
        process.kill()
        process.communicate()


def test_every_action_and_every_kind_of_resource_has_a_line() -> None:
    rows = re.findall(r"^\| (`\w+\.\w+`.*?) \| `(\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    listed = set()
    for actions, _ in rows:
        noun, *verbs = re.findall(r"`(\w*)\.(\w+)`", actions)
        listed |= {f"{noun[0]}.{verb}" for _, verb in (noun, *verbs)}
    source = "\n".join(path.read_text() for path in (ROOT / "src/steelyard_server/core").glob("*.py"))
    said = set(re.findall(r'(?:action=|action = |return |else )"(\w+\.[a-z]+)"', source))
    # Of aliases and of reviews the verb is put behind the noun.
    reviews = {f"promotion.{verdict}" for verdict in ("approve", "reject", "withdraw", "comment")}
    assert listed == said | {"alias.set", "alias.rollback"} | reviews
