"""The trash of a local store: `trash/ab/<hex>`, and `<hex>.crc` beside it where there was one.

A move is a rename on the same file system. None is synced: after a power cut bytes may be in place
again, or in the trash, and the next collection moves or removes them anew.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from steelyard_server.blobs import disk
from steelyard_server.blobs.blocks import DIGEST_PREFIX, hexadecimal
from steelyard_server.blobs.published import sums_path
from steelyard_server.blobs.store import StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from steelyard_server.blobs.published import PublishedFiles

# Files that one step of a listing has at most, a directory aside.
LISTED_FILES: Final = 1000
NAME: Final = re.compile(r"[0-9a-f]{64}(\.crc)?")


class Trash:
    """The files below one directory. Any number of threads may call it, for other blobs each."""

    def __init__(self, directory: Path, *, published: PublishedFiles) -> None:
        self._directory = directory
        self._published = published

    def put(self, digest: str) -> None:
        """Move the bytes of a blob here; the time in the trash begins now."""
        source, target = self._published.path(digest), self._path(digest)
        for directory in (self._directory, target.parent):
            directory.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            os.utime(source)
            source.rename(target)
        with suppress(FileNotFoundError):
            sums_path(source).rename(sums_path(target))

    def take_back(self, digest: str) -> None:
        """Move the bytes of a blob back, durably, unless there are some in place."""
        source, target = self._path(digest), self._published.path(digest)
        if target.exists() or not source.exists():
            return
        # Checks first: a visible blob has them.
        with suppress(FileNotFoundError):
            sums_path(source).rename(sums_path(target))
        source.rename(target)
        disk.sync_directory(target.parent)

    def empty(self, digest: str) -> int:
        """Remove the bytes of a blob from here and return how many they were."""
        freed_bytes = 0
        path = self._path(digest)
        for file in (path, sums_path(path)):
            with suppress(FileNotFoundError):
                size_bytes = file.stat().st_size
                file.unlink()
                freed_bytes += size_bytes
        return freed_bytes

    def listing(self) -> Iterator[list[StoredFile]]:
        """List what is here."""
        return listing(self._directory, depth=1) if self._directory.is_dir() else iter(())

    def _path(self, digest: str) -> Path:
        digits = hexadecimal(digest)
        return self._directory / digits[:2] / digits


def listing(root: Path, *, depth: int) -> Iterator[list[StoredFile]]:
    """List the blobs in the directories *depth* levels below *root*, some LISTED_FILES at a time.

    Checks without their blob count as the blob; what has no name of a blob is none of ours.
    """
    found: list[StoredFile] = []
    for directory in _directories(root, depth=depth):
        found += _stored(directory, prefix="".join(directory.relative_to(root).parts))
        if len(found) >= LISTED_FILES:
            yield found
            found = []
    yield found


def _directories(root: Path, *, depth: int) -> Iterator[Path]:
    if not depth:
        yield root
        return
    for name in sorted(entry.name for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)):
        yield from _directories(root / name, depth=depth - 1)


def _stored(directory: Path, *, prefix: str) -> Iterable[StoredFile]:
    files: dict[str, StoredFile] = {}
    for entry in os.scandir(directory):
        if not NAME.fullmatch(entry.name) or not entry.name.startswith(prefix):
            continue
        with suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            digest = DIGEST_PREFIX + entry.name.removesuffix(".crc")
            if digest not in files or not entry.name.endswith(".crc"):
                files[digest] = StoredFile(digest, status.st_size, status.st_mtime)
    return files.values()
