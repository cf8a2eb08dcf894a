"""Real git repositories, made without the settings of whoever runs the tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

IDENTITY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}
ORIGIN = "https://git.example.org/risk/fraud.git"


def git(directory: Path, *arguments: str) -> str:
    """Run git and return what it prints."""
    command = ["git", "-c", "protocol.file.allow=always", "-C", str(directory), *arguments]
    environment = {**os.environ, **IDENTITY}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def repository(directory: Path, *, origin: str = ORIGIN) -> str:
    """Make a repository with one tracked file, `train.py`; its commit is that of no other directory."""
    directory.mkdir(parents=True, exist_ok=True)
    git(directory, "init", "--quiet", "--initial-branch=main")
    if origin:
        git(directory, "remote", "add", "origin", origin)
    (directory / "train.py").write_text(f"print({directory.name!r})\n")
    return commit(directory)


def commit(directory: Path) -> str:
    """Commit all there is; return the commit."""
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--allow-empty", "--message", "Train")
    return git(directory, "rev-parse", "HEAD")
