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
from steelyard_server.errors import HistoryReplaced, PageTokenInvalid

CHECK_BYTES = 12
EPOCH_BYTES = 4
# A position in an order by four long texts, with what 64 metrics of the filter mean.
TOKEN_CHARACTERS_MAXIMUM = 1 << 18

Key = TypeVar("Key", str, int, list[Any])


class Pages:
    """Page tokens of one epoch of the registry's history, which does not change while a server runs.

    Args:
        epoch: tokens from another one are refused: what they go on from may not exist any more.
    """

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._mark = hashlib.sha256(epoch.encode()).digest()[:EPOCH_BYTES]

    def encode(self, query: tuple[object, ...], last: str | int | list[Any]) -> str:
        """Make the token with which the list *query* goes on behind the key *last*."""
        content = self._mark + json.dumps(last, ensure_ascii=False, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(_check(query, content) + content).decode().rstrip("=")

    def decode(self, query: tuple[object, ...], token: str, kind: type[Key]) -> Key | None:
        """Return the key behind which *query* goes on; None for its first page.

        Args:
            kind: of the keys of this query.

        Raises:
            PageTokenInvalid: the token is cut, altered, or belongs to another query.
            HistoryReplaced: it was given out before the registry was restored.
        """
        if not token:
            return None
        decoded = _decoded(token) if len(token) <= TOKEN_CHARACTERS_MAXIMUM else b""
        content = decoded[CHECK_BYTES:]
        is_ours = decoded[:CHECK_BYTES] == _check(query, content)
        last = _parsed(content[EPOCH_BYTES:]) if is_ours else None
        if not _is_key(last, kind):
            message = f"The page token {quoted(token)} is not one of this query; start again without a token."
            raise PageTokenInvalid(message, field="page_token")
        if content[:EPOCH_BYTES] != self._mark:
            message = "The registry was restored since this page token was given out; start again without it."
            raise HistoryReplaced(message, epoch=self._epoch)
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


def _check(query: tuple[object, ...], content: bytes) -> bytes:
    return hashlib.sha256(repr(query).encode() + b"\0" + content).digest()[:CHECK_BYTES]
