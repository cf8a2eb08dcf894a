"""The files of a version as its manifest names them, checked against the digest of the version."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from steelyard.errors import DownloadCorrupt, UnsafePath
from steelyard.types import File

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard.types import Version


def files(encoded: bytes, *, version: Version) -> tuple[File, ...]:
    """Return the files that a manifest names, in the order of their paths.

    Raises:
        DownloadCorrupt: it is not the manifest of *version*.
        UnsafePath: a path leads out of a directory, or two mean the same file.
    """
    if f"sha256:{hashlib.sha256(encoded).hexdigest()}" != version.digest:
        raise DownloadCorrupt(f"The manifest that arrived is not that of {version}, {version.digest}.")
    found = tuple(map(_file, json.loads(encoded)["files"]))
    _require_safe(file.path for file in found)
    return found


def _file(member: dict[str, Any]) -> File:
    return File(
        path=member["path"],
        digest=member.get("digest", ""),
        size_bytes=int(member["size_bytes"]),
        role=member.get("role", "other").lower().replace("_", "-"),
        uri=member.get("uri", ""),
    )


def _require_safe(paths: Iterable[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        parts = path.split("/")
        if PurePosixPath(path).is_absolute() or {"", ".", ".."} & set(parts) or "\0" in path or "\\" in path:
            raise UnsafePath(
                f"The version has the path {path!r}, which leads out of a directory; it is refused."
            )
        if path.casefold() in seen:
            raise UnsafePath(f"The version has the path {path!r} twice, letter case aside; it is refused.")
        seen.add(path.casefold())
