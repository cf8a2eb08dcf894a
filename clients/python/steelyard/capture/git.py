"""The commit that files come from, asked of the program git.

Nothing of it may wait for a person, a lock or the network, or run programs that a repository names.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from steelyard.capture import addresses
from steelyard.content import Source

ANSWER_SECONDS = 5.0
ANSWER_BYTES = 64 * 1024
NOT_STARTED, TOO_SLOW = -1, -2
# They send git to another repository than the one that the files lie in: hooks of git set them.
_REDIRECTIONS = {
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE",
    "GIT_PREFIX", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
}  # fmt: skip
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
_FILTERS = ("config", "--null", "--show-scope", "--get-regexp", r"^filter\..*\.(clean|process)$")
_OF_REPOSITORY = {"local", "worktree"}
# What `git lfs install --local` writes, as many a machine for builds does.
_KNOWN_FILTERS = {"git-lfs clean -- %f", "git-lfs filter-process", "git-lfs filter-process --skip"}
_STATUS = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=untracked")

Note = Callable[[str], None]


class Answer(NamedTuple):
    """What git said: at most `ANSWER_BYTES` of each stream; `cut` tells that it had more to say."""

    code: int
    out: str
    error: str
    cut: bool = False


def source(path: Path, *, note: Note) -> Source:
    """Return repository, commit and dirty flag of the repository around *path*, else around this process.

    Changes of tracked files make it dirty. Untracked files do not: a model that was just trained is one.

    Args:
        note: is told what could not be found out, and why.
    """
    for directory in dict.fromkeys((_directory(path), Path.cwd())):
        commit = _git(directory, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if not commit.error.startswith("fatal: not a git repository"):
            return _source(directory, commit, note=note)
    return Source()


def _source(directory: Path, commit: Answer, *, note: Note) -> Source:
    if commit.code:
        note(f"git commit: {_why(commit)}")
        return Source()
    return Source(
        repository=_repository(directory, note=note), commit=commit.out, dirty=_dirty(directory, note=note)
    )


def _why(commit: Answer) -> str:
    if "dubious ownership" in commit.error:
        return "the repository belongs to somebody else; add it to git's safe.directory to have it recorded"
    if commit.code == 1 and not commit.error:
        return "the repository has no commit yet"
    return commit.error.partition("\n")[0] or "git does not tell"


def _dirty(directory: Path, *, note: Note) -> bool | None:
    if why := _unsafe(directory):
        note(f"uncommitted changes: {why}")
        return None
    status = _git(directory, *_STATUS)
    if status.code:
        note(f"uncommitted changes: {status.error.partition(chr(10))[0] or 'git does not tell'}")
        return None
    return bool(status.out)


def _unsafe(directory: Path) -> str:
    """Say why git may not look at files that changed: it would run a filter that the repository names."""
    settings = _git(directory, *_FILTERS)
    if settings.code > 1 or settings.code < 0:
        return settings.error.partition("\n")[0] or "git does not tell its filters"
    found = settings.out.split("\0")
    for scope, setting in zip(found[::2], found[1::2], strict=False):
        program = setting.partition("\n")[2]
        if scope in _OF_REPOSITORY and program not in {"", *_KNOWN_FILTERS}:
            return f"git would run what the repository names as its filter, {program!r}"
    return "there are too many filters to look through" if settings.cut else ""


def _repository(directory: Path, *, note: Note) -> str:
    remote = _git(directory, "remote", "get-url", "origin")
    if remote.code:
        return ""
    repository = addresses.public(remote.out)
    if not repository:
        note("git remote: the address of origin is a local path, or cannot be written without credentials")
    return repository


def _git(directory: Path, *arguments: str) -> Answer:
    # core.fsmonitor names a program that git would run.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(directory), *arguments]
    variables = {name: value for name, value in os.environ.items() if name not in _REDIRECTIONS}
    # In files, not pipes: a child of git that lives on would keep a pipe open and us waiting.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        try:
            done = subprocess.run(  # noqa: S603  fixed arguments beside a directory
                command,
                env=variables | _QUIET,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=error,
                timeout=ANSWER_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Answer(TOO_SLOW, "", f"git did not answer within {ANSWER_SECONDS:g} seconds")
        except OSError as problem:
            return Answer(NOT_STARTED, "", f"git cannot be run ({problem.strerror})")
        is_cut = out.seek(0, os.SEEK_END) > ANSWER_BYTES
        return Answer(done.returncode, _head(out), _head(error), is_cut)


def _head(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read(ANSWER_BYTES).decode(errors="replace").strip()


def _directory(path: Path) -> Path:
    path = path.absolute()
    return path if path.is_dir() else path.parent
