"""The files of a version as its manifest names them, checked against the digest of the version."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from steelyard.errors import DownloadCorrupt, UnsafePath
from steelyard.types import File

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard.types import Version

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def files(encoded: bytes, *, version: Version) -> tuple[File, ...]:
    """Return the files that a manifest names, in the order of their paths.

    Raises:
        DownloadCorrupt: it is not the manifest of *version*, or none at all.
        UnsafePath: a path leads out of a directory, or two mean the same file.
    """
    if f"sha256:{hashlib.sha256(encoded).hexdigest()}" != version.digest:
        raise DownloadCorrupt(f"The manifest that arrived is not that of {version}, {version.digest}.")
    try:
        found = tuple(map(_file, json.loads(encoded)["files"]))
        _require_safe(file.path for file in found)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise DownloadCorrupt(
            f"The manifest of {version} cannot be read; ask who runs the server whether it is a Steelyard."
        ) from None
    return found


def _file(member: dict[str, Any]) -> File:
    digest, uri = member.get("digest", ""), member.get("uri", "")
    # Bytes are kept here under their digests, so another text there could name any file of this machine.
    if not uri and _DIGEST.fullmatch(digest) is None:
        raise ValueError(digest)
    return File(
        path=member["path"],
        digest=digest,
        size_bytes=int(member["size_bytes"]),
        role=member.get("role", "other").lower().replace("_", "-"),
        uri=uri,
    )


def _require_safe(paths: Iterable[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        parts = path.split("/")
        is_text = path.encode(errors="ignore").decode() == path
        if {"", ".", ".."} & set(parts) or "\0" in path or "\\" in path or not is_text:
            raise UnsafePath(
                f"The version has the path {path!r}, which leads out of a directory or is none; "
                "it is refused."
            )
        if path.casefold() in seen:
            raise UnsafePath(f"The version has the path {path!r} twice, letter case aside; it is refused.")
        seen.add(path.casefold())
