"""The page about evaluations and comparisons: its commands and its Python run, and do what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import steelyard
from tests.docs.pages import ADDRESS, ROOT, blocks
from tests.servers import ServerProcess

PAGE = ROOT / "docs" / "compare.md"
COMMAND_SECONDS = 60


def environment_of(reader: Path, *, address: str) -> dict[str, str]:
    """Return the variables of a reader."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEELYARD_")}
    return kept | {
        "HOME": str(reader),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "STEELYARD_SERVER": address,
    }


def run(*command: str, reader: Path, address: str) -> str:
    """Run a command in the directory of a reader and return what it prints."""
    done = subprocess.run(
        command,
        cwd=reader,
        env=environment_of(reader, address=address),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def test_the_page_evaluates_and_compares_two_versions(child: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name, text in (("model/model.onnx", "weights"), ("new.csv", "a,b\n"), ("report.html", "<p>report")):
        (tmp_path / name).write_text(text)
    for block in blocks(PAGE, "console"):
        for command in block.commands():
            assert command.startswith("steelyard ")
            printed = run("sh", "-euc", command, reader=tmp_path, address=child.address)
    assert "precision@holdout\t0.91\t0.93\t:2\n" in printed
    assert "evaluation\tprecision@new\t0.88\t0.84\t:1\n" in printed
    assert (tmp_path / "comparison.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")

    (script,) = blocks(PAGE, "python")
    text = script.text.replace(ADDRESS, child.address)
    printed = run(sys.executable, "-c", text, reader=tmp_path, address=child.address)
    assert "precision@holdout (0.91, 0.93) (False, True)" in printed
    with steelyard.Client(child.address, cache_dir=tmp_path / "cache") as client:
        assert len(list(client.evaluations.list("fraud:2"))) == 2
