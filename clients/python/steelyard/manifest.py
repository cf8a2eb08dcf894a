"""What a manifest says: the files of a version, checked against its digest, and its whole content."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from steelyard import enums
from steelyard.errors import DownloadCorrupt, InvalidArgument, UnsafePath
from steelyard.types import File
from steelyard.v1 import content_pb2 as pb

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
        require_safe(file.path for file in found)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise DownloadCorrupt(
            f"The manifest of {version} cannot be read; ask who runs the server whether it is a Steelyard."
        ) from None
    return found


def content(encoded: bytes) -> pb.Content:
    """Return the content that a manifest describes, as requests have it.

    Raises:
        ValueError: it is no manifest.
    """
    try:
        members = json.loads(encoded)
        return pb.Content(
            files=map(_file_message, members["files"]),
            parameters=map(_parameter, members.get("parameters", ())),
            metrics=map(_metric, members.get("metrics", ())),
            datasets=[pb.Dataset(**each) for each in members.get("datasets", ())],
            parents=map(_parent, members.get("parents", ())),
            source=pb.Source(**members["source"]) if "source" in members else None,
            framework=pb.Framework(**members["framework"]) if "framework" in members else None,
            schema=_schema(members["schema"]) if "schema" in members else None,
        )
    except (AttributeError, LookupError, RecursionError, TypeError, InvalidArgument) as error:
        raise ValueError(f"the manifest cannot be read: {error}") from None


def require_safe(paths: Iterable[str]) -> None:
    """Demand that all *paths* of a version stay in a directory, each in a place of its own.

    Raises:
        UnsafePath: one of them does not.
    """
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


def _file_message(member: dict[str, Any]) -> pb.File:
    role = enums.number(pb.FileRole, member.get("role", "other"))
    return pb.File(**(member | {"size_bytes": int(member["size_bytes"]), "role": role}))


def _parameter(member: dict[str, Any]) -> pb.Parameter:
    numbers: dict[str, Any] = {}
    if "integer" in member:
        numbers["integer"] = int(member["integer"])
    if "real" in member:
        numbers["real"] = float(member["real"])
    return pb.Parameter(**(member | numbers))


def _metric(member: dict[str, Any]) -> pb.Metric:
    return pb.Metric(**(member | {"value": float(member["value"])}))


def _parent(member: dict[str, Any]) -> pb.Parent:
    relation = enums.number(pb.ParentRelation, member["relation"])
    return pb.Parent(**(member | {"relation": relation}))


def _schema(member: dict[str, Any]) -> pb.Schema:
    sides = {
        side: [pb.SchemaField(**(each | {"shape": map(int, each.get("shape", ()))})) for each in member[side]]
        for side in member
    }
    return pb.Schema(**sides)


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
