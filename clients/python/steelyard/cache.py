"""Blobs that were pulled before, by digest, so that the same bytes come over the wire once.

An entry shares its bytes with the file that was pulled (a hard link), which costs no space and no
copying. That file may be edited in place later, so an entry is checked while it is copied out.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from steelyard.download import CHUNK_BYTES, write_all

if TYPE_CHECKING:
    from steelyard.progress import Meter
    from steelyard.types import File


def cache_directory(chosen: str | Path | None) -> Path:
    """Return where caches are kept: as chosen, by a variable, or where the user's are."""
    directory = chosen or os.environ.get("STEELYARD_CACHE_DIR")
    return Path(directory) if directory else user_cache_path("steelyard", appauthor=False)


class BlobCache:
    """A directory of blobs with a limit.

    Trouble with the cache, whatever the cause, only costs time: bytes are downloaded again.

    Args:
        limit_bytes: what is used least lately is removed above this; with 0 the directory is left alone.
    """

    def __init__(self, directory: Path, *, limit_bytes: int) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes

    def take(self, file: File, target: Path, *, meter: Meter) -> bool:
        """Copy the bytes of *file* to *target*; False when they are not here, or not right any more."""
        if self._limit_bytes == 0:
            return False
        entry = self._entry(file.digest)
        shown_bytes = 0
        try:
            hasher = hashlib.sha256()
            with entry.open("rb", buffering=0) as source, target.open("wb", buffering=0) as copy:
                while chunk := source.read(CHUNK_BYTES):
                    hasher.update(chunk)
                    write_all(copy.fileno(), chunk)
                    meter.add(len(chunk), file=file.path)
                    shown_bytes += len(chunk)
            if f"sha256:{hasher.hexdigest()}" == file.digest:
                _note_use(entry)
                return True
            entry.unlink(missing_ok=True)
        except OSError:
            pass
        meter.add(-shown_bytes, file=file.path)
        return False

    def keep(self, digest: str, path: Path) -> None:
        """Keep the verified bytes at *path*, if the limit has room for them."""
        with suppress(OSError):
            if path.stat().st_size < self._limit_bytes:
                entry = self._entry(digest)
                entry.parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(path, entry)

    def shrink(self) -> None:
        """Remove what was used least lately until the limit holds."""
        total_bytes = 0
        for _, size_bytes, path in sorted(self._entries(), reverse=True):
            total_bytes += size_bytes
            if total_bytes > self._limit_bytes > 0:
                with suppress(OSError):
                    path.unlink()

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """Yield time of use, size and path of each entry."""
        for path in self._directory.glob("*/*"):
            with suppress(OSError):
                status = path.stat()
                yield status.st_atime, status.st_size, path

    def _entry(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        return self._directory / name[:2] / name


def _note_use(entry: Path) -> None:
    # The time of its last change stays: the file that was pulled shares it.
    os.utime(entry, ns=(time.time_ns(), entry.stat().st_mtime_ns))


def _link_or_copy(path: Path, entry: Path) -> None:
    with suppress(FileExistsError):
        try:
            os.link(path, entry)
        except FileExistsError:
            raise
        except OSError:  # Another file system, or one without links.
            partial = entry.with_name(f".{entry.name}.{os.getpid()}")
            shutil.copyfile(path, partial)
            partial.replace(entry)
