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

    from steelyard_server.blobs.published import PublishedFiles

# Little enough for a sync to wait for, much enough to be written in one piece.
WRITE_OUT_BYTES: Final = 8 << 20


class FilePartial(Partial):
    """A partial upload in files, which are made with its first byte and with its first mark.

    Args:
        path: where its bytes are.
        published: where it is published.
        reserve_bytes: room on the disk to leave alone.
    """

    def __init__(
        self,
        path: Path,
        *,
        published: PublishedFiles,
        reserve_bytes: int,
        durable_offset: int = 0,
        touch_time: float = 0.0,
    ) -> None:
        super().__init__(durable_offset=durable_offset, touch_time=touch_time)
        self._path = path
        self._published = published
        self._reserve_bytes = reserve_bytes
        self._marks = MarkLog(marks_path(path))
        self._found: dict[int, list[tuple[int, Mark]]] | None = None
        self._file = -1
        self._written_out = 0
        self._sound_marks = 0
        self._has_durable_names = False

    def open(self, *, size_bytes: int) -> None:
        """Find the marks of a blob of this size."""
        marks = self._open_files(size_bytes=size_bytes) if self.durable_offset else []
        if self.durable_offset and not marks:
            self.remove()
        self.reset(size_bytes=size_bytes)
        self._found = _by_block(marks) if marks else None

    def recover_block(self) -> bool:
        """Take what is sound of one block; at the end cut off the rest and make what was taken durable."""
        if self._found is None:
            return False
        if self._take_sound(self._found.get(self.offset // BLOCK_BYTES, [])) == BLOCK_BYTES:
            return True
        self._keep_sound()
        return False

    def require_room(self) -> None:
        """Compare what is missing with what is free."""
        missing_bytes = self.size_bytes - self.offset
        if missing_bytes > disk.free_bytes(self._path.parent) - self._reserve_bytes:
            raise disk.full()

    def write(self, data: memoryview) -> None:
        """Append bytes, and now and then start their way to the disk."""
        if self._file < 0:
            self._file = disk.create(self._path)
        disk.write_all(self._file, data, offset=self.offset)
        self.take(data)
        length = self.offset - self._written_out
        if length >= WRITE_OUT_BYTES:
            disk.start_write_out(self._file, offset=self._written_out, length=length)
            self._written_out = self.offset
            self._marks.append(self.sums, size_bytes=self.size_bytes, with_rest=False)

    def flush(self) -> None:
        """Sync bytes and marks, and their names the first time."""
        if self._found is not None or self.offset <= self.durable_offset:
            return
        try:
            self._marks.append(self.sums, size_bytes=self.size_bytes, with_rest=True)
            self._sync()
        except OSError:
            self._give_back()
            raise
        self.durable_offset = self.offset

    def publish(self, digest: str) -> None:
        """Sync the bytes, move them to the published ones, and drop the marks."""
        if self._file < 0:
            self._file = disk.create(self._path)
        try:
            disk.sync(self._file)
        except OSError:
            self._give_back()
            raise
        try:
            self._published.publish(self._path, digest=digest, size_bytes=self.size_bytes, sums=self.sums)
        except OSError:
            # With its name the file may be what another upload of the blob was told is durable: never cut it.
            if not self._path.exists():
                self.remove()
            raise
        self.remove()

    def release(self) -> None:
        """Close the files; delete them when nothing in them is durable."""
        if self.durable_offset == 0:
            self.remove()
            return
        self._close()

    def remove(self) -> None:
        """Close and delete the files."""
        self._close()
        self.durable_offset = 0
        self._has_durable_names = False
        self._path.unlink(missing_ok=True)
        marks_path(self._path).unlink(missing_ok=True)

    def _open_files(self, *, size_bytes: int) -> list[Mark]:
        try:
            self._file = os.open(self._path, os.O_RDWR)
            return self._marks.open(size_bytes=size_bytes)
        except FileNotFoundError:
            return []

    def _take_sound(self, marks: list[tuple[int, Mark]]) -> int:
        """Take the bytes of the block at `offset` up to its last mark that holds; return how many."""
        block = memoryview(b"")
        # A sector that cannot be read is damage like any other: its bytes are asked for again.
        with suppress(OSError):
            block = memoryview(os.pread(self._file, BLOCK_BYTES, self.offset))
        for count, mark in reversed(marks):
            length = mark.end - self.offset
            if length <= len(block) and crc32(block[:length]) == mark.crc:
                self._sound_marks = count
                self.take(block[:length])
                return length
        return 0

    def _keep_sound(self) -> None:
        if self.offset == 0:
            size_bytes = self.size_bytes
            self.remove()
            self.reset(size_bytes=size_bytes)
            return
        os.ftruncate(self._file, self.offset)
        self._marks.keep(self._sound_marks, end=self.offset)
        self._sync()
        self.durable_offset = self._written_out = self.offset
        self._found = None

    def _sync(self) -> None:
        disk.sync(self._file)
        self._marks.sync()
        if not self._has_durable_names:
            disk.sync_directory(self._path.parent)
            self._has_durable_names = True

    def _give_back(self) -> None:
        """Cut off what is not durable: after a failed sync nobody knows what of it reached the disk."""
        self.offset = self.durable_offset
        with suppress(OSError):
            os.ftruncate(self._file, self.durable_offset)
        with suppress(OSError):
            self._marks.keep_durable(end=self.durable_offset)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
        self._marks.close()
        self._found = None
        self._written_out = 0
        self.reset(size_bytes=-1)


def _by_block(marks: list[Mark]) -> dict[int, list[tuple[int, Mark]]]:
    """Sort marks to the blocks they end in, each with the number of marks up to it."""
    found: dict[int, list[tuple[int, Mark]]] = {}
    for count, mark in enumerate(marks, start=1):
        found.setdefault((mark.end - 1) // BLOCK_BYTES, []).append((count, mark))
    return found


def marks_path(path: Path) -> Path:
    """Return where the marks of a partial upload are."""
    return path.with_name(f"{path.name}.crc")
