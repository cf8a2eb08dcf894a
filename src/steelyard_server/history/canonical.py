"""Canonical JSON: one text for one value, so that its digest means something.

Key order and escaping are those of RFC 8785. There are no JSON numbers: an int64 is its decimal
string, a double the shortest string that reads back the same, in the form of ECMAScript, with
``NaN``, ``Infinity``, ``-Infinity`` and ``-0`` besides. Test vectors stand in ``protos/testdata``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import orjson
import rfc8785

Json = str | bool | None | Sequence["Json"] | Mapping[str, "Json"]


# The lead byte of UTF-8 for characters above U+FFFF; higher ones are not in UTF-8.
_ABOVE_FFFF = 0xF0


def text(value: Json) -> str:
    """Turn *value* into its canonical text."""
    return encode(value).decode()


def encode(value: Json) -> bytes:
    """Turn *value* into its canonical bytes."""
    written = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    # orjson orders keys by code point, RFC 8785 by UTF-16 unit: they differ only above U+FFFF.
    if written.isascii() or max(written) < _ABOVE_FFFF:
        return written
    return rfc8785.dumps(value)


def digest(content: bytes) -> str:
    """Name *content* by its sha256, as `sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def double(value: float) -> str:
    """Write a double as the shortest text that reads back the same, `-0` and NaN included."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 and math.copysign(1.0, value) < 0:
        return "-0"
    written = repr(value)
    # Both write the shortest digits. They differ in where an exponent begins, and in a last ".0".
    return rfc8785.dumps(value).decode() if "e" in written else written.removesuffix(".0")
