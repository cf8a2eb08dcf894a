"""The page about governance: each person of the story types their commands, and sees what the page shows."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import termios
from contextlib import suppress
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path

import pytest

from steelyard.v1 import policy_pb2
from tests.cli.shell import PROGRAM, Outcome, Shell, plain
from tests.docs.pages import ADDRESS, ROOT, Typed, blocks
from tests.servers import ServerProcess, server_process

PAGE = ROOT / "docs" / "governance.md"
SERVE = "steelyard serve "
LOGIN = "steelyard login --token"
COLUMNS, LINES = 180, 50
SECONDS = 60
TOKEN = re.compile(r"\bsteelyard_[0-9a-f_]{80,}")
UID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{16}\b")
# Files of the story. The precision of a version is what is said to be measured, not what these would give.
FILES = {
    "model/model.json": '{"threshold": 0.5}',
    "worse/model.json": '{"threshold": 0.4}',
    "better/model.json": '{"threshold": 0.6}',
    "holdout.csv": "amount,fraud\n12,0\n",
}


def story() -> list[Typed]:
    """Return the commands of the page in their order."""
    return [typed for block in blocks(PAGE, "console") for typed in block.typed()]


@dataclass
class Bank:
    """The directory in which all type, a server, and what was printed that is needed later."""

    directory: Path
    server: ServerProcess
    tokens: dict[str, str] = field(default_factory=dict)
    uid: str = ""
    logged_in: set[str] = field(default_factory=set)

    def run(self, typed: Typed) -> Outcome:
        """Run a command on the terminal of who types it; they log in before their first one."""
        if typed.who not in self.logged_in and typed.command != LOGIN:
            self.terminal(typed.who, LOGIN)
        self.logged_in.add(typed.who)
        done = self.terminal(typed.who, typed.command.replace(" UID", f" {self.uid}"))
        self._keep(typed, done)
        return done

    def terminal(self, who: str, command: str) -> Outcome:
        """Run a command with its output on a terminal; its input is the token of who types it."""
        near, far = pty.openpty()
        ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        path = f"{PROGRAM.parent}:{os.environ['PATH']}"
        home = self.directory / "homes" / who
        variables = {"STEELYARD_SERVER": self.server.address, "HOME": str(home), "PATH": path}
        variables["STEELYARD_CONFIG_DIR"] = str(home / "config")
        process = subprocess.Popen(
            ["sh", "-euc", command],
            cwd=self.directory,
            env=Shell(self.directory, variables).environment,
            stdin=subprocess.PIPE,
            stdout=far,
            stderr=far,
        )
        os.close(far)
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(f"{self.tokens.get(who, '')}\n".encode() if command == LOGIN else b"")
        drawn = bytearray()
        # Reading a terminal whose other side is closed is an error on Linux.
        with suppress(OSError):
            while data := os.read(near, 65536):
                drawn += data
        os.close(near)
        return Outcome(process.wait(SECONDS), plain(drawn.decode()), "")

    def _keep(self, typed: Typed, done: Outcome) -> None:
        if found := TOKEN.search(done.out):
            named = re.search(r"\b(?:user|service):(\w+)", typed.command)
            self.tokens[named[1] if named else typed.who] = found[0]
        if typed.command.startswith("steelyard tokens ls"):
            uid = UID.search(done.out)
            assert uid is not None, done.out
            self.uid = uid[0]


def said(text: str, *, address: str) -> str:
    """Return what was printed in a form to compare: on one server, with one blank where there are several."""
    lines = (" ".join(line.split()) for line in text.replace(address, ADDRESS).splitlines())
    # What is drawn while bytes move is not on the page.
    return "".join(f"{line}\n" for line in lines if line and "━" not in line)


def pattern(shown: str) -> re.Pattern[str]:
    """Return what lines of the page stand for: in a line `…` is any text, and alone in one any lines."""
    lines = said(shown, address=ADDRESS).splitlines()
    parts = (".*".join(map(re.escape, line.split("…"))) + "\n" for line in lines)
    return re.compile("".join(r"(?:.*\n)*" if part == ".*\n" else part for part in parts))


def prepare(directory: Path) -> None:
    """Write the files that the page is about: policies as it shows them, and something to push."""
    policy, change = (block.text for block in blocks(PAGE, "yaml"))
    name = change.splitlines()[0]
    old = re.search(rf"^ *{re.escape(name.strip())}\n.*\n", policy, re.MULTILINE)
    assert old is not None
    after = policy.replace(old[0], change)
    files = FILES | {
        "fraud-production.yaml": policy,
        "fraud-production-2.yaml": after,
        "mistyped.yaml": policy.replace(" >= ", " => "),
    }
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)


# Some ninety processes one after the other.
@pytest.mark.timeout(900)
def test_everybody_types_what_the_page_says_and_sees_what_it_shows(tmp_path: Path) -> None:
    prepare(directory := tmp_path / "bank")
    first, *others = story()
    assert first.command.startswith(SERVE)
    with server_process(tmp_path / "data", *first.command.removeprefix(SERVE).split()) as server:
        bank = Bank(directory, server, {"admin": server.first_token()})
        greeting = said("".join(server.output), address=server.address)
        assert pattern(first.shown).fullmatch(greeting), greeting
        for typed in others:
            done = bank.run(typed)
            where = f"line {typed.line}: {typed.who}$ {typed.command}\n{done.out}"
            assert done.code == typed.code, where
            printed = said(done.out, address=server.address)
            if typed.shown:
                assert pattern(typed.shown).fullmatch(printed), where


def test_what_persons_type_in_the_readme_is_of_this_page() -> None:
    typed = [each for block in blocks(ROOT / "README.md", "console") for each in block.typed()]
    persons = {(each.who, each.command) for each in typed if each.who}
    assert persons
    assert persons <= {(each.who, each.command) for each in story()}


def test_the_table_explains_each_part_of_a_policy() -> None:
    rows = "\n".join(re.findall(r"^\| (`.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    parts = set(re.findall(r"`(\w+)`", rows))
    known = {each.name for each in policy_pb2.Policy.DESCRIPTOR.fields}
    told = {"description", "uid", "revision", "creator", "create_time", "update_time", "etag"}
    assert known - told <= parts
