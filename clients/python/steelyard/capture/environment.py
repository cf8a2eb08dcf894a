"""The packages of a Python environment as a lock file: the same environment always gives the same text."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.capture import addresses

LOCK_PATH = "steelyard.lock"
PACKAGES_MAXIMUM = 10_000
SECONDS_MAXIMUM = 10.0
# Files that pipx and uv leave in an environment that holds nothing but a tool.
_TOOL_MARKS = ("pipx_metadata.json", "uv-receipt.toml")
_SITES = ("lib/python3*/site-packages", "lib64/python3*/site-packages", "Lib/site-packages")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9.!+_-]+")
_COMMIT = re.compile(r"[A-Za-z0-9._/-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file that pip installs from.

    Args:
        python: implementation and version, for example `CPython 3.11.7`.
    """

    text: str
    python: str
    packages_count: int


def active() -> Path | None:
    """Return the activated environment when this process runs in one of another purpose, or in none.

    So is the command line when it was installed by pipx, by `uv tool`, or for all of a user's projects.
    """
    here = Path(sys.prefix)
    if not _is_tool(here) and (sys.prefix != sys.base_prefix or (here / "conda-meta").is_dir()):
        return None
    named = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    return Path(named) if named and Path(named).is_dir() and Path(named) != here else None


def lock(prefix: Path | None, *, note: Note) -> Lock | None:
    """Return the packages of the environment at *prefix*, by default those that this process can import.

    The text names neither paths nor times nor indexes, and no address with credentials.

    Args:
        note: is told why there is none.
    """
    if prefix is None and _is_tool(Path(sys.prefix)):
        note("packages: steelyard runs in an environment of its own; activate the one of the model")
        return None
    python = _this_python() if prefix is None else _python_of(prefix)
    sites = _sites_of_process() if prefix is None else sorted(map(str, _sites_of(prefix)))
    if not python or not sites:
        note("packages: no Python environment is found where one should be")
        return None
    lines = _lines(importlib.metadata.distributions(path=sites), until=time.monotonic() + SECONDS_MAXIMUM)
    if lines is None:
        note(f"packages: there are too many to list ({PACKAGES_MAXIMUM:,}, {SECONDS_MAXIMUM:g} seconds)")
        return None
    text = "".join(f"{line}\n" for line in (f"# {python}", *(lines[name] for name in sorted(lines))))
    return Lock(text, python, len(lines))


def _is_tool(prefix: Path) -> bool:
    return any((prefix / mark).exists() for mark in _TOOL_MARKS)


def _this_python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def _python_of(prefix: Path) -> str:
    """Read the version of an environment's Python from what made it: venv, virtualenv, uv or conda."""
    try:
        lines = (prefix / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        found = [
            re.fullmatch(r"python-(\d+\.\d+\.\d+)-.*", each.name)
            for each in prefix.glob("conda-meta/python-*")
        ]
        return next((f"CPython {each[1]}" for each in found if each), "")
    settings = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
    version = settings.get("version") or settings.get("version_info") or ""
    number = re.match(r"\d+\.\d+\.\d+", version)
    return f"{settings.get('implementation', 'CPython')} {number[0]}" if number else ""


def _sites_of(prefix: Path) -> Iterator[Path]:
    for pattern in _SITES:
        yield from prefix.glob(pattern)


def _sites_of_process() -> list[str]:
    """Return where this process imports from, without the directory that it happens to be started in."""
    begin = 0 if sys.flags.safe_path else 1
    return [*(each for each in sys.path[:begin] if "site-packages" in each), *filter(None, sys.path[begin:])]


def _lines(found: Iterable[importlib.metadata.Distribution], *, until: float) -> dict[str, str] | None:
    """Return a line for each package by its name; None when there are too many, or it takes too long."""
    lines: dict[str, str] = {}
    for count, distribution in enumerate(found):
        if count == PACKAGES_MAXIMUM or time.monotonic() > until:
            return None
        name, version = _identity(distribution)
        if _NAME.fullmatch(name) and _VERSION.fullmatch(version):
            name = re.sub(r"[-_.]+", "-", name).lower()
            # The first on the path is the one that is imported.
            lines.setdefault(name, _line(name, version, origin=_origin(distribution)))
    return lines


def _identity(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    """Return what a package calls itself, and its version; empty where it does not say."""
    try:
        metadata: Any = distribution.metadata
    except (OSError, UnicodeDecodeError):
        metadata = None
    return (str(metadata.get("Name", "")), str(metadata.get("Version", ""))) if metadata else ("", "")


def _origin(distribution: importlib.metadata.Distribution) -> dict[str, Any]:
    """Return what PEP 610 records of a package that did not come from an index."""
    try:
        found = json.loads(distribution.read_text("direct_url.json") or "{}")
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _line(name: str, version: str, *, origin: dict[str, Any]) -> str:
    if not origin:
        return f"{name}=={version}"
    address = addresses.public(str(origin.get("url", "")))
    revision, archive = origin.get("vcs_info"), origin.get("archive_info")
    if address and isinstance(revision, dict) and _COMMIT.fullmatch(commit := str(revision.get("commit_id"))):
        return f"{name} @ git+{address}@{commit}"
    if address and isinstance(archive, dict):
        return f"{name} @ {address}{_fragment(archive)}"
    return f"{name}=={version}  # not from an index"


def _fragment(archive: dict[str, Any]) -> str:
    hashes = archive.get("hashes")
    digest = str(hashes.get("sha256")) if isinstance(hashes, dict) else ""
    digest = digest or str(archive.get("hash", "")).removeprefix("sha256=")
    return f"#sha256={digest}" if _SHA256.fullmatch(digest) else ""
