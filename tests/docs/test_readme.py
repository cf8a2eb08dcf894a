"""The READMEs: their Python and commands are run on a directory with a model, against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ADDRESS, ROOT, blocks
from tests.servers import ServerProcess

PAGE = ROOT / "README.md"
CLIENT_PAGE = ROOT / "clients/python/README.md"
COMMAND_SECONDS = 60
FILES = {"weights/model.onnx": bytes(range(256)) * 4096, "config.json": b'{"classes": 2}\n', "empty.txt": b""}


def scripts(page: Path) -> list[str]:
    return [block.text for block in blocks(page, "python")]


def commands() -> list[str]:
    """Return the commands of the page; what several persons type is of another page, and run with that."""
    return [typed.command for block in blocks(PAGE, "console") for typed in block.typed() if not typed.who]


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    """Make the directory of a reader, with a `model` in it."""
    for name, data in FILES.items():
        path = tmp_path / "reader" / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "reader"


def run(*command: str, reader: Path, address: str) -> str:
    """Run a command as a reader would, with a home directory of their own; return what it prints."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("STEELYARD_", "XDG_"))
    }
    environment |= {
        "HOME": str(reader.parent),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "STEELYARD_SERVER": address,
    }
    result = subprocess.run(
        command,
        cwd=reader,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert result.returncode == 0, f"{command} ended with {result.returncode}:\n{result.stdout}"
    return result.stdout


def copies(reader: Path) -> list[dict[str, bytes]]:
    """Return the files of each directory beside `model`."""
    return [
        {path.relative_to(copy).as_posix(): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
        for copy in reader.iterdir()
        if copy.name != "model"
    ]


@pytest.mark.parametrize(
    ("page", "begin"), [(PAGE, "1 sha256:"), (CLIENT_PAGE, "default/fraud:1 {")], ids=["project", "client"]
)
def test_the_python_of_a_readme_pushes_a_model_and_pulls_the_same_files(
    child: ServerProcess, reader: Path, page: Path, begin: str
) -> None:
    (script,) = scripts(page)
    assert ADDRESS in script
    printed = run(sys.executable, "-c", script.replace(ADDRESS, child.address), reader=reader, address="")
    assert printed.startswith(begin)
    assert copies(reader) == [FILES]


def test_the_commands_of_the_readme_push_a_model_and_pull_the_same_files(
    child: ServerProcess, reader: Path
) -> None:
    ours = [command for command in commands() if command.startswith("steelyard ")]
    assert ours
    printed = [run("sh", "-euc", command, reader=reader, address=child.address) for command in ours]
    (copy,) = copies(reader)
    assert copy.pop("steelyard.lock").startswith(b"# CPython 3.")
    assert copy == FILES
    assert "default/churn@champion points to version 1 again." in printed[-1]


def test_the_readme_shows_no_other_commands_than_those_tested() -> None:
    tested = ("steelyard ", "make ")
    assert [command for command in commands() if not command.startswith(tested)] == []
    assert {block.language for block in blocks(PAGE)} == {"console", "python", ""}
