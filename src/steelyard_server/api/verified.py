"""Logins of identity providers: JSON Web Tokens, checked and turned into who logged in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import jwt
from jwt.exceptions import InvalidJTIError, InvalidSubjectError

from steelyard_server import issuers
from steelyard_server.api.signing_keys import SigningKeys
from steelyard_server.core import access, names, tokens
from steelyard_server.core.access import Login
from steelyard_server.errors import InvalidArgument, TokenMalformed
from steelyard_server.limits import LIMITS
from steelyard_server.login_errors import (
    AlgorithmRefused,
    AudienceMismatch,
    ClaimInvalid,
    IssuerUnknown,
    SignatureInvalid,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard_server.api.signing_keys import Key
    from steelyard_server.issuers import Issuer

# By how much a provider's clock may be ahead. The end of a login is taken to the letter.
LEEWAY_SECONDS = 30
REQUIRED = ("iss", "aud", "exp", "iat", "sub")
# What parsing and checking of hostile texts may end with.
_BROKEN = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


class Verifier:
    """Check logins of some issuers. All methods belong to the thread of the event loop."""

    def __init__(self, taken: Iterable[Issuer]) -> None:
        self._keys = {each.url: SigningKeys(each) for each in taken}

    @property
    def changes(self) -> int:
        """Return a number that grows whenever logins must be looked at again."""
        return sum(each.changes for each in self._keys.values())

    async def login(self, text: str) -> Login:
        """Return who logged in with this text.

        Raises:
            Unauthenticated: it is not good.
            SigningKeysUnavailable: nobody can say whether it is.
        """
        header, url = _peek(text)
        keys = self._keys.get(url)
        if keys is None:
            message = f"This server takes no logins of {names.quoted(url[:200])}."
            raise IssuerUnknown(message, issuer=url[:200])
        algorithm = header.get("alg")
        _require_algorithm(algorithm in keys.issuer.algorithms, keys.issuer)
        name = header.get("kid")
        key = await keys.find(name if isinstance(name, str) else "")
        _require_algorithm(key.algorithm in {"", algorithm}, keys.issuer)
        claims = _claims(text, key, algorithm=str(algorithm), issuer=keys.issuer)
        return _login(claims, keys.issuer)

    async def refresh(self) -> None:
        """Read the keys of all issuers anew."""
        for each in self._keys.values():
            await each.refresh()

    async def close(self) -> None:
        """Stop reading keys."""
        for each in self._keys.values():
            await each.close()


def _peek(text: str) -> tuple[dict[str, Any], str]:
    """Return header and issuer, of which nothing is known to be true yet."""
    try:
        header = jwt.get_unverified_header(text)
        url = jwt.decode(text, options={"verify_signature": False}).get("iss")
    except _BROKEN:
        raise TokenMalformed(
            "This is neither a token of Steelyard nor a whole login of an identity provider; send its whole "
            "text."
        ) from None
    return header, url if isinstance(url, str) else ""


def _require_algorithm(is_taken: bool, issuer: Issuer) -> None:  # noqa: FBT001 - what is demanded
    if not is_taken:
        wanted = ", ".join(issuer.algorithms)
        message = f"A login of {issuer.url} must be signed by {wanted}, with a key that is for it."
        raise AlgorithmRefused(message, issuer=issuer.url)


def _claims(text: str, key: Key, *, algorithm: str, issuer: Issuer) -> dict[str, Any]:
    """Return the claims of a login whose signature is right, for this server, begun and not over."""
    url = issuer.url
    try:
        found: dict[str, Any] = jwt.decode(
            text,
            key=key.public,
            algorithms=[algorithm],
            audience=issuer.audience,
            issuer=url,
            leeway=LEEWAY_SECONDS,
            # The end is looked at without leeway, in one place for all kinds of logins.
            options={"require": list(REQUIRED), "verify_exp": False},
        )
    except jwt.MissingRequiredClaimError as error:
        raise _wrong(issuer, error.claim, f"lacks the claim {error.claim}") from None
    except jwt.InvalidAudienceError:
        message = f"This login is not for {issuer.audience}, but for another audience."
        raise AudienceMismatch(message, issuer=url, audience=issuer.audience) from None
    except (jwt.ImmatureSignatureError, jwt.InvalidIssuedAtError):
        raise _wrong(issuer, "nbf", "is not good yet; are the clocks right?") from None
    except (InvalidSubjectError, InvalidJTIError):
        raise _wrong(issuer, "sub", "has a claim sub or jti that is no text") from None
    except _BROKEN:
        message = f"The signature of this login is not that of {url}."
        raise SignatureInvalid(message, issuer=url) from None
    return found


def _login(claims: dict[str, Any], issuer: Issuer) -> Login:
    expire_time = _expire_time(claims["exp"], issuer)
    access.require_unexpired("", expire_time=expire_time)
    left_seconds = expire_time // 1_000_000 - int(time.time())
    if left_seconds > LIMITS.login_seconds + LEEWAY_SECONDS:
        raise _wrong(issuer, "exp", f"is good for longer than {LIMITS.login_seconds} seconds")
    principal = _principal(claims, issuer)
    return Login(principal, expire_time=expire_time, issuer=issuer.url, groups=_groups(claims, issuer))


def _expire_time(value: Any, issuer: Issuer) -> int:
    # Seconds, perhaps with a fraction; a truth value would pass as a number.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e11:  # noqa: PLR2004 - the year 5138
        raise _wrong(issuer, "exp", "has no time in the claim exp")
    return int(value * 1_000_000)


def _principal(claims: dict[str, Any], issuer: Issuer) -> str:
    claim = issuer.principal_claim
    # Else whoever may enter any address at the provider could become anybody.
    if claim == "email" and claims.get("email_verified") is not True:
        raise _wrong(issuer, "email_verified", "has an address that its provider did not verify")
    name = _name(claims.get(claim), issuer)
    kind = "service" if issuers.is_service(issuer, claims) else "user"
    principal = f"{kind}:{issuer.prefix}{name}"
    try:
        names.principal(principal, field=claim)
    except InvalidArgument:
        raise _wrong(issuer, claim, f"has no name in the claim {claim} that a principal can have") from None
    if principal == tokens.FIRST_ADMIN:
        raise _wrong(issuer, claim, f"is of {principal}, who logs in with tokens of this server only")
    return principal


def _name(value: Any, issuer: Issuer) -> str:
    """Return a name of the provider as it is here; empty for what is none."""
    # Some letters beyond ASCII have small ones within it, so that somebody would be another one.
    if not isinstance(value, str) or not value.isascii():
        return ""
    return value.lower() if issuer.lower_case else value


def _groups(claims: dict[str, Any], issuer: Issuer) -> tuple[str, ...]:
    """Return the groups of a login, without those to which no role can be granted here."""
    claim = issuer.groups_claim
    given = claims.get(claim, [])
    if not isinstance(given, list) or len(given) > LIMITS.login_groups_count:
        raise _wrong(issuer, claim, f"has no list of at most {LIMITS.login_groups_count} groups in {claim}")
    found = {f"{issuer.group_names_begin_with}{name}" for each in given if (name := _name(each, issuer))}
    return tuple(sorted(filter(_is_group, found)))


def _is_group(name: str) -> bool:
    try:
        names.group(name, field="groups")
    except InvalidArgument:
        return False
    return True


def _wrong(issuer: Issuer, claim: str, why: str) -> ClaimInvalid:
    return ClaimInvalid(f"This login of {issuer.url} {why}.", issuer=issuer.url, claim=claim)
