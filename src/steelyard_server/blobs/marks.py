"""The log beside a partial upload: checks by which a resume tells which of its bytes are sound.

The first record holds the declared size, each other one a *mark*: an offset, and the CRC of the
bytes between the block border before it and it. There is a mark at the end of each block, and one
wherever a flush ended. Records have 12 bytes, big-endian; they are appended in the order of their
offsets and never changed, so what a flush made durable stays so whatever is cut off later.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from isal.isal_zlib import crc32

from steelyard_server.blobs import disk
from steelyard_server.blobs.blocks import BLOCK_BYTES, BlockSums

if TYPE_CHECKING:
    from pathlib import Path

RECORD: Final = struct.Struct(">QI")


class Mark(NamedTuple):
    """Say which CRC the bytes of a block have up to `end`."""

    end: int
    crc: int


class MarkLog:
    """The log of one partial upload. Made with the first mark; reading it is up to `open`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._count = self._durable_count = 0
        self._end = 0

    def open(self, *, size_bytes: int) -> list[Mark]:
        """Return the marks of a log that is there, none if it was made for another size.

        Raises:
            FileNotFoundError: there is no log.
        """
        self._file = os.open(self._path, os.O_RDWR)
        records = os.pread(self._file, os.fstat(self._file).st_size, 0)
        whole = len(records) // RECORD.size * RECORD.size
        marks = [Mark(*fields) for fields in RECORD.iter_unpack(records[:whole])]
        return marks[1:] if marks[:1] == [_header(size_bytes)] else []

    def append(self, sums: BlockSums, *, size_bytes: int, with_rest: bool) -> None:
        """Write the marks that *sums* has and the log has not.

        Args:
            size_bytes: declared size of the blob.
            with_rest: also one for the bytes behind the last full block.
        """
        first = self._end // BLOCK_BYTES
        marks = [Mark((i + 1) * BLOCK_BYTES, sums.full[i]) for i in range(first, len(sums.full))]
        if with_rest and sums.rest_bytes:
            marks.append(Mark(len(sums.full) * BLOCK_BYTES + sums.rest_bytes, sums.rest))
        if self._file < 0:
            self._file = disk.create(self._path)
        self._write(marks if self._count else [_header(size_bytes), *marks])
        self._count += len(marks)
        self._end = marks[-1].end if marks else self._end

    def sync(self) -> None:
        """Make the marks durable."""
        disk.sync(self._file)
        self._durable_count = self._count

    def keep(self, count: int, *, end: int) -> None:
        """Cut off all but the first marks.

        Args:
            count: how many to keep.
            end: where the last of them ends.
        """
        os.ftruncate(self._file, RECORD.size * (1 + count))
        self._count, self._end = count, end

    def keep_durable(self, *, end: int) -> None:
        """Cut off the marks that came after the last sync, which ended at *end*."""
        self.keep(self._durable_count, end=end)

    def close(self) -> None:
        """Close the file; the log can be opened again."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
        self._count = self._durable_count = self._end = 0

    def _write(self, marks: list[Mark]) -> None:
        records = b"".join(RECORD.pack(*mark) for mark in marks)
        offset = RECORD.size * (1 + self._count) if self._count else 0
        disk.write_all(self._file, records, offset=offset)


def last_end(path: Path) -> int:
    """Return where the last mark of a log ends, 0 if it has none."""
    with path.open("rb") as file:
        count = os.fstat(file.fileno()).st_size // RECORD.size
        if count < 2:  # noqa: PLR2004 - the header and one mark
            return 0
        end, _ = RECORD.unpack(os.pread(file.fileno(), RECORD.size, (count - 1) * RECORD.size))
        return int(end)


def _header(size_bytes: int) -> Mark:
    return Mark(size_bytes, crc32(size_bytes.to_bytes(8, "big")))
