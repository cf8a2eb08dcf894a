"""A blob store in this process, under the same rules as the others; what it keeps ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard_server.blobs.blocks import BlockReader, BlockSums, hexadecimal, lost
from steelyard_server.blobs.uploads import Partial, Uploads

if TYPE_CHECKING:
    from steelyard_server.blobs.store import BlobReader, Upload


class MemoryStore:
    """Keep blobs as bytes, with the checks of their blocks.

    Args:
        blobs: by digest the bytes, and the checks of their full blocks and the rest.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, tuple[bytearray, bytes]] = {}
        self._uploads = Uploads(lambda _: MemoryPartial(self.blobs))

    def begin_upload(self, key: str, *, size_bytes: int, from_start: bool = False) -> Upload:
        """Start an upload, or go on with the one of this key."""
        return self._uploads.begin(key, size_bytes=size_bytes, from_start=from_start)

    def held_bytes(self, key: str) -> int:
        """Return how many bytes of a partial upload are durable."""
        return self._uploads.held_bytes(key)

    def open(self, digest: str, *, size_bytes: int) -> BlobReader:
        """Open a blob for reading."""
        hexadecimal(digest)
        ...

    def contains(self, digest: str) -> bool:
        """Return whether a blob is there."""
        hexadecimal(digest)
        return digest in self.blobs

    def expire_uploads(self, *, before_time: float) -> int:
        """Remove partial uploads that are not open and were not touched since."""
        return self._uploads.expire(before_time=before_time)

    def close(self) -> None:
        """Close what is open."""
        self._uploads.close()
