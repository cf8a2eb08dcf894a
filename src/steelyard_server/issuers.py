"""Identity providers whose logins are taken: a TOML file with one table ``[[issuer]]`` for each.

Everybody whom a provider vouches for becomes a principal of the registry, and groups of theirs become
groups of it. So two providers must not be able to name the same ones.
"""

from __future__ import annotations

import json
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from steelyard_server.config import ConfigError

# Each with a public key: a secret that both sides know would let everybody who checks logins make them.
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
ISSUERS_MAXIMUM = 32
_PREFIX = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Who got a login: where that is whose login it is, no person has part in it (RFC 9068; Google, Okta).
CLIENT_CLAIMS = ("azp", "client_id", "appid", "cid")
# What Microsoft and Auth0 write into a login that is an application's own.
CLIENT_VALUES = {"idtyp": "app", "gty": "client-credentials"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One identity provider, and what is made of its logins."""

    url: str
    """What its logins have as ``iss``, to the letter."""

    audience: str
    """What they must have as ``aud``."""

    jwks_url: str = ""
    """Where its public keys are, as a JSON Web Key Set."""

    jwks_file: str = ""
    """The same as a file, instead."""

    algorithms: tuple[str, ...] = ("RS256", "ES256")
    """How it may sign."""

    kind: Literal["user", "service"] = "user"
    """``user`` when its logins are of persons and of programs that are told apart, else of programs only."""

    service_claim: str = ""
    """A claim, as ``name`` or ``name=value``, that only logins of programs have; some are known without."""

    principal_claim: str = "sub"
    """The claim that names the principal."""

    groups_claim: str = "groups"
    """The claim that lists groups."""

    lower_case: bool = False
    """Take capital letters of names as small ones, where the provider does so too."""

    prefix: str = ""
    """What stands before its names of principals and groups."""

    groups_prefix: str = "oidc."
    """What stands before its names of groups, after ``prefix``; empty lets them be those of local groups."""

    client_id: str = ""
    """As which of its clients ``steelyard login`` logs in; empty when it cannot."""

    scopes: tuple[str, ...] = ("openid", "offline_access")
    """Scopes that ``steelyard login`` asks for."""

    @property
    def group_names_begin_with(self) -> str:
        """Return what no local group may begin with; empty when it shares the names with them."""
        return self.prefix + self.groups_prefix


def load(file: Path) -> tuple[Issuer, ...]:
    """Read the file of identity providers.

    Raises:
        ConfigError: it cannot be read, or a value of it is wrong; the message says which and why.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The file {file} of oidc_issuers cannot be read: {error}") from None
    tables = document.pop("issuer", None)
    if document or not isinstance(tables, list) or not 1 <= len(tables) <= ISSUERS_MAXIMUM:
        raise ConfigError(f"{file} must have 1 to {ISSUERS_MAXIMUM} tables [[issuer]], and nothing else.")
    found = tuple(_issuer(each, where=f"{file}: issuer {n}") for n, each in enumerate(tables, start=1))
    _require_apart(found, where=str(file))
    return found


def is_service(issuer: Issuer, claims: Mapping[str, Any]) -> bool:
    """Return whether a login is that of a program, which a client of the provider got for itself."""
    if issuer.kind == "service" or _is_of_client(claims):
        return True
    name, _, value = issuer.service_claim.partition("=")
    return _says(claims, name, value) if value else bool(name) and claims.get(name) is not None


def _is_of_client(claims: Mapping[str, Any]) -> bool:
    """Return whether a login is a client's own, by what providers write when nobody has logged in there.

    A person who is taken for a program may do less, a program that is taken for a person could approve.
    """
    name, address = claims.get("preferred_username"), claims.get("email")
    return (
        any(claims.get(claim) == claims.get("sub") for claim in CLIENT_CLAIMS)
        or any(_says(claims, claim, value) for claim, value in CLIENT_VALUES.items())
        or (isinstance(name, str) and name.startswith("service-account-"))
        or (isinstance(address, str) and address.endswith(".gserviceaccount.com"))
    )


def _says(claims: Mapping[str, Any], claim: str, value: str) -> bool:
    """Return whether a claim is *value*, or has it in its list; true is written as in JSON."""
    found = claims.get(claim)
    texts = found if isinstance(found, list) else [found]
    return any(value == (each if isinstance(each, str) else json.dumps(each)) for each in texts)


def _issuer(table: Any, *, where: str) -> Issuer:
    known = {each.name: each for each in fields(Issuer)}
    if not isinstance(table, dict) or not table.keys() <= known.keys():
        unknown = ", ".join(sorted(set(table) - known.keys()))
        raise ConfigError(f"{where} has what is no setting: {unknown}. Settings are: {', '.join(known)}.")
    missing = [name for name, each in known.items() if each.default is MISSING and not table.get(name)]
    if missing:
        raise ConfigError(f"{where} needs {' and '.join(missing)}.")
    issuer = Issuer(**{name: _value(name, value, where=where) for name, value in table.items()})
    _check(issuer, where=where)
    return issuer


def _value(name: str, value: Any, *, where: str) -> Any:
    wanted = typing.get_type_hints(Issuer)[name]
    if wanted == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ConfigError(f"{where}: {name} must be a list of texts.")
        return tuple(value)
    if wanted is bool and not isinstance(value, bool):
        raise ConfigError(f"{where}: {name} must be true or false.")
    if wanted is not bool and not isinstance(value, str):
        raise ConfigError(f"{where}: {name} must be a text.")
    return value


def _check(issuer: Issuer, *, where: str) -> None:
    if bool(issuer.jwks_url) == bool(issuer.jwks_file):
        raise ConfigError(f"{where} needs its keys: set one of jwks_url and jwks_file.")
    if issuer.jwks_file and not Path(issuer.jwks_file).is_file():
        raise ConfigError(f"{where}: jwks_file is {issuer.jwks_file}, which is no file.")
    if issuer.jwks_url and not _is_safe(issuer.jwks_url):
        raise ConfigError(f"{where}: jwks_url is {issuer.jwks_url!r}; it must begin with https://.")
    if issuer.kind not in {"user", "service"}:
        raise ConfigError(f"{where}: kind is {issuer.kind!r}; it must be user or service.")
    for name, begin in (("prefix", issuer.prefix), ("groups_prefix", issuer.group_names_begin_with)):
        if begin and _PREFIX.fullmatch(begin) is None:
            raise ConfigError(f"{where}: {name} makes {begin!r}, with which no name can begin.")
    name, has_value, value = issuer.service_claim.partition("=")
    if issuer.service_claim and not (name and (value or not has_value)):
        raise ConfigError(f"{where}: service_claim is {issuer.service_claim!r}; write name or name=value.")
    if issuer.service_claim and issuer.kind == "service":
        raise ConfigError(f"{where}: service_claim says nothing where kind is service; remove one of them.")
    refused = sorted(set(issuer.algorithms) - ALGORITHMS)
    if refused or not issuer.algorithms:
        allowed = ", ".join(sorted(ALGORITHMS))
        raise ConfigError(f"{where}: algorithms are {refused}; they must be some of {allowed}.")


def _is_safe(url: str) -> bool:
    """Return whether nobody on the network can put other keys there."""
    parts = urlsplit(url)
    is_here = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and is_here))


def _require_apart(issuers: tuple[Issuer, ...], *, where: str) -> None:
    """Demand that no provider can name what another one does."""
    if len({each.url for each in issuers}) < len(issuers):
        raise ConfigError(f"{where} has an issuer twice.")
    for one in issuers:
        for other in issuers:
            if one is not other and other.prefix.startswith(one.prefix):
                raise ConfigError(
                    f"{where}: {one.url} and {other.url} could name the same principals and groups; give "
                    "each a prefix, with which that of no other begins."
                )
