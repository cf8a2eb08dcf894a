"""Page tokens: opaque texts that say where a list goes on, good only for the query that gave them out.

A token gives no authority, so it needs no secret: the checksum catches cut and altered tokens and
those of other queries.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

from steelyard_server.core.names import quoted
from steelyard_server.errors import PageTokenInvalid

CHECK_BYTES = 12
TOKEN_CHARACTERS_MAXIMUM = 4096


def encode(query: tuple[object, ...], last: str | int) -> str:
    """Make the token with which the list *query* goes on behind the key *last*."""
    key = json.dumps(last).encode()
    return base64.urlsafe_b64encode(_check(query, key) + key).decode().rstrip("=")


def decode(query: tuple[object, ...], token: str) -> str | int | None:
    """Return the key behind which *query* goes on; None for its first page.

    Raises:
        PageTokenInvalid: the token is cut, altered, or belongs to another query.
    """
    if not token:
        return None
    content = _decoded(token) if len(token) <= TOKEN_CHARACTERS_MAXIMUM else b""
    key = content[CHECK_BYTES:]
    if not key or content[:CHECK_BYTES] != _check(query, key):
        message = f"The page token {quoted(token)} is not one of this query; start again without a token."
        raise PageTokenInvalid(message, field="page_token")
    last: str | int = json.loads(key)
    return last


def _decoded(token: str) -> bytes:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return b""


def _check(query: tuple[object, ...], key: bytes) -> bytes:
    return hashlib.sha256(repr(query).encode() + b"\0" + key).digest()[:CHECK_BYTES]
