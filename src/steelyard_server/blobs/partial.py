"""A partial upload on a disk: the file `uploads/<key>` and its marks, `uploads/<key>.crc`."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from isal.isal_zlib import crc32

from steelyard_server.blobs import disk
from steelyard_server.blobs.blocks import BLOCK_BYTES
from steelyard_server.blobs.marks import Mark, MarkLog
from steelyard_server.blobs.uploads import Partial

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard_server.blobs.shelf import Shelf

# Little enough for a sync to wait for, much enough to be written in one piece.
WRITE_OUT_BYTES: Final = 8 << 20


class FilePartial(Partial):
    """A partial upload in files, which are made with its first byte and with its first mark.

    Args:
        path: where its bytes are.
        shelf: where it is published.
        reserve_bytes: room on the disk to leave alone.
    """

    def __init__(
        self, path: Path, *, shelf: Shelf, reserve_bytes: int, durable_offset: int = 0, touch_time: float = 0.0
    ) -> None:
        super().__init__(durable_offset=durable_offset, touch_time=touch_time)
        self._path = path
        self._shelf = shelf
        self._reserve_bytes = reserve_bytes
        self._marks = MarkLog(marks_path(path))
        self._found: dict[int, list[tuple[int, Mark]]] | None = None
        self._file = -1
        self._written_out = 0
        self._has_durable_name = False

    def open(self, *, size_bytes: int) -> None:
        """Find the marks of a blob of this size."""
        if self.durable_offset:
            try:
                marks = self._marks.open(size_bytes=size_bytes)
                self._file = os.open(self._path, os.O_RDWR)
            except FileNotFoundError:
                marks = []
            self._found = {}
            for count, mark in enumerate(marks, start=1):
                self._found.setdefault((mark.end - 1) // BLOCK_BYTES, []).append((count, mark))
            if not marks:
                self.remove()
        self.reset(size_bytes=size_bytes)

    def recover_block(self) -> bool:
        """Take what is sound of one block; at the end cut off the rest and make what was taken durable."""
        if self._found is None:
            return False
        block = memoryview(b"")
        # A sector that cannot be read is damage like any other: the bytes are sent again.
        with suppress(OSError):
            block = memoryview(os.pread(self._file, BLOCK_BYTES, self.offset))
        for count, mark in reversed(self._found.get(self.offset // BLOCK_BYTES, [])):
            length = mark.end - self.offset
            if length <= len(block) and crc32(block[:length]) == mark.crc:
                self.take(block[:length])
                self._marks.keep(count, end=mark.end)
                if length == BLOCK_BYTES:
                    return True
                break
        self._end_recovery()
        return False
