"""A blob store in this process, under the same rules as the others; what it keeps ends with it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from steelyard_server.blobs import batch
from steelyard_server.blobs.blocks import BLOCK_BYTES, SUM, BlockReader, BlockSums, corrupt, hexadecimal, lost
from steelyard_server.blobs.store import StoredFile
from steelyard_server.blobs.uploads import Partial, Uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from steelyard_server.blobs.store import BlobReader, Upload


class MemoryStore:
    """Keep blobs as bytes, with the checks of their blocks.

    Args:
        blobs: by digest the bytes, and the packed checks of their blocks.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, tuple[bytearray, bytes]] = {}
        # By digest, whether it is quarantined too.
        self._damaged: dict[str, bool] = {}
        self._trash: dict[str, tuple[tuple[bytearray, bytes], float]] = {}
        self._uploads = Uploads(lambda _: MemoryPartial(self.blobs, damaged=self._damaged))

    def begin_upload(self, key: str) -> Upload:
        """Take the upload of this key."""
        return self._uploads.begin(key)

    def put(self, blobs: Mapping[str, bytes]) -> None:
        """Store small blobs whole."""
        batch.require_right(blobs)
        for digest, data in blobs.items():
            hexadecimal(digest)
            sums = BlockSums()
            sums.update(memoryview(data))
            self.blobs[digest] = (bytearray(data), sums.pack())
            self._damaged.pop(digest, None)

    def held_bytes(self, key: str) -> int:
        """Return how many bytes of a partial upload are durable."""
        return self._uploads.held_bytes(key)

    def open(self, digest: str, *, size_bytes: int) -> BlobReader:
        """Open a blob for reading."""
        reader = self._open(digest, size_bytes=size_bytes)
        if self._damaged.get(digest):
            raise corrupt(digest)
        return reader

    def verify(self, digest: str, *, size_bytes: int, pace: Callable[[int], None]) -> None:
        """Read a blob whole and compare it with its digest."""
        self._open(digest, size_bytes=size_bytes).verify(pace)

    def _open(self, digest: str, *, size_bytes: int) -> MemoryReader:
        hexadecimal(digest)
        data, sums = self.blobs.get(digest, (bytearray(), b""))
        if digest not in self.blobs or len(data) != size_bytes:
            self.note_damage(digest)
            raise lost(digest)
        return MemoryReader(digest, data=data, sums=sums, store=self)

    def contains(self, digest: str) -> bool:
        """Return whether a blob is there."""
        hexadecimal(digest)
        return digest in self.blobs

    def note_damage(self, digest: str, *, quarantine: bool = False) -> None:
        """Count a blob as missing until it is uploaded again."""
        hexadecimal(digest)
        self._damaged[digest] = quarantine or self._damaged.get(digest, False)

    def note_sound(self, digest: str) -> None:
        """Take back `note_damage`."""
        self._damaged.pop(digest, None)

    def is_damaged(self, digest: str) -> bool:
        """Return whether a blob counts as missing."""
        return digest in self._damaged

    def listing(self) -> Iterator[list[StoredFile]]:
        """List all blobs; how old they are is not kept."""
        yield [StoredFile(digest, len(data), 0.0) for digest, (data, _) in self.blobs.items()]

    def trash_listing(self) -> Iterator[list[StoredFile]]:
        """List what is in the trash."""
        yield [StoredFile(digest, len(blob[0]), since) for digest, (blob, since) in self._trash.items()]

    def put_in_trash(self, digests: Iterable[str]) -> None:
        """Take bytes out of place and keep them in the trash."""
        for digest in digests:
            hexadecimal(digest)
            if blob := self.blobs.pop(digest, None):
                self._trash[digest] = (blob, time.time())

    def take_from_trash(self, digests: Iterable[str]) -> None:
        """Put bytes from the trash in place again."""
        for digest in digests:
            hexadecimal(digest)
            if digest not in self.blobs and digest in self._trash:
                self.blobs[digest], _ = self._trash.pop(digest)

    def empty_trash(self, digests: Iterable[str]) -> int:
        """Remove bytes from the trash for good."""
        freed_bytes = 0
        for digest in digests:
            hexadecimal(digest)
            if blob := self._trash.pop(digest, None):
                freed_bytes += len(blob[0][0])
            if digest not in self.blobs:
                self._damaged.pop(digest, None)
        return freed_bytes

    def free_bytes(self) -> int:
        """Let memory be the limit."""
        return sys.maxsize

    def expire_uploads(self, *, before_time: float) -> int:
        """Remove partial uploads that are not open and were not touched since."""
        return self._uploads.expire(before_time=before_time)

    def close(self) -> None:
        """Close what is open."""
        self._uploads.close()


class MemoryPartial(Partial):
    """A partial upload in memory; what was flushed counts as durable."""

    def __init__(self, blobs: dict[str, tuple[bytearray, bytes]], *, damaged: dict[str, bool]) -> None:
        super().__init__()
        self._blobs = blobs
        self._damaged = damaged
        self._bytes = bytearray()
        self._made_for_bytes = -1

    def open(self, *, size_bytes: int) -> None:
        """Keep what is there unless it is of another size."""
        if size_bytes != self._made_for_bytes:
            self.remove()
        self._made_for_bytes = size_bytes
        self.reset(size_bytes=size_bytes)

    def recover_block(self) -> bool:
        """Take the next block of what is there."""
        self.take(memoryview(self._bytes[self.offset : self.offset + BLOCK_BYTES]))
        return self.offset < len(self._bytes)

    def require_room(self) -> None:
        """Let memory be the limit."""

    def write(self, data: memoryview) -> None:
        """Append bytes."""
        self._bytes += data
        self.take(data)

    def flush(self) -> None:
        """Call everything durable."""
        self.durable_offset = max(self.durable_offset, self.offset)

    def publish(self, digest: str) -> None:
        """Move the bytes to the blobs."""
        self._blobs[digest] = (self._bytes, self.sums.pack())
        self._damaged.pop(digest, None)
        self._bytes = bytearray()
        self.remove()

    def release(self) -> None:
        """Keep what is durable."""
        del self._bytes[self.durable_offset :]
        self.reset(size_bytes=-1)

    def remove(self) -> None:
        """Drop all bytes."""
        self.durable_offset = 0
        self.release()


class MemoryReader(BlockReader):
    """A blob in memory, open for reading."""

    def __init__(self, digest: str, *, data: bytearray, sums: bytes, store: MemoryStore) -> None:
        super().__init__(digest, size_bytes=len(data))
        self._data = data
        self._sums = sums
        self._store = store

    def close(self) -> None:
        """Let go of the bytes."""
        self._data = bytearray()

    def _note_damage(self) -> None:
        there, _ = self._store.blobs.get(self._digest, (self._data, self._sums))
        if there is self._data:
            self._store.note_damage(self._digest)

    def _drop_cached(self, offset: int, length: int) -> None:
        """Keep everything: there is no other place."""

    def _load(self, offset: int, length: int) -> bytes:
        return bytes(self._data[offset : offset + length])

    def _sum(self, index: int) -> int:
        return int(SUM.unpack_from(self._sums, index * SUM.size)[0])
