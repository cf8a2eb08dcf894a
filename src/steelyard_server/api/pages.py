"""Page tokens: opaque texts that say where a list goes on, good only for the query that gave them out.

A token gives no authority, so it needs no secret: the checksum catches cut and altered tokens and
those of other queries.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any, TypeGuard, TypeVar

from steelyard_server.core.names import INT64_CHARACTERS, INT64_MAXIMUM, quoted, storable
from steelyard_server.errors import PageTokenInvalid

CHECK_BYTES = 12
# A position in an order by four long texts, with what 64 metrics of the filter mean.
TOKEN_CHARACTERS_MAXIMUM = 1 << 18

Key = TypeVar("Key", str, int, list[Any])


def encode(query: tuple[object, ...], last: str | int | list[Any]) -> str:
    """Make the token with which the list *query* goes on behind the key *last*."""
    key = json.dumps(last, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_check(query, key) + key).decode().rstrip("=")


def decode(query: tuple[object, ...], token: str, kind: type[Key]) -> Key | None:
    """Return the key behind which *query* goes on; None for its first page.

    Args:
        kind: of the keys of this query.

    Raises:
        PageTokenInvalid: the token is cut, altered, or belongs to another query.
    """
    if not token:
        return None
    content = _decoded(token) if len(token) <= TOKEN_CHARACTERS_MAXIMUM else b""
    key = content[CHECK_BYTES:]
    last = _parsed(key) if content[:CHECK_BYTES] == _check(query, key) else None
    if not _is_key(last, kind):
        message = f"The page token {quoted(token)} is not one of this query; start again without a token."
        raise PageTokenInvalid(message, field="page_token")
    return last


def number(text: str) -> int:
    """Read a number that stands in a key.

    Raises:
        PageTokenInvalid: there is none.
    """
    digits = text.isascii() and text.isdecimal() and len(text) <= INT64_CHARACTERS
    if not (digits and int(text) <= INT64_MAXIMUM):
        raise PageTokenInvalid(
            "The page token holds no number; start again without a token.", field="page_token"
        )
    return int(text)


def _parsed(key: bytes) -> object:
    """Parse a key; anybody can compute the checksum, so what is behind it is not trusted either."""
    try:
        return json.loads(key)
    except (ValueError, RecursionError):
        return None


def _is_key(value: object, kind: type[Key]) -> TypeGuard[Key]:
    if isinstance(value, str):
        return kind is str and storable(value)
    if isinstance(value, list):
        return kind is list
    return kind is type(value) is int and 0 <= value <= INT64_MAXIMUM


def _decoded(token: str) -> bytes:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return b""


def _check(query: tuple[object, ...], key: bytes) -> bytes:
    return hashlib.sha256(repr(query).encode() + b"\0" + key).digest()[:CHECK_BYTES]
