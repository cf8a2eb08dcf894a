"""The page about TLS: its commands are run in order, each against the server that it has just started."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.docs.pages import ADDRESS, ROOT, blocks
from tests.docs.test_readme import run
from tests.servers import ServerProcess, server_process

PAGE = ROOT / "docs" / "tls.md"
TOOLS = ROOT / ".tools" / "bin"
SERVE = "steelyard serve "


def commands() -> list[str]:
    return [command for block in blocks(PAGE, "console") for command in block.commands()]


@contextmanager
def served(directory: Path, command: str, *, reader: Path) -> Iterator[ServerProcess]:
    """Start a server as the page does, with files of its reader."""
    words = shlex.split(command.removeprefix(SERVE))
    flags = [word if word.startswith("--") else str(reader / word) for word in words]
    with server_process(directory, *flags) as child:
        yield child


@pytest.mark.skipif(shutil.which("openssl") is None, reason="readers of the page have openssl")
def test_the_commands_of_the_page_make_certificates_serve_and_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (TOOLS / "grpcurl").exists(), "There is no grpcurl; `make .tools/bin/grpcurl` builds it."
    monkeypatch.setenv("PATH", f"{TOOLS}:{os.environ['PATH']}")
    reader = tmp_path / "reader"
    reader.mkdir()
    begun, address, printed = 0, "", []
    with ExitStack() as stack:
        for command in commands():
            if command.startswith(SERVE):
                stack.pop_all().close()
                begun += 1
                child = served(tmp_path / f"data {begun}", command, reader=reader)
                address = stack.enter_context(child).address
            else:
                printed.append(
                    run("sh", "-euc", command.replace(ADDRESS, address), reader=reader, address="")
                )
    assert begun == 2
    assert sum("SERVING" in text for text in printed) == 2
    assert sum("registry\t" in text for text in printed) == 4


def test_the_sentences_of_the_page_are_those_that_clients_say() -> None:
    said = (ROOT / "clients/python/steelyard/tls.py").read_text(encoding="utf-8")
    joined = said.replace('"\n', "").replace("\n", " ").replace('"', "")
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `…")]
    assert len(rows) == 7
    for row in rows:
        sentence = row.split("`")[1].strip("… ")
        words = sentence.split("closed the connection. ")[-1]
        assert " ".join(words.split()) in " ".join(joined.split()), words
