"""The file of identity providers: what may stand in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steelyard_server.config import ConfigError
from steelyard_server.issuers import Issuer, is_service, load

GOOD = """
[[issuer]]
url = "https://login.bank.example"
audience = "steelyard"
jwks_url = "https://login.bank.example/keys"
"""
OTHER = GOOD.replace("login", "partner")


def written(directory: Path, content: str) -> Path:
    file = directory / "issuers.toml"
    file.write_text(content)
    return file


def test_little_is_enough_and_the_rest_has_defaults(tmp_path: Path) -> None:
    [issuer] = load(written(tmp_path, GOOD))
    assert (issuer.url, issuer.audience) == ("https://login.bank.example", "steelyard")
    assert (issuer.principal_claim, issuer.groups_claim, issuer.kind) == ("sub", "groups", "user")
    assert issuer.algorithms == ("RS256", "ES256")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "must have 1 to 32 tables"),
        ("[issuer]\nurl = 'x'", "must have 1 to 32 tables"),
        (GOOD + "[server]\n", "must have 1 to 32 tables"),
        (33 * GOOD, "must have 1 to 32 tables"),
        ("[[issuer", "cannot be read"),
        ("[[issuer]]\naudience = 'x'", "needs url"),
        (GOOD + 'audiance = "x"', "no setting: audiance"),
        (GOOD + "client_id = 7", "client_id must be a text"),
        (GOOD + "lower_case = 'yes'", "lower_case must be true or false"),
        (GOOD + "scopes = 'openid'", "scopes must be a list"),
        (GOOD + "algorithms = ['RS256', 'HS256']", r"algorithms are \['HS256'\]"),
        (GOOD + "algorithms = ['none']", r"algorithms are \['none'\]"),
        (GOOD + "algorithms = []", "algorithms are"),
        (GOOD + "kind = 'robot'", "kind is 'robot'"),
        (GOOD + "prefix = 'Bank.'", "prefix makes 'Bank.'"),
        (GOOD + "groups_prefix = ':'", "groups_prefix makes ':'"),
        (GOOD + "service_claim = '=app'", "service_claim is '=app'"),
        (GOOD + "service_claim = 'idtyp='", "service_claim is 'idtyp='"),
        (GOOD + "service_claim = 7", "service_claim must be a text"),
        (GOOD + "kind = 'service'\nservice_claim = 'x'", "service_claim says nothing"),
        (GOOD + "jwks_file = 'keys.json'", "set one of jwks_url and jwks_file"),
        (GOOD.replace("jwks_url = ", "client_id = "), "set one of jwks_url and jwks_file"),
        (GOOD.replace("https://login.bank.example/keys", "http://10.0.0.1/keys"), "must begin with https"),
        (GOOD.replace("https://login.bank.example/keys", "file:///etc/keys"), "must begin with https"),
        (GOOD.replace("jwks_url", "jwks_file"), "which is no file"),
        (GOOD + GOOD, "an issuer twice"),
        (GOOD + OTHER, "could name the same principals"),
        (GOOD + 'prefix = "a."' + OTHER + 'prefix = "a.b."', "could name the same principals"),
        (GOOD + OTHER + 'prefix = "b."', "could name the same principals"),
    ],
)
def test_a_wrong_file_is_an_error_that_says_why(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(written(tmp_path, content))


def test_two_providers_with_names_apart_are_taken(tmp_path: Path) -> None:
    both = load(written(tmp_path, GOOD + 'prefix = "a."' + OTHER + 'prefix = "b."'))
    assert [each.prefix for each in both] == ["a.", "b."]


BANK = Issuer(url="https://login.bank.example", audience="steelyard", jwks_file="keys.json")


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        pytest.param({"azp": "steelyard-cli"}, False, id="a person at a client"),
        pytest.param({"client_id": "steelyard-cli", "scp": "openid"}, False, id="a person, RFC 9068"),
        pytest.param({"preferred_username": "ada", "idtyp": "user", "gty": "password"}, False, id="a person"),
        pytest.param({"azp": "x"}, True, id="Google, Cognito: sub and azp"),
        pytest.param({"client_id": "x"}, True, id="RFC 9068: sub and client_id"),
        pytest.param({"appid": "x"}, True, id="sub and appid"),
        pytest.param({"cid": "x"}, True, id="Okta: sub and cid"),
        pytest.param({"idtyp": "app", "azp": "y"}, True, id="Entra"),
        pytest.param({"gty": "client-credentials", "azp": "y"}, True, id="Auth0"),
        pytest.param({"preferred_username": "service-account-ci"}, True, id="Keycloak"),
        pytest.param({"email": "ci@bank.iam.gserviceaccount.com"}, True, id="Google: address"),
        pytest.param({"azp": ["x"], "preferred_username": 7, "email": None}, False, id="odd claims"),
    ],
)
def test_a_service_is_told_apart_without_a_setting(claims: dict[str, Any], *, expected: bool) -> None:
    assert is_service(BANK, {"sub": "x"} | claims) == expected
    assert is_service(replace(BANK, service_claim="robot"), {"sub": "x"} | claims) == expected


@pytest.mark.parametrize(
    ("setting", "claims", "expected"),
    [
        ("client_id", {"client_id": "ci"}, True),
        ("client_id", {"client_id": None}, False),
        ("client_id", {"azp": "ci"}, False),
        ("kind=robot", {"kind": "robot"}, True),
        ("kind=robot", {"kind": "person"}, False),
        ("kind=robot", {"kind": ["a", "robot"]}, True),
        ("kind=robot", {"kind": ["robots"]}, False),
        ("kind=robot", {"kind": {"robot": 1}}, False),
        ("robot=true", {"robot": True}, True),
        ("robot=true", {"robot": False}, False),
        ("eq=a=b", {"eq": "a=b"}, True),
        ("https://bank.example/robot", {"https://bank.example/robot": 0}, True),
    ],
)
def test_a_claim_that_is_set_tells_a_service_apart(
    setting: str, claims: dict[str, Any], *, expected: bool
) -> None:
    assert is_service(replace(BANK, service_claim=setting), {"sub": "x"} | claims) == expected


def test_where_all_are_services_each_is() -> None:
    assert is_service(replace(BANK, kind="service"), {"sub": "x"})
