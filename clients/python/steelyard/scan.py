"""Find the files to push: what is left out, what is refused, and whether one changed meanwhile."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pathspec import GitIgnoreSpec

from steelyard import enums
from steelyard.errors import FileChanged, FileUnreadable, InvalidArgument, LocalFileError
from steelyard.v1 import content_pb2
from steelyard.walk import regular, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

IGNORE_FILE = ".steelyardignore"
# Written by tools into every directory and never part of a model.
DEFAULT_EXCLUDES = (
    ".git/",
    ".hg/",
    ".svn/",
    "__pycache__/",
    "*.py[co]",
    ".ipynb_checkpoints/",
    ".DS_Store",
    "Thumbs.db",
    IGNORE_FILE,
)
_WEIGHTS = (
    "onnx safetensors gguf pt pth bin h5 keras ckpt npz pkl pickle joblib tflite pb ubj cbm plan engine"
)
# Tried in this order; the first that matches the name of a file gives its role.
_ROLES = (
    ("serving-config", ("config.pbtxt", "model-settings.json", "handler.py")),
    (
        "lock",
        ("*.lock", "requirements*.txt", "conda.yaml", "conda.yml", "environment.yml", "environment.yaml"),
    ),
    (
        "preprocessing",
        ("tokenizer*", "vocab*", "merges.txt", "preprocess*", "scaler*", "special_tokens_map.json"),
    ),
    ("doc", ("README*", "LICENSE*", "*.md", "*.rst", "*.pdf", "*.html")),
    (
        "weights",
        tuple(f"*.{ending}" for ending in _WEIGHTS.split()),
    ),
    ("config", ("config*.json", "*.yaml", "*.yml", "*.toml", "*.ini", "*.cfg")),
)
_PATTERNS = tuple(
    (role, re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)))
    for role, patterns in _ROLES
)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file as it was found.

    Args:
        path: in the version.
        source: where it is.
        identity: inode, size and time of the last change; another one means another content.
        offset_bytes: where it begins in the source, of which it may be a part.
    """

    path: str
    source: Path
    size_bytes: int
    role: str
    identity: tuple[int, int, int]
    offset_bytes: int = 0

    def require_unchanged(self, found: os.stat_result | None = None) -> None:
        """Compare with the file as it is now.

        Raises:
            FileChanged: it is not the one that was found.
        """
        try:
            found = found or self.source.lstat()
        except OSError:
            found = None
        if found is None or identity_of(found) != self.identity:
            raise FileChanged(
                f"{self.source} changed while it was pushed; no version was created. Push again."
            )


@dataclass(frozen=True, slots=True)
class Scan:
    """The files below a path in the order of their paths, and what was left out."""

    files: tuple[LocalFile, ...]
    excluded: tuple[str, ...]


def scan(root: Path, *, roles: Mapping[str, str]) -> Scan:
    """Find the files at *root*, a file or a directory.

    Args:
        roles: by path; of files without one the name decides.

    Raises:
        SymlinkRefused: a symbolic link is among them.
        FileUnreadable: something cannot be read.
        InvalidArgument: a role is none, or is given to no file.
    """
    for role in roles.values():
        enums.number(content_pb2.FileRole, role)
    _require_readable(root)
    excluded: list[str] = []
    if root.is_dir() and not root.is_symlink():
        found = sorted(walk(root, left_out=_left_out(root, noted=excluded)))
    else:
        found = [(root.name, root)]
    if not found:
        raise LocalFileError(f"There is no file to push in {root}.")
    files = tuple(local_file(path, source=source, role=roles.get(path, "")) for path, source in found)
    if unknown := set(roles) - {file.path for file in files}:
        raise InvalidArgument(f"A role is given to {min(unknown)!r}, but there is no such file.")
    return Scan(files, tuple(sorted(excluded)))


def _require_readable(root: Path) -> None:
    try:
        root.lstat()
    except FileNotFoundError:
        raise FileUnreadable(f"There is nothing at {root}; name a file or directory.") from None
    except OSError as error:
        raise FileUnreadable(f"{root} cannot be read: {error.strerror}.") from None


def guess_role(path: str) -> str:
    """Return the role that the name of a file suggests."""
    name = path.rpartition("/")[2]
    return next((role for role, pattern in _PATTERNS if pattern.match(name)), "other")


def _left_out(root: Path, *, noted: list[str]) -> Callable[[str], bool]:
    """Say of each path whether it is left out, and note it if so."""
    spec = GitIgnoreSpec.from_lines((*DEFAULT_EXCLUDES, *_ignore_lines(root)))

    def left_out(path: str) -> bool:
        if matches := spec.match_file(path):
            noted.append(path)
        return matches

    return left_out


def local_file(path: str, *, source: Path, role: str = "") -> LocalFile:
    """Return the file at *source* as it is now, to be *path* in a version.

    Args:
        role: without one the name decides.

    Raises:
        SymlinkRefused: it is a symbolic link.
        FileUnreadable: it is no regular file, or cannot be read.
    """
    status = regular(source, path=path, otherwise=f"leave it out with {IGNORE_FILE}")
    return LocalFile(path, source, status.st_size, role or guess_role(path), identity_of(status))


def identity_of(status: os.stat_result) -> tuple[int, int, int]:
    """Return what changes with the content of a file."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def _ignore_lines(root: Path) -> list[str]:
    try:
        return (root / IGNORE_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnreadable(f"{root / IGNORE_FILE} cannot be read: {error}.") from None
