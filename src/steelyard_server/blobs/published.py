"""Published blobs: `sha256/ab/cd/<hex>`, and `<hex>.crc` beside those of more than one block.

A visible blob is whole, durable and has its checks: bytes and checks are synced before they get
their names, checks get theirs first, and the directory is synced before anybody hears of it.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from steelyard_server.blobs import disk
from steelyard_server.blobs.blocks import BLOCK_BYTES, SUM, BlockReader, BlockSums, corrupt, hexadecimal, lost
from steelyard_server.errors import DataLoss

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from steelyard_server.blobs.damage import Damage


class PublishedFiles:
    """The blobs below one directory. Any number of threads may call it."""

    def __init__(self, root: Path, *, damage: Damage) -> None:
        self._root = root
        self._damage = damage
        # Directories whose names are known to be durable.
        self._durable: set[Path] = set()

    def path(self, digest: str) -> Path:
        """Return where a blob is, or would be.

        Raises:
            DigestInvalid: *digest* is malformed.
        """
        digits = hexadecimal(digest)
        return self._root / digits[:2] / digits[2:4] / digits

    def open(self, digest: str, *, size_bytes: int) -> FileReader:
        """Open a blob for reading, whatever was noted about it.

        Raises:
            BlobLost, BlobCorrupt, DigestInvalid, StorageUnavailable: see the store.
        """
        return FileReader(self.path(digest), digest=digest, size_bytes=size_bytes, damage=self._damage)

    def publish(self, file: Path, *, digest: str, size_bytes: int, sums: BlockSums) -> None:
        """Give a synced and verified file its name, in place of one that has it.

        The bytes there may be damaged, these were just verified. Whoever reads the other file goes on
        in it. Two threads may publish the same blob at once; the later replaces the same bytes.

        Raises:
            OSError: it may or may not be visible; it is not promised to be durable.
        """
        path = self.path(digest)
        new = self.make_directories({path.parent})
        if size_bytes > BLOCK_BYTES:
            _publish_sums(sums, beside=file, path=sums_path(path))
        file.rename(path)
        self.sync_names({path.parent}, new=new)
        self.note_durable([digest])

    def make_directories(self, directories: set[Path]) -> set[Path]:
        """Make directories of blobs, and return those whose own names are not known to be durable."""
        new = {level for directory in directories for level in (directory.parent, directory)} - self._durable
        for directory in sorted(new):
            directory.mkdir(mode=0o700, exist_ok=True)
        return new

    def sync_names(self, directories: set[Path], *, new: set[Path]) -> None:
        """Make the names in *directories*, and those of the *new* ones, durable."""
        disk.sync_directories(directories | {directory.parent for directory in new})
        self._durable |= new

    def note_durable(self, digests: Iterable[str]) -> None:
        """Note that blobs were published, also ones that were damaged before."""
        self._damage.mend(digests)


class FileReader(BlockReader):
    """A published blob that is open for reading."""

    def __init__(self, path: Path, *, digest: str, size_bytes: int, damage: Damage) -> None:
        super().__init__(digest, size_bytes=size_bytes)
        self._path = path
        self._damage = damage
        self._file = self._sums = -1
        try:
            self._open()
        except OSError as error:
            self.close()
            raise disk.registry_error(error) from None
        except DataLoss:
            self._note_damage()
            self.close()
            raise

    def close(self) -> None:
        """Close the files."""
        for file in (self._file, self._sums):
            if file >= 0:
                os.close(file)
        self._file = self._sums = -1

    def _open(self) -> None:
        try:
            self._file = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            raise lost(self._digest) from None
        if os.fstat(self._file).st_size != self.size_bytes:
            raise lost(self._digest)
        if self.size_bytes > BLOCK_BYTES:
            try:
                self._sums = os.open(sums_path(self._path), os.O_RDONLY)
            except FileNotFoundError:
                raise corrupt(self._digest) from None

    def _drop_cached(self, offset: int, length: int) -> None:
        disk.drop_cached(self._file, offset=offset, length=length)

    def _load(self, offset: int, length: int) -> bytes:
        return self._pread(self._file, length, offset)

    def _sum(self, index: int) -> int:
        packed = self._pread(self._sums, SUM.size, index * SUM.size)
        if len(packed) != SUM.size:
            raise corrupt(self._digest)
        return int(SUM.unpack(packed)[0])

    def _note_damage(self) -> None:
        self._damage.note(self._digest)
        # Checked afterwards, so that a file that is published at this very moment has no note either.
        if self._is_replaced():
            self._damage.mend([self._digest])

    def _is_replaced(self) -> bool:
        """Return whether another file has the name that this one was found, or missed, under."""
        try:
            there = self._path.stat()
        except OSError:
            return False
        return self._file < 0 or not os.path.samestat(there, os.fstat(self._file))

    def _pread(self, file: int, length: int, offset: int) -> bytes:
        try:
            return os.pread(file, length, offset)
        except OSError as error:
            failure = disk.registry_error(error)
            # A sector that cannot be read is as good as a damaged one.
            raise (corrupt(self._digest) if error.errno == errno.EIO else failure) from None


def sums_path(path: Path) -> Path:
    """Return where the block checks of a blob are."""
    return path.with_name(f"{path.name}.crc")


def _publish_sums(sums: BlockSums, *, beside: Path, path: Path) -> None:
    temporary = beside.with_name(f"{beside.name}.sums")
    temporary.unlink(missing_ok=True)
    file = disk.create(temporary)
    try:
        disk.write_all(file, sums.pack(), offset=0)
        disk.sync(file)
    finally:
        os.close(file)
    temporary.rename(path)
    disk.sync_directory(path.parent)
