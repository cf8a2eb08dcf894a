"""Blocks of 1 MiB with a CRC-32 each, and reading a blob block by block.

The CRC is the one of zlib (IEEE 802.3). It finds damage, not forgery; who uploads is checked by
sha256. ISA-L computes it at memory speed, so checking on every read costs next to nothing.
"""

from __future__ import annotations

import hashlib
import struct
from abc import ABC, abstractmethod
from array import array
from typing import TYPE_CHECKING, Final, Self

from isal.isal_zlib import crc32

from steelyard_server.errors import BlobCorrupt, BlobLost, DigestInvalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

BLOCK_BYTES: Final = 1 << 20
# No piece that a system holds in memory as one is larger.
BEHIND_BYTES: Final = 4 << 20
SUM: Final = struct.Struct(">I")
DIGEST_PREFIX: Final = "sha256:"
HEXADECIMAL_DIGITS: Final = 64


def hexadecimal(digest: str) -> str:
    """Return the digits of a digest, which are safe to use in a path.

    Raises:
        DigestInvalid: it is not `sha256:` and 64 hexadecimal digits in lower case.
    """
    digits = digest.removeprefix(DIGEST_PREFIX)
    wrong = set(digits) - set("0123456789abcdef")
    if wrong or len(digits) != HEXADECIMAL_DIGITS or not digest.startswith(DIGEST_PREFIX):
        message = "A digest must be sha256: and 64 hexadecimal digits in lower case."
        raise DigestInvalid(message, field="digest")
    return digits


def corrupt(digest: str) -> BlobCorrupt:
    """Return the error for bytes that are damaged."""
    message = f"The stored bytes of {digest} are damaged; upload them again, or restore and verify them."
    return BlobCorrupt(message, digest=digest)


def lost(digest: str) -> BlobLost:
    """Return the error for bytes that are not there."""
    message = f"The stored bytes of {digest} are gone; upload them again, or restore and verify them."
    return BlobLost(message, digest=digest)


class BlockSums:
    """The checks of a growing sequence of bytes: one per full block, and one of the rest."""

    def __init__(self) -> None:
        self.full = array("I")
        self.rest_bytes = 0
        self.rest = 0

    def update(self, data: memoryview) -> None:
        """Go on with the bytes that follow."""
        while data:
            part = data[: BLOCK_BYTES - self.rest_bytes]
            self.rest = crc32(part, self.rest)
            self.rest_bytes += len(part)
            if self.rest_bytes == BLOCK_BYTES:
                self.full.append(self.rest)
                self.rest = self.rest_bytes = 0
            data = data[len(part) :]

    def pack(self) -> bytes:
        """Encode all checks, 4 bytes big-endian each."""
        sums = [*self.full, self.rest] if self.rest_bytes else self.full
        return struct.pack(f">{len(sums)}I", *sums)


class BlockReader(ABC):
    """Read ranges of a blob through checked blocks; what is common to the stores."""

    def __init__(self, digest: str, *, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._digest = digest
        self._index = -1
        self._block = memoryview(b"")

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes of a range from checked blocks; fewer where the blob ends.

        Raises:
            BlobCorrupt: a block is damaged.
            StorageUnavailable: the storage does not work.
        """
        end = min(offset + length, self.size_bytes)
        parts = []
        while offset < end:
            index, skip = divmod(offset, BLOCK_BYTES)
            part = self._checked(index)[skip : skip + end - offset]
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def verify(self, pace: Callable[[int], None]) -> None:
        """Read the whole blob from where it is stored, check every block, and the digest of all.

        Args:
            pace: called with the number of bytes before each block; what it raises ends this.

        Raises:
            BlobCorrupt: a block, its check or the whole is not what it was.
            StorageUnavailable: the storage does not work.
        """
        hasher = hashlib.sha256()
        self._drop_cached(0, self.size_bytes)
        for index in range(max(-(-self.size_bytes // BLOCK_BYTES), 1)):
            start = index * BLOCK_BYTES
            length = min(BLOCK_BYTES, self.size_bytes - start)
            pace(length)
            block = self._checked(index)
            # A single block was compared with the digest already.
            if self.size_bytes > BLOCK_BYTES:
                hasher.update(block)
            # With what the system read as one piece across the border before, which it kept until now.
            begin = max(start - BEHIND_BYTES, 0)
            self._drop_cached(begin, start + length - begin)
        if self.size_bytes > BLOCK_BYTES and DIGEST_PREFIX + hasher.hexdigest() != self._digest:
            raise corrupt(self._digest)

    def check(self) -> None:
        """Read the whole blob and check every block.

        Raises:
            BlobCorrupt: a block is damaged.
            StorageUnavailable: the storage does not work.
        """
        for index in range(-(-self.size_bytes // BLOCK_BYTES)):
            self._checked(index)

    def _checked(self, index: int) -> memoryview:
        if index != self._index:
            try:
                self._block = self._load_checked(index)
            except BlobCorrupt:
                self._note_damage()
                raise
            self._index = index
        return self._block

    def _load_checked(self, index: int) -> memoryview:
        start = index * BLOCK_BYTES
        length = min(BLOCK_BYTES, self.size_bytes - start)
        block = self._load(start, length)
        if len(block) != length or not self._is_right(block, index=index):
            raise corrupt(self._digest)
        return memoryview(block)

    def _is_right(self, block: bytes, *, index: int) -> bool:
        # A blob of one block is its own check: hashing 1 MiB costs less than a second file.
        if self.size_bytes <= BLOCK_BYTES:
            return DIGEST_PREFIX + hashlib.sha256(block).hexdigest() == self._digest
        return crc32(block) == self._sum(index)

    @abstractmethod
    def _drop_cached(self, offset: int, length: int) -> None:
        """Have the system forget what it holds of a range in memory."""

    @abstractmethod
    def _load(self, offset: int, length: int) -> bytes:
        """Return stored bytes, unchecked."""

    @abstractmethod
    def _sum(self, index: int) -> int:
        """Return the check kept for a block of a blob that has several."""

    @abstractmethod
    def _note_damage(self) -> None:
        """Note that the blob is damaged, unless it was stored again since it was opened."""

    @abstractmethod
    def close(self) -> None:
        """Close the blob. Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
