"""The public keys of an identity provider, read from a file or a URL and kept for a while.

They are read in a thread, one reading at a time, with a limit on time and size. An unknown key is a
reason to look again, but not more often than once a minute, for everybody can name one.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import structlog

from steelyard_server.login_errors import SigningKeysUnavailable, SigningKeyUnknown

if TYPE_CHECKING:
    from steelyard_server.issuers import Issuer

KEYS_MAXIMUM = 100
KEYS_BYTES_MAXIMUM = 256 * 1024
RSA_BITS_MINIMUM = 2048
READ_SECONDS = 5.0
# Least time after a reading before the next, and after one that failed.
PAUSE_SECONDS, RETRY_SECONDS = 60.0, 5.0
# How long keys are good that could not be read again since: a provider may be down for a while.
STALE_SECONDS = 24 * 3600.0
# What reading and parsing of keys may end with.
_BROKEN = (OSError, http.client.HTTPException, ValueError, RecursionError)


@dataclass(frozen=True, slots=True)
class Key:
    """A public key.

    Args:
        algorithm: that it is for; empty when it does not say.
    """

    algorithm: str
    public: Any


@dataclass(slots=True)
class SigningKeys:
    """The keys of one issuer. All methods belong to the thread of the event loop.

    Args:
        changes: how often a key went or changed, so that logins with it are to be looked at again.
    """

    issuer: Issuer
    changes: int = 0
    _known: dict[str, Key] = field(default_factory=dict)
    _read_time: float | None = None
    _next_time: float = 0.0
    _reading: asyncio.Task[None] | None = None

    async def find(self, name: str) -> Key:
        """Return the key of this identifier.

        Raises:
            SigningKeyUnknown: the issuer has none.
            SigningKeysUnavailable: its keys cannot be had.
        """
        if name not in self._known:
            await self.refresh()
        url = self.issuer.url
        if self._read_time is None or time.monotonic() - self._read_time > STALE_SECONDS:
            message = f"The keys of {url} cannot be had, so its logins cannot be checked; try again later."
            raise SigningKeysUnavailable(message, issuer=url)
        if name not in self._known:
            message = f"{url} has no key of the identifier that this login names; log in again."
            raise SigningKeyUnknown(message, issuer=url)
        return self._known[name]

    async def refresh(self) -> None:
        """Read the keys anew unless that was done just now; what fails is in the log."""
        if self._reading is None or self._reading.done():
            if time.monotonic() < self._next_time:
                return
            self._reading = asyncio.create_task(self._read())
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_SECONDS):
                await asyncio.shield(self._reading)

    async def close(self) -> None:
        """Wait for no reading any more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            found = _parsed(await asyncio.to_thread(_read, self.issuer))
        except _BROKEN as error:
            log = structlog.get_logger("steelyard.signing_keys")
            log.warning("The keys of an issuer cannot be read.", issuer=self.issuer.url, why=str(error))
            self._next_time = time.monotonic() + RETRY_SECONDS
            return
        self.changes += any(name not in found or found[name] != key for name, key in self._known.items())
        self._known = found
        self._read_time = time.monotonic()
        self._next_time = self._read_time + PAUSE_SECONDS


def require_file(issuer: Issuer) -> None:
    """Demand that a file of keys is good when a server starts; one that is broken later is in the log.

    Raises:
        ValueError: it is not; the message says why.
    """
    if not issuer.jwks_file:
        return
    try:
        _parsed(_read(issuer))
    except _BROKEN as error:
        raise ValueError(f"The keys of {issuer.url} cannot be read: {issuer.jwks_file}: {error}.") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow nobody elsewhere: keys are taken from the address that was set only."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _read(issuer: Issuer) -> bytes:
    if issuer.jwks_file:
        with Path(issuer.jwks_file).open("rb") as file:
            return _bounded(file)
    request = urllib.request.Request(issuer.jwks_url, headers={"Accept": "application/json"})  # noqa: S310 - the scheme was checked with the settings
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=READ_SECONDS) as answer:
        return _bounded(answer)


def _bounded(stream: Any) -> bytes:
    """Read a stream to its end, which must come in time and before too many bytes."""
    end = time.monotonic() + READ_SECONDS
    found = b""
    while chunk := stream.read1(64 * 1024) if hasattr(stream, "read1") else stream.read(64 * 1024):
        found += chunk
        if len(found) > KEYS_BYTES_MAXIMUM:
            raise ValueError(f"it has more than {KEYS_BYTES_MAXIMUM} bytes")
        if time.monotonic() > end:
            raise TimeoutError(f"it did not come within {READ_SECONDS:g} seconds")
    return found


def _parsed(content: bytes) -> dict[str, Key]:
    document = json.loads(content)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > KEYS_MAXIMUM:
        raise ValueError(f"it is no JSON Web Key Set of at most {KEYS_MAXIMUM} keys")
    _require_distinct([each for each in listed if isinstance(each, dict)])
    found = {each["kid"]: key for each in listed if (key := _key(each)) is not None}
    if not found:
        raise ValueError("it has no public key with a kid that logins can be checked with")
    return found


def _require_distinct(entries: list[dict[str, Any]]) -> None:
    """Demand that a kid is of one key: else it is chance whose signature counts."""
    known: set[str] = set()
    for entry in entries:
        name = entry.get("kid")
        if not isinstance(name, str) or entry.get("use", "sig") != "sig":
            continue
        if name in known:
            raise ValueError(f"it has two keys whose kid is {name[:100]!r}")
        known.add(name)


def _key(entry: Any) -> Key | None:
    """Return a key for signatures; None for what is none, is too short, or should have stayed secret."""
    is_usable = (
        isinstance(entry, dict)
        and isinstance(entry.get("kid"), str)
        and entry["kid"]
        and entry.get("use", "sig") == "sig"
        and entry.get("kty") in {"RSA", "EC", "OKP"}
        and "d" not in entry
    )
    if not is_usable:
        return None
    try:
        public = jwt.PyJWK(entry).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if entry["kty"] == "RSA" and public.key_size < RSA_BITS_MINIMUM:
        return None
    algorithm = entry.get("alg", "")
    return Key(algorithm if isinstance(algorithm, str) else "", public)
