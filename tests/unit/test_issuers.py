"""The file of identity providers: what may stand in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard_server.config import ConfigError
from steelyard_server.issuers import load

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
