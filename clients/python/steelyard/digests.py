"""Digests of local files, remembered by path, size, time and inode so that a file is read once."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.errors import FileUnreadable

if TYPE_CHECKING:
    from steelyard.progress import Meter
    from steelyard.scan import LocalFile

CHUNK_BYTES = 1024 * 1024
# Reading a smaller file is as quick as looking it up.
REMEMBERED_BYTES_MINIMUM = 64 * 1024
# A file that changed so lately may change again within one tick of its clock.
SETTLED_SECONDS = 2.0
ENTRIES_MAXIMUM = 100_000
BUSY_SECONDS = 5.0

_TABLE = """CREATE TABLE IF NOT EXISTS digests (
    path TEXT PRIMARY KEY, inode INTEGER, size_bytes INTEGER, modify_time_ns INTEGER, digest TEXT,
    use_time REAL
)"""
_FIND = """SELECT digest FROM digests
    WHERE path = ? AND inode = ? AND size_bytes = ? AND modify_time_ns = ?"""
_PRUNE = (
    "DELETE FROM digests WHERE path IN (SELECT path FROM digests ORDER BY use_time DESC LIMIT -1 OFFSET ?)"
)


class DigestCache:
    """Remembers digests in an SQLite file, which any number of processes share.

    A file that cannot be used, whatever the cause, only costs time: everything is read again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, files: Iterable[LocalFile]) -> dict[str, str]:
        """Return by path in the version the digests that are remembered."""
        found: dict[str, str] = {}
        wanted = [file for file in files if file.size_bytes >= REMEMBERED_BYTES_MINIMUM]
        with suppress(sqlite3.Error, OSError), self._opened() as connection:
            for file in wanted:
                row = connection.execute(_FIND, (str(file.source.resolve()), *file.identity)).fetchone()
                if row is not None:
                    found[file.path] = str(row[0])
        return found

    def keep(self, digests: Iterable[tuple[LocalFile, str]]) -> None:
        """Remember digests of files that have not changed lately."""
        latest_ns = (time.time() - SETTLED_SECONDS) * 1e9
        rows = [
            (str(file.source.resolve()), *file.identity, digest, time.time())
            for file, digest in digests
            if file.size_bytes >= REMEMBERED_BYTES_MINIMUM and file.identity[2] < latest_ns
        ]
        with suppress(sqlite3.Error, OSError), self._opened() as connection:
            connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", rows)
            connection.execute(_PRUNE, (ENTRIES_MAXIMUM,))

    def forget(self, file: LocalFile) -> None:
        """Forget a digest that turned out wrong."""
        with suppress(sqlite3.Error, OSError), self._opened() as connection:
            connection.execute("DELETE FROM digests WHERE path = ?", (str(file.source.resolve()),))

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS)
        with closing(connection), connection:
            connection.execute(_TABLE)
            yield connection


def digest_of(file: LocalFile, *, meter: Meter) -> str:
    """Read a file and return its digest.

    Raises:
        FileChanged: it is not the one that was found.
        FileUnreadable: it cannot be read.
    """
    hasher = hashlib.sha256()
    try:
        with file.source.open("rb", buffering=0) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                hasher.update(chunk)
                meter.add(len(chunk), file=file.path)
            file.require_unchanged(os.fstat(stream.fileno()))
    except OSError as error:
        raise FileUnreadable(f"{file.source} cannot be read: {error.strerror}.") from None
    return f"sha256:{hasher.hexdigest()}"
