"""What the path of a file in a version may look like: relative, normalized, never out of its directory."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from steelyard_server.core.names import DEVICES, quoted
from steelyard_server.errors import InvalidFilePath
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_all(paths: Iterable[str], *, field: str) -> None:
    """Check every path, and that no two would meet on a file system that ignores letter case.

    Raises:
        InvalidFilePath: a path is wrong by itself, appears twice, or is the directory of another.
    """
    seen: dict[str, str] = {}
    directories: set[str] = set()
    for path in paths:
        check(path, field=field)
        folded = _fold(path)
        if folded in seen:
            raise _refuse(path, f"is there twice (letter case aside: {quoted(seen[folded])})", field=field)
        seen[folded] = path
        parts = folded.split("/")
        directories.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    for folded in directories & seen.keys():
        raise _refuse(seen[folded], "is a file and a directory of another file", field=field)


def check(path: str, *, field: str) -> str:
    """Check one path by itself."""
    if not path:
        raise _refuse(path, "is empty", field=field)
    if len(path.encode()) > LIMITS.file_path_bytes:
        raise _refuse(path, f"has more than {LIMITS.file_path_bytes} bytes", field=field)
    if path.startswith("/") or "\\" in path:
        raise _refuse(path, "is not a relative path with forward slashes", field=field)
    if not path.isascii() and not unicodedata.is_normalized("NFC", path):
        raise _refuse(path, "is not in Unicode normalization form C", field=field)
    if not path.isprintable() and any(unicodedata.category(c) in {"Cc", "Zl", "Zp"} for c in path):
        raise _refuse(path, "holds control characters", field=field)
    for part in path.split("/"):
        _check_part(part, path=path, field=field)
    return path


def _check_part(part: str, *, path: str, field: str) -> None:
    if part in {"", ".", ".."}:
        raise _refuse(path, f"has the part {quoted(part)}", field=field)
    if part[-1] in " .":
        raise _refuse(path, "has a part that ends in a space or a dot", field=field)
    if len(part.encode()) > LIMITS.file_path_part_bytes:
        raise _refuse(path, f"has a part of more than {LIMITS.file_path_part_bytes} bytes", field=field)
    if part.partition(".")[0].lower() in DEVICES or (part[1:2] == ":" and part[0].isalpha()):
        raise _refuse(path, "has a part that means a device on Windows", field=field)


def _fold(path: str) -> str:
    folded = path.casefold()
    return folded if folded.isascii() else unicodedata.normalize("NFC", folded)


def _refuse(path: str, why: str, *, field: str) -> InvalidFilePath:
    return InvalidFilePath(f"The file path {quoted(path)} {why}.", field=field, path=quoted(path))
