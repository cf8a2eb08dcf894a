"""What `pip install ./clients/python` gives: the whole client, with its types, and without the server."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "clients" / "python"
SECONDS = 100


def run(*command: str | Path, directory: Path, code: int = 0) -> str:
    done = subprocess.run(
        [str(each) for each in command],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build one, from a copy and with the build backend that is installed here."""
    directory = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(PACKAGE, directory / "source", ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory / "out", directory=source)
    (built,) = (directory / "out").glob("*.whl")
    return built


def test_the_wheel_has_all_stubs_with_their_types(wheel: Path) -> None:
    found = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        path.relative_to(PACKAGE).as_posix()
        for pattern in ("*.py", "*.pyi", "py.typed")
        for path in (PACKAGE / "steelyard").rglob(pattern)
    }
    assert {"steelyard/py.typed", "steelyard/v1/model_pb2.pyi", "steelyard/cli/app.py"} <= expected
    assert expected - found == set()


def test_the_wheel_installs_and_says_how_to_get_the_server(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies are those of this environment, in which ours are installed in another way."""
    venv.create(tmp_path / "fresh", with_pip=True)
    programs = tmp_path / "fresh" / "bin"
    offline = ("--quiet", "--no-index", "--no-deps", "--disable-pip-version-check")
    run(programs / "pip", "install", *offline, wheel, directory=tmp_path)
    (packages,) = (tmp_path / "fresh" / "lib").glob("*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    where = run(
        *(
            programs / "python",
            "-c",
            "import steelyard; print(steelyard.Client.__module__, steelyard.__file__)",
        ),
        directory=tmp_path,
    )
    assert where.startswith(f"steelyard.client {packages}")
    assert "Usage: steelyard" in run(programs / "steelyard", "--help", directory=tmp_path)
    said = run(programs / "steelyard", "serve", directory=tmp_path, code=2)
    assert "not installed here" in said
    assert "pip install ./clients/python ." in said
