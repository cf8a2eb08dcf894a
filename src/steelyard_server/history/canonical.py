"""Canonical JSON: one text for one value, so that its digest means something.

Key order and escaping are those of RFC 8785. There are no JSON numbers: an int64 is its decimal
string, a double the shortest string that reads back the same, in the form of ECMAScript, with
``NaN``, ``Infinity``, ``-Infinity`` and ``-0`` besides. Test vectors stand in ``protos/testdata``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

import rfc8785

Json = str | bool | None | Sequence["Json"] | Mapping[str, "Json"]


# Built once: json.dumps makes a new encoder for each call with options.
_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def text(value: Json) -> str:
    """Turn *value* into its canonical text."""
    written = _ENCODER.encode(value)
    # Python orders keys by code point, RFC 8785 by UTF-16 unit: they differ only above U+FFFF.
    if written.isascii() or max(written) <= "\uffff":
        return written
    return rfc8785.dumps(value).decode()


def encode(value: Json) -> bytes:
    """Turn *value* into its canonical bytes."""
    return text(value).encode()


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
