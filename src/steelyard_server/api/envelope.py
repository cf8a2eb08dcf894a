"""The field `data` of stream messages, written and read by hand.

In WriteBlobsRequest and ReadFileResponse, bytes are field 2. Taking them out of the raw message
without parsing saves two copies of every chunk, a sixth of the time of a transfer.
"""

from __future__ import annotations

DATA_TAG = 0x12
DATA_PREFIX = bytes([DATA_TAG])
# The bit of a byte of a varint that says that another one follows.
MORE = 0x80


def data_message(data: bytes) -> bytes:
    """Encode a message that has only the field `data`."""
    return b"".join((DATA_PREFIX, varint(len(data)), data))


def data_of(message: bytes) -> memoryview | None:
    """Return the bytes of a message that has only the field `data`, without a copy; None for any other."""
    if not message or message[0] != DATA_TAG:
        return None
    length = shift = 0
    for position in range(1, min(len(message), 6)):
        byte = message[position]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < MORE:
            whole = position + 1 + length == len(message)
            return memoryview(message)[position + 1 :] if whole else None
    return None


def varint(value: int) -> bytes:
    """Encode a number that is not negative in base 128, the lowest group first."""
    encoded = bytearray()
    while value >= MORE:
        encoded.append(value & 0x7F | MORE)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
