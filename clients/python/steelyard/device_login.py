"""Logging in at an identity provider from a terminal: the device flow (RFC 8628), and renewing what it gave.

The person confirms in a browser, on any machine, while this side asks the provider whether they have.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, IncompleteRead
from typing import Any
from urllib.parse import urlencode, urlsplit

from steelyard.errors import SteelyardError, Unauthenticated, Unreachable

ANSWER_BYTES_MAXIMUM = 256 * 1024
ANSWER_SECONDS = 15.0
# When the provider does not say how often to ask, and how much later to ask when that was too often.
INTERVAL_SECONDS, SLOWER_SECONDS = 5.0, 5.0
# More often than the first nobody asks, whatever the provider says; longer than the second nobody waits.
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 60.0
# Longest time for a person to confirm, whatever the provider says.
CONFIRM_SECONDS = 1800.0
GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class LoginFailed(SteelyardError):
    """An identity provider cannot be reached, or does not log in whom it should."""


class ProviderUnreachable(LoginFailed, Unreachable):
    """An identity provider does not answer now; later it may."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An identity provider, and as which client of it to log in."""

    url: str
    audience: str
    client_id: str
    scopes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Login:
    """What a provider gave.

    Args:
        token: that the registry is sent.
        expire_time: when it ends, in seconds since 1970.
        refresh_token: with which another one is got; empty when the provider gives none.
    """

    token: str
    expire_time: float
    refresh_token: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a person has to do: open an address, and enter a code there."""

    address: str
    code: str


def log_in(provider: Provider, *, show: Callable[[Prompt], None]) -> Login:
    """Log a person in, who confirms it in a browser.

    Args:
        show: tells the person where.

    Raises:
        LoginFailed: the person declined, or took too long.
        ProviderUnreachable: the provider does not answer, at the begin or until the time is over.
    """
    addresses = _discovered(provider.url)
    endpoint = _address(addresses, "device_authorization_endpoint", provider=provider.url)
    form = {"client_id": provider.client_id, "scope": " ".join(provider.scopes)}
    begun = _answered(_posted(endpoint, form | {"audience": provider.audience}), provider=provider.url)
    address = begun.get("verification_uri_complete") or begun.get("verification_uri")
    code, device_code = begun.get("user_code"), begun.get("device_code")
    if not (isinstance(address, str) and isinstance(code, str) and isinstance(device_code, str)):
        raise _wrong(provider.url, "it did not say where to confirm")
    show(Prompt(address, code))
    return _confirmed(provider, addresses, begun, device_code=device_code)


def renew(provider: Provider, refresh_token: str) -> Login:
    """Return a new login for one that ended.

    Raises:
        LoginFailed: the provider wants the person again.
        ProviderUnreachable: the provider does not answer.
    """
    endpoint = _address(_discovered(provider.url), "token_endpoint", provider=provider.url)
    form = {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        "client_id": provider.client_id,
    }
    return _login(_answered(_posted(endpoint, form), provider=provider.url), provider, former=refresh_token)


def _confirmed(
    provider: Provider, addresses: Mapping[str, Any], begun: Mapping[str, Any], *, device_code: str
) -> Login:
    """Ask until the person has confirmed."""
    endpoint = _address(addresses, "token_endpoint", provider=provider.url)
    form = {"grant_type": GRANT, "device_code": device_code, "client_id": provider.client_id}
    interval = _interval(begun.get("interval"))
    end = time.monotonic() + min(_seconds(begun.get("expires_in"), otherwise=600.0), CONFIRM_SECONDS)
    lost: ProviderUnreachable | None = None
    while time.monotonic() < end:
        time.sleep(interval)
        try:
            answer, lost = _posted(endpoint, form), None
        except ProviderUnreachable as error:
            # The person may be confirming meanwhile, so a network that is gone for a moment ends nothing.
            answer, lost = {"error": "slow_down"}, error
        if answer.get("error") == "slow_down":
            interval += SLOWER_SECONDS
        elif answer.get("error") != "authorization_pending":
            return _login(_answered(answer, provider=provider.url), provider)
    raise lost or _wrong(provider.url, "nobody confirmed in time")


def _login(answer: Mapping[str, Any], provider: Provider, *, former: str = "") -> Login:
    """Choose the token that is for the registry: providers give two, for different audiences."""
    for name in ("id_token", "access_token"):
        token = answer.get(name)
        claims = _claims(token) if isinstance(token, str) else {}
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        expire_time = claims.get("exp")
        if provider.audience in audiences and isinstance(expire_time, int | float):
            renewed = answer.get("refresh_token")
            return Login(str(token), float(expire_time), renewed if isinstance(renewed, str) else former)
    raise _wrong(provider.url, f"it gave no token for {provider.audience}; an admin of it must allow that")


def _claims(token: str) -> dict[str, Any]:
    """Read what a token says, to choose one; the server is who checks it."""
    try:
        part = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _discovered(url: str) -> dict[str, Any]:
    found = _asked(urllib.request.Request(f"{_safe(url).rstrip('/')}/.well-known/openid-configuration"))  # noqa: S310 - _safe has checked it
    if found.get("issuer") != url:
        raise _wrong(url, "what it says of itself is about another issuer")
    return found


def _address(addresses: Mapping[str, Any], name: str, *, provider: str) -> str:
    found = addresses.get(name)
    if not isinstance(found, str):
        raise _wrong(provider, f"it has no {name}, so nobody can log in from a terminal")
    return _safe(found)


def _safe(url: str) -> str:
    """Demand that nobody on the network reads what is sent there."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    is_here = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if parts.scheme == "https" or (parts.scheme == "http" and is_here):
        return url
    raise _wrong(url, "its address does not begin with https://")


def _posted(url: str, form: Mapping[str, str]) -> dict[str, Any]:
    body = urlencode({name: value for name, value in form.items() if value}).encode()
    return _asked(urllib.request.Request(url, data=body, headers={"Accept": "application/json"}))  # noqa: S310 - checked where it was found


def _asked(request: urllib.request.Request) -> dict[str, Any]:
    """Return the object that a provider answers, also with an error, of which the object tells."""
    try:
        content = _content(request)
    except (OSError, ValueError, HTTPException) as error:
        raise _unreachable(request.full_url, error) from None
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _wrong(request.full_url, "what it answers is no JSON object")
    return found


def _content(request: urllib.request.Request) -> bytes:
    """Return the bytes of an answer, also of one that says that the request is wrong."""
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=ANSWER_SECONDS) as answer:
            return _whole(answer)
    except urllib.error.HTTPError as error:
        with error:
            if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return _whole(error.fp)


def _whole(answer: Any) -> bytes:
    """Read an answer, which must not end before its length; reading to a bound, Python does not say so."""
    found: bytes = answer.read(ANSWER_BYTES_MAXIMUM)
    if len(found) < ANSWER_BYTES_MAXIMUM and getattr(answer, "length", None):
        raise IncompleteRead(found, answer.length)
    return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Send secrets to nobody else than who was named."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _answered(answer: dict[str, Any], *, provider: str) -> dict[str, Any]:
    """Demand that an answer is no error."""
    error = answer.get("error")
    if not error:
        return answer
    what = {
        "access_denied": "you declined, or may not log in",
        "expired_token": "nobody confirmed in time",
        "invalid_grant": "the login is over",
    }.get(str(error), str(answer.get("error_description") or error)[:200])
    raise _wrong(provider, what)


def _wrong(url: str, what: str) -> LoginFailed:
    return LoginFailed(f"Logging in at {url} failed: {what}. Try `steelyard login` again, or use a token.")


def _unreachable(url: str, error: Exception) -> ProviderUnreachable:
    return ProviderUnreachable(f"Logging in at {url} failed: it cannot be reached: {error}. Try again later.")


def _interval(value: object) -> float:
    """Return how often to ask: as the provider says, unless that is no time, or far from one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not value >= SHORTEST_SECONDS:  # type: ignore[operator]  # also for NaN
        return INTERVAL_SECONDS
    return min(float(value), LONGEST_SECONDS)  # type: ignore[arg-type]


def _seconds(value: object, *, otherwise: float) -> float:
    is_number = (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < CONFIRM_SECONDS
    )
    return float(value) if is_number else otherwise  # type: ignore[arg-type]


def over(message: str) -> Unauthenticated:
    """Say that a login that was kept ended, and what to do."""
    return Unauthenticated(f"{message} Log in again: steelyard login.")
