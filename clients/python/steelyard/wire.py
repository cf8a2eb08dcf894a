"""The field `data` of stream messages, written and read by hand.

In WriteBlobsRequest and ReadFileResponse, bytes are field 2. Taking them out of the raw message
without parsing saves two copies of every chunk.
"""

from __future__ import annotations

_DATA_TAG = 0x12
_DATA_PREFIX = bytes([_DATA_TAG])
_LOW_BITS = 0x7F
_MORE = 0x80
_LENGTH_BYTES_MAXIMUM = 5


def data_message(data: bytes) -> bytes:
    """Encode a message that has only the field `data`."""
    length = bytearray()
    rest = len(data)
    while rest >= _MORE:
        length.append(rest & _LOW_BITS | _MORE)
        rest >>= 7
    length.append(rest)
    return b"".join((_DATA_PREFIX, length, data))


def data_of(message: bytes) -> memoryview | None:
    """Return the bytes of a message that has only the field `data`, without a copy; None for any other."""
    if not message or message[0] != _DATA_TAG:
        return None
    length = shift = 0
    for position in range(1, min(len(message), 1 + _LENGTH_BYTES_MAXIMUM)):
        length |= (message[position] & _LOW_BITS) << shift
        shift += 7
        if message[position] < _MORE:
            whole = position + 1 + length == len(message)
            return memoryview(message)[position + 1 :] if whole else None
    return None
