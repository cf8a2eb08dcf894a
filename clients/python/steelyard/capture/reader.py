"""Bounded reads of the header of a file that may say anything about itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from steelyard.content import Schema

BYTES_MAXIMUM = 32 * 1024 * 1024
# Some seconds of work; the vocabularies of GGUF files need half of it.
READS_MAXIMUM = 600_000


class HeaderUnreadable(Exception):
    """A header is not what its format says, or is larger than what is read; the message says which."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself.

    Args:
        framework: that loads it.
        facts: values by name, for example `onnx.opset`; several where a file has several.
    """

    framework: str
    schema: Schema | None = None
    facts: dict[str, tuple[str | int, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class Budget:
    """What may still be read, of all files together."""

    bytes_left: int = BYTES_MAXIMUM
    reads_left: int = READS_MAXIMUM

    def spend(self, *, bytes_count: int = 0, reads_count: int = 0) -> None:
        """Take what is needed next.

        Raises:
            HeaderUnreadable: that is more than what is left.
        """
        self.bytes_left -= bytes_count
        self.reads_left -= reads_count
        if self.bytes_left < 0 or self.reads_left < 0:
            raise HeaderUnreadable("its header is too large")


class Reader:
    """Reads parts of a file by their offset, and nothing else of it.

    Args:
        block_bytes: read at once; more than asked for is kept for what comes next.
    """

    def __init__(self, stream: BinaryIO, *, size_bytes: int, budget: Budget, block_bytes: int = 1024) -> None:
        self.size_bytes = size_bytes
        self._stream = stream
        self._budget = budget
        self._block_bytes = block_bytes
        self._block = b""
        self._begin = 0

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return *size_bytes* from *offset*.

        Raises:
            HeaderUnreadable: the file ends before, or the budget does.
        """
        if size_bytes < 0 or offset + size_bytes > self.size_bytes:
            raise HeaderUnreadable("it ends in the middle of its header")
        self._budget.spend(reads_count=1)
        start = offset - self._begin
        if start < 0 or start + size_bytes > len(self._block):
            self._load(offset, size_bytes)
            start = 0
        return self._block[start : start + size_bytes]

    def head(self, offset: int, size_bytes: int) -> bytes:
        """Return at most *size_bytes* from *offset*, less where the file ends."""
        return self.read(offset, min(size_bytes, self.size_bytes - offset))

    def _load(self, offset: int, size_bytes: int) -> None:
        wanted = min(max(size_bytes, self._block_bytes), self.size_bytes - offset)
        self._budget.spend(bytes_count=wanted)
        self._stream.seek(offset)
        self._block, self._begin = self._stream.read(wanted), offset
        if len(self._block) < size_bytes:
            raise HeaderUnreadable("it became shorter meanwhile")
