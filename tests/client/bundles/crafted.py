"""Bundles taken apart and put together again, with a correct index whatever is in them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Members = dict[str, bytes]


def members_of(path: Path) -> Members:
    """Return the members of a bundle in their order, without the index."""
    with tarfile.open(path) as tar:
        names = tar.getnames()
        assert names[-1] == "index.jsonl"
        return {name: _data(tar, name) for name in names[:-1]}


def _data(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def index_of(members: list[tuple[str, bytes]]) -> bytes:
    lines = [
        {"name": name, "size_bytes": str(len(data)), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in members
    ]
    return b"".join(
        json.dumps(each, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        for each in (*lines, {"count": str(len(lines))})
    )


def header(name: str, data: bytes, **fields: Any) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def write(path: Path, members: Members | list[tuple[str, bytes]], **headers: Mapping[str, Any]) -> Path:
    """Write a bundle; *headers* says which fields of which header, by its place, are otherwise."""
    listed = list(members.items()) if isinstance(members, dict) else members
    out = io.BytesIO()
    for place, (name, data) in enumerate([*listed, ("index.jsonl", index_of(listed))]):
        out.write(header(name, data, **headers.get(f"at{place}", {})))
        out.write(data + bytes(-len(data) % 512))
    out.write(bytes(1024))
    path.write_bytes(out.getvalue())
    return path


def edited(members: Members, name: str, edit: Callable[[Any], Any], *, line: int = 0) -> Members:
    """Return members of which one line, read as JSON, is another; None leaves it out."""
    lines = members[name].splitlines(keepends=True)
    facts = edit(json.loads(lines[line]))
    new = b"" if facts is None else json.dumps(facts).encode() + b"\n"
    return members | {name: b"".join([*lines[:line], new, *lines[line + 1 :]])}


def with_manifest(facts: Any, manifest: str) -> Any:
    """Return the line of a version that has another manifest, and the digest of that one."""
    digest = "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
    return {"version": facts["version"] | {"digest": digest}, "manifest": manifest}


def with_content(members: Members, old: str, new: str) -> Members:
    """Return members whose only version has another manifest, and everything else the digest of that."""

    def change(facts: Any) -> Any:
        return with_manifest(facts, facts["manifest"].replace(old, new))

    def point(facts: Any) -> Any:
        facts["aliases"][0]["digest"] = digest
        return facts

    members = edited(members, "versions.jsonl", change)
    digest = json.loads(members["versions.jsonl"])["version"]["digest"]
    members = edited(members, "models.jsonl", point)
    return edited(members, "evaluations.jsonl", lambda facts: facts | {"digest": digest})
