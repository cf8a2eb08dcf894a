"""The lock file: every package of an environment, the same text for the same environment, and no secrets."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import sys
from pathlib import Path

import pytest

from steelyard.capture import environment
from tests.client.trees import write_tree

SITE = "lib/python3.11/site-packages"
VENV = b"home = /usr/bin\nversion = 3.11.7\n"
LINE = re.compile(r"[a-z0-9-]+(==[\w.!+-]+(  # not from an index)?| @ [a-z+]+://\S+)")

# By what PEP 610 records of where a package came from.
ORIGINS: dict[str, tuple[object, str]] = {
    "an index": (None, "fraud-lib==1.2"),
    "git": (
        {
            "url": "https://ada:s3cret@git.example.org/lib.git",
            "vcs_info": {"vcs": "git", "commit_id": "c0ffee", "requested_revision": "main"},
        },
        "fraud-lib @ git+https://git.example.org/lib.git@c0ffee",
    ),
    "git over ssh": (
        {"url": "ssh://git@git.example.org/lib.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
        "fraud-lib @ git+ssh://git.example.org/lib.git@c0ffee",
    ),
    "an archive": (
        {
            "url": "https://s3cret@example.org/lib.whl?X-Signature=s3cret",
            "archive_info": {"hashes": {"sha256": "ab" * 32}},
        },
        f"fraud-lib @ https://example.org/lib.whl#sha256={'ab' * 32}",
    ),
    "an archive as older tools write it": (
        {"url": "https://example.org/lib.whl", "archive_info": {"hash": f"sha256={'ab' * 32}"}},
        f"fraud-lib @ https://example.org/lib.whl#sha256={'ab' * 32}",
    ),
    "an archive without a digest": (
        {"url": "https://example.org/lib.whl", "archive_info": {}},
        "fraud-lib @ https://example.org/lib.whl",
    ),
    "a directory": (
        {"url": "file:///home/ada/s3cret", "dir_info": {"editable": True}},
        "fraud-lib==1.2  # not from an index",
    ),
    "an archive on this machine": (
        {"url": "file:///home/ada/s3cret.whl", "archive_info": {}},
        "fraud-lib==1.2  # not from an index",
    ),
    "an address that cannot be told from its password": (
        {"url": "https://ada:s3/cret@example.org/lib.whl", "archive_info": {}},
        "fraud-lib==1.2  # not from an index",
    ),
    "nonsense": ({"url": ["s3cret"], "vcs_info": 7}, "fraud-lib==1.2  # not from an index"),
    "a text": ("s3cret", "fraud-lib==1.2"),
}


def package(name: str, version: str, origin: object = None) -> dict[str, bytes]:
    """Return the files that an installer leaves of a package."""
    directory = f"{SITE}/{name}-{version}.dist-info"
    files = {f"{directory}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()}
    if origin is not None:
        files[f"{directory}/direct_url.json"] = json.dumps(origin).encode()
    return files


def locked(prefix: Path | None) -> tuple[environment.Lock | None, list[str]]:
    notes: list[str] = []
    return environment.lock(prefix, note=notes.append), notes


def text_of(prefix: Path) -> str:
    found, notes = locked(prefix)
    assert found is not None, notes
    return found.text


def test_the_packages_are_sorted_with_the_version_of_python_above(tmp_path: Path) -> None:
    write_tree(
        tmp_path, {"pyvenv.cfg": VENV, **package("Zoo_Keeper", "2.0"), **package("abc.def", "1!2.0+x")}
    )
    found, notes = locked(tmp_path)
    assert found == environment.Lock(
        "# CPython 3.11.7\nabc-def==1!2.0+x\nzoo-keeper==2.0\n", "CPython 3.11.7", packages_count=2
    )
    assert notes == []


def test_the_same_packages_give_the_same_text_in_whatever_order_they_came(tmp_path: Path) -> None:
    packages = [package(f"package-{number}", f"1.{number}") for number in range(20)]
    for name, ordered in (("one", packages), ("other", packages[::-1])):
        write_tree(tmp_path / name, {"pyvenv.cfg": VENV})
        for files in ordered:
            write_tree(tmp_path / name, files)
    assert text_of(tmp_path / "one") == text_of(tmp_path / "other")


@pytest.mark.parametrize(("origin", "line"), ORIGINS.values(), ids=ORIGINS)
def test_where_a_package_came_from_is_kept_without_secrets_and_paths(
    tmp_path: Path, origin: object, line: str
) -> None:
    write_tree(tmp_path, {"pyvenv.cfg": VENV, **package("fraud_lib", "1.2", origin)})
    assert text_of(tmp_path) == f"# CPython 3.11.7\n{line}\n"


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"\xff\xfe",
        b"Name: x\n",
        b"Version: 1\n",
        b"Name: x y\nVersion: 1\n",
        b"Name: x\nVersion: 1; rm\n",
        b"Name: x\nVersion: 1\n -r /etc/passwd\n",
    ],
)
def test_a_package_that_names_itself_wrongly_is_passed_over(tmp_path: Path, metadata: bytes) -> None:
    write_tree(
        tmp_path,
        {"pyvenv.cfg": VENV, f"{SITE}/x-1.dist-info/METADATA": metadata, **package("good", "1.0")},
    )
    assert text_of(tmp_path) == "# CPython 3.11.7\ngood==1.0\n"


@pytest.mark.parametrize(
    ("files", "python"),
    [
        ({"pyvenv.cfg": b"home = /usr/bin\nversion = 3.12.1\n"}, "CPython 3.12.1"),
        ({"pyvenv.cfg": b"version_info = 3.12.1.final.0\nimplementation = CPython\n"}, "CPython 3.12.1"),
        ({"pyvenv.cfg": b"implementation = PyPy\nversion_info = 3.11.13\n"}, "PyPy 3.11.13"),
        ({"conda-meta/python-3.13.2-hf6_1.json": b"{}", "conda-meta/python-dateutil-2.9-0.json": b"{}"},
         "CPython 3.13.2"),
    ],
    ids=["venv", "virtualenv", "uv", "conda"],
)  # fmt: skip
def test_the_version_of_python_is_read_from_what_made_the_environment(
    tmp_path: Path, files: dict[str, bytes], python: str
) -> None:
    write_tree(tmp_path, files | package("a", "1"))
    found, _ = locked(tmp_path)
    assert found is not None
    assert found.python == python


def test_a_directory_that_is_no_environment_is_said(tmp_path: Path) -> None:
    assert locked(tmp_path) == (None, ["packages: no Python environment is found where one should be"])


def test_too_many_packages_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES_MAXIMUM", 1)
    write_tree(tmp_path, {"pyvenv.cfg": VENV, **package("a", "1"), **package("b", "1")})
    found, notes = locked(tmp_path)
    assert found is None
    assert notes[0].startswith("packages: there are too many")


def test_the_packages_of_this_process_are_those_that_it_can_import() -> None:
    found, notes = locked(None)
    assert notes == []
    assert found is not None
    first, *lines = found.text.splitlines()
    assert first == f"# {platform.python_implementation()} {platform.python_version()}"
    assert f"grpcio=={importlib.metadata.version('grpcio')}" in lines
    names = [re.split("==| @", line)[0] for line in lines]
    assert names == sorted(set(names))
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert sys.prefix not in found.text
    assert found == locked(None)[0]


def test_where_a_process_was_started_makes_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = locked(None)[0]
    write_tree(tmp_path, {"mine.egg-info/PKG-INFO": b"Name: mine\nVersion: 1\n"})
    monkeypatch.chdir(tmp_path)
    for first in ("", str(tmp_path)):
        monkeypatch.setattr(sys, "path", [first, *sys.path[1:]])
        assert locked(None)[0] == before


@pytest.mark.parametrize("mark", ["pipx_metadata.json", "uv-receipt.toml"])
def test_the_environment_of_a_tool_is_not_that_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    tool, model = write_tree(tmp_path / "tool", {mark: b""}), write_tree(tmp_path / "model", {})
    model.mkdir()
    monkeypatch.setattr(sys, "prefix", str(tool))
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    assert environment.active() is None
    found, notes = locked(environment.active())
    assert found is None
    assert "activate" in notes[0]
    monkeypatch.setenv("CONDA_PREFIX", str(model))
    assert environment.active() == model


def test_an_environment_of_a_project_outranks_an_activated_one_and_all_users_python_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", "/opt/project")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert environment.active() is None
    monkeypatch.setattr(sys, "prefix", "/usr")
    assert environment.active() == tmp_path
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "gone"))
    assert environment.active() is None
