"""The file of a bundle: a tar with an index of all members at its end, written once and read strictly."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from steelyard.errors import BundleInvalid

if TYPE_CHECKING:
    from steelyard.progress import Meter

ABOUT, MODELS, VERSIONS = "bundle.json", "models.jsonl", "versions.jsonl"
EVALUATIONS, EVENTS, INDEX = "evaluations.jsonl", "events.jsonl", "index.jsonl"
# What comes before the blobs.
HEAD = (ABOUT, MODELS, VERSIONS, EVALUATIONS, EVENTS)
BLOBS = "blobs/sha256/"
# A manifest has 3 MiB at most, and JSON escapes some of its characters.
LINE_BYTES_MAXIMUM = 8 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
_BLOB = re.compile(re.escape(BLOBS) + r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Member:
    """A part of a bundle; *offset_bytes* is where its data begins in the file."""

    name: str
    size_bytes: int
    sha256: str
    offset_bytes: int

    @property
    def label(self) -> str:
        """Name it in short, for people."""
        return self.name.removeprefix("blobs/")[:19]

    def entry(self) -> bytes:
        """Write its line of the index."""
        return line({"name": self.name, "size_bytes": str(self.size_bytes), "sha256": self.sha256})


def line(facts: object) -> bytes:
    """Write *facts* as a line of JSON."""
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def blob_name(digest: str) -> str:
    """Return the name of the member that has the bytes of a digest."""
    return BLOBS + digest.removeprefix("sha256:")


@dataclass(slots=True)
class Writer:
    """Writes a bundle into a file that can be sought in.

    Attributes:
        members: those that are complete.
    """

    file: BinaryIO
    members: list[Member] = field(default_factory=list)

    @contextmanager
    def member(self, name: str) -> Iterator[Callable[[bytes | memoryview], object]]:
        """Give a function that appends to the member *name*, which is complete when the block ends."""
        begin = self.file.tell() + BLOCK_BYTES
        hasher = hashlib.sha256()

        def write(data: bytes | memoryview) -> None:
            hasher.update(data)
            self.file.write(data)

        self.file.write(bytes(BLOCK_BYTES))
        yield write
        end = self.file.tell()
        self.file.write(bytes(-end % BLOCK_BYTES))
        size_bytes = end - begin
        self.file.seek(begin - BLOCK_BYTES)
        self.file.write(_header(name, size_bytes=size_bytes))
        self.file.seek(0, 2)
        self.members.append(Member(name, size_bytes, hasher.hexdigest(), begin))

    def end(self) -> None:
        """Write the index of all members, and what ends a tar."""
        listed = tuple(self.members)
        with self.member(INDEX) as write:
            for member in listed:
                write(member.entry())
            write(line({"count": str(len(listed))}))
        self.file.write(END)


def checked(file: BinaryIO, *, meter: Meter) -> dict[str, Member]:
    """Return the members of a bundle by name, without the index, after every byte of it was checked.

    Raises:
        BundleInvalid: it is cut, was changed, or has what no bundle has.
    """
    file.seek(0)
    members: dict[str, Member] = {}
    while INDEX not in members:
        member = _member(file, before=members, meter=meter)
        members[member.name] = member
    if file.read(len(END) + 1) != END:
        raise _cut("something follows its index, or its end is missing")
    _check_index(list(members.values()))
    del members[INDEX]
    return members


def lines(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield the lines of a member.

    Raises:
        BundleInvalid: a line is too long, or the last one has no end.
    """
    offset, end = member.offset_bytes, member.offset_bytes + member.size_bytes
    while offset < end:
        file.seek(offset)
        found = file.readline(min(end - offset, LINE_BYTES_MAXIMUM + 1))
        if not found.endswith(b"\n"):
            limit = LINE_BYTES_MAXIMUM // 2**20
            raise BundleInvalid(f"{member.name} has a line of more than {limit} MiB, or one without an end.")
        yield found
        offset += len(found)


def _header(name: str, *, size_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _member(file: BinaryIO, *, before: Mapping[str, Member], meter: Meter) -> Member:
    """Read and check the next member."""
    begin = file.tell() + BLOCK_BYTES
    name, size_bytes = _read_header(file.read(BLOCK_BYTES))
    _check_name(name, before=before)
    member = Member(name, size_bytes, "", begin)
    hasher = hashlib.sha256()
    left = size_bytes
    while left:
        chunk = file.read(min(left, CHUNK_BYTES))
        if not chunk:
            raise _cut(f"it ends in the middle of {name}")
        hasher.update(chunk)
        left -= len(chunk)
        meter.add(len(chunk), file=member.label)
    padding = -size_bytes % BLOCK_BYTES
    if file.read(padding) != bytes(padding):
        raise _cut(f"what follows {name} is no padding")
    member = replace(member, sha256=hasher.hexdigest())
    if name.startswith(BLOBS) and name != BLOBS + member.sha256:
        raise BundleInvalid(f"{name} has other bytes, of sha256 {member.sha256}; the bundle was changed.")
    return member


def _read_header(block: bytes) -> tuple[str, int]:
    """Return name and size of a member, whose header says nothing else."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise _cut("a header of a member is missing or broken") from None
    if not info.isreg():
        raise BundleInvalid(f"{info.name!r} is no regular file; a bundle has nothing else.")
    if info.size < 0 or _header(info.name, size_bytes=info.size) != block:
        raise BundleInvalid(f"The header of {info.name!r} says more than name and size; it was changed.")
    return info.name, info.size


def _check_name(name: str, *, before: Mapping[str, Member]) -> None:
    """Demand that a member may follow those *before* it."""
    expected = HEAD[len(before)] if len(before) < len(HEAD) else None
    if name == (expected or INDEX):
        return
    if name in before:
        raise BundleInvalid(f"The bundle has {name} twice; it was changed.")
    if expected or _BLOB.fullmatch(name) is None:
        wanted = expected or f"{BLOBS}… or {INDEX}"
        raise BundleInvalid(f"The bundle has {name!r} where {wanted} belongs; it is none, or was changed.")


def _check_index(members: list[Member]) -> None:
    """Demand that the last member is the index of those before it."""
    *listed, index = members
    hasher = hashlib.sha256()
    for member in listed:
        hasher.update(member.entry())
    hasher.update(line({"count": str(len(listed))}))
    if index.sha256 != hasher.hexdigest():
        raise BundleInvalid("The index does not list what is there; the bundle was changed. Export it again.")


def _cut(what: str) -> BundleInvalid:
    return BundleInvalid(f"It is no bundle, or one that was cut or changed: {what}. Export it again.")
