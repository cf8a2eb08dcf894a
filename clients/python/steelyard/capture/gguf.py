"""Headers of GGUF: counts, then keys with values, among them general.architecture, name and file_type."""

from __future__ import annotations

import struct

from steelyard.capture.reader import Header, HeaderUnreadable, Reader

BLOCK_BYTES = 256 * 1024
PAIRS_MAXIMUM = 65_536
KEY_BYTES_MAXIMUM = 65_535
TEXTS_MAXIMUM = 1_000_000
VERSIONS = (2, 3)
_WANTED = {
    b"general.architecture": "gguf.architecture",
    b"general.name": "gguf.name",
    b"general.file_type": "gguf.file_type",
}
_U32, _STRING, _ARRAY = 4, 8, 9
_FIXED_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
# llama.cpp numbers how the weights are stored.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0",
    37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip


def read(reader: Reader) -> Header:
    """Return architecture, name and file type; there is no schema, tensors are not looked at.

    Raises:
        HeaderUnreadable: it is no such file of version 2 or 3, or its header is too large.
    """
    walk = _Walk(reader)
    if walk.take(4) != b"GGUF":
        raise HeaderUnreadable("it does not begin like a GGUF file")
    if walk.number(4) not in VERSIONS:
        raise HeaderUnreadable("it is no GGUF file of version 2 or 3")
    walk.number(8)
    pairs_count = walk.number(8)
    if pairs_count > PAIRS_MAXIMUM:
        raise HeaderUnreadable("its header is too large")
    facts: dict[str, tuple[str | int, ...]] = {}
    for _ in range(pairs_count):
        name = _WANTED.get(walk.text())
        value = walk.value(wanted=name is not None)
        if name is not None and value is not None:
            facts[name] = (_FILE_TYPES.get(value, value) if isinstance(value, int) else value,)
        if len(facts) == len(_WANTED):
            break
    return Header("gguf", facts=facts)


class _Walk:
    """Goes through the pairs, one after the other."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._offset = 0

    def take(self, size_bytes: int) -> bytes:
        taken = self._reader.read(self._offset, size_bytes)
        self._offset += size_bytes
        return taken

    def skip(self, size_bytes: int) -> None:
        self._offset += size_bytes
        if self._offset > self._reader.size_bytes:
            raise HeaderUnreadable("it ends in the middle of its header")

    def number(self, size_bytes: int) -> int:
        return int.from_bytes(self.take(size_bytes), "little")

    def text(self) -> bytes:
        length = self.number(8)
        if length > KEY_BYTES_MAXIMUM:
            raise HeaderUnreadable("a text in its header is too long")
        return self.take(length)

    def value(self, *, wanted: bool) -> str | int | None:
        """Go over one value; return it when it is *wanted* and a text or a number of the usual type."""
        kind = self.number(4)
        if wanted and kind == _STRING:
            return self.text().decode(errors="replace")
        if wanted and kind == _U32:
            return self.number(4)
        self._pass(kind, count=1)
        return None

    def _pass(self, kind: int, *, count: int) -> None:
        if kind in _FIXED_BYTES:
            self.skip(_FIXED_BYTES[kind] * count)
        elif kind == _STRING and count <= TEXTS_MAXIMUM:
            for _ in range(count):
                self.skip(self.number(8))
        elif kind == _ARRAY and count == 1:
            inner, length = struct.unpack("<IQ", self.take(12))
            if inner == _ARRAY:
                raise HeaderUnreadable("its header holds arrays of arrays")
            self._pass(inner, count=length)
        else:
            raise HeaderUnreadable("its header holds a value that is of no known type, or too long")
