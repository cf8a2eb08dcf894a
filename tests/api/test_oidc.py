"""Logins of identity providers over the wire: which are taken, which are not and why."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from jwt.warnings import InsecureKeyLengthWarning

from tests.api.calls import Refused, call
from tests.api.logins import People, bearer
from tests.issuers import AUDIENCE, URL, Provider, SigningKey, elliptic_key, rsa_key, settings
from tests.servers import running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

BANK = Provider([rsa_key("first"), elliptic_key("second")])
STRANGER = rsa_key("first")
SHORT = rsa_key("short", bits=1024)
DAY = 86_400


def public_pem() -> bytes:
    """Return the public key of the bank, which everybody knows."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public: bytes = (
        BANK.keys[0].private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return public


def encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def symmetric(secret: bytes) -> str:
    """Sign a login with what everybody knows as if it were a secret."""
    header = {"alg": "HS256", "typ": "JWT", "kid": "first"}
    body = f"{encoded(header)}.{encoded(BANK.claims('ada'))}"
    signature = hmac.new(secret, body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def unsigned(algorithm: str) -> str:
    return f"{encoded({'alg': algorithm, 'kid': 'first'})}.{encoded(BANK.claims('ada'))}."


def with_header(**header: Any) -> str:
    """Return a login that is signed rightly, with more in its header."""
    claims, key = BANK.claims("ada"), BANK.keys[0]
    return jwt.encode(claims, key.private, algorithm="RS256", headers={"kid": "first"} | header)


def by_a_short_key() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureKeyLengthWarning)
        return BANK.login(key=SHORT)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[People]:
    directory = tmp_path_factory.mktemp("oidc")
    keys = directory / "keys.json"
    listed = json.loads(BANK.key_set())["keys"]
    # So that only the settings say how the provider may sign with it.
    del listed[0]["alg"]
    secret = {"kty": "oct", "kid": "secret", "k": encoded({"a": 1}), "alg": "HS256"}
    keys.write_text(json.dumps({"keys": [*listed, secret, SHORT.entry(), {"kty": "RSA"}, "junk"]}))
    table = {"url": URL, "audience": AUDIENCE, "jwks_file": str(keys), "client_id": "steelyard-cli"}
    async with running_server(directory / "data", **settings(directory, table)) as running:
        yield People(running)


async def whoami(people: People, login: str) -> Any:
    return await call(people.running.channel, "WhoAmI", metadata=bearer(login))


async def refusal(people: People, login: str) -> Refused:
    with pytest.raises(Refused) as refused:
        await whoami(people, login)
    return refused.value


@pytest.mark.parametrize("key", BANK.keys, ids=lambda key: key.algorithm)
async def test_a_login_of_the_provider_is_taken_and_whoami_tells_of_it(
    people: People, key: SigningKey
) -> None:
    end = int(time.time()) + 300
    told = await whoami(people, BANK.login("ada", key=key, exp=end))

    assert (told.actor.id, told.actor.kind, told.actor.authenticated) == ("user:ada", 1, True)
    assert (told.actor.method, told.actor.issuer, told.actor.token_uid) == ("oidc", URL, "")
    assert (told.expire_time.seconds, list(told.grants)) == (end, [])


async def test_a_token_of_the_registry_goes_on_to_be_taken(people: People) -> None:
    told = await people.ask("admin", "WhoAmI")
    assert (told.actor.method, told.actor.issuer) == ("token", "")
    assert told.expire_time.seconds > time.time()


async def test_groups_of_the_provider_have_roles_like_those_of_the_registry(people: People) -> None:
    await people.ask("admin", "CreateGroup", {"name": "local", "members": ["user:grace"]})
    for group, role in (("oidc.fraud-team", "WRITER"), ("local", "READER")):
        fields = {"subject": f"group:{group}", "role": f"ROLE_{role}", "scope": "default"}
        await people.ask("admin", "GrantRole", fields)
    names = ["fraud-team", "No Group!", "fraud-team", 7, ".", "x" * 200]
    login = BANK.login("grace", groups=names)

    told = await whoami(people, login)
    assert list(told.groups) == ["group:local", "group:oidc.fraud-team"]
    assert [each.subject for each in told.grants] == ["group:oidc.fraud-team", "group:local"]
    made = await call(
        people.running.channel, "CreateModel", {"name": "default/claimed"}, metadata=bearer(login)
    )
    assert (made.model.creator.id, made.model.creator.issuer) == ("user:grace", URL)
    with pytest.raises(Refused) as refused:
        await call(
            people.running.channel,
            "CreateModel",
            {"name": "default/other"},
            metadata=bearer(BANK.login("grace")),
        )
    assert refused.value.reason == "PERMISSION_MISSING"


async def test_a_role_that_is_taken_away_is_gone_at_once_for_a_login_too(people: People) -> None:
    login = bearer(BANK.login("linus", groups=["crew"]))
    fields = {"subject": "group:oidc.crew", "role": "ROLE_READER", "scope": "default"}
    await people.ask("admin", "GrantRole", fields)
    await call(people.running.channel, "GetNamespace", {"name": "default"}, metadata=login)

    await people.ask("admin", "RevokeRole", fields)

    with pytest.raises(Refused) as refused:
        await call(people.running.channel, "GetNamespace", {"name": "default"}, metadata=login)
    assert refused.value.reason == "PERMISSION_MISSING"


NOW = int(time.time())
GOOD = BANK.login()


@pytest.mark.parametrize(
    ("login", "reason"),
    [
        pytest.param("junk", "TOKEN_MALFORMED", id="junk"),
        pytest.param(GOOD[:60], "TOKEN_MALFORMED", id="cut in the claims"),
        pytest.param(GOOD.rpartition(".")[0], "TOKEN_MALFORMED", id="cut signature and dot"),
        pytest.param(GOOD[:-2], "SIGNATURE_INVALID", id="cut signature"),
        pytest.param(
            f"{encoded({'alg': 'RS256'})}.{2000 * 'W1'}.", "TOKEN_MALFORMED", id="long and no claims"
        ),
        pytest.param(
            f"{encoded({'alg': 'RS256'})}.{base64.urlsafe_b64encode(b'[' * 5000).decode()}.",
            "TOKEN_MALFORMED",
            id="deep",
        ),
        pytest.param(unsigned("none"), "ALGORITHM_REFUSED", id="none"),
        pytest.param(unsigned("NONE"), "ALGORITHM_REFUSED", id="NONE"),
        pytest.param(unsigned("RS256"), "SIGNATURE_INVALID", id="no signature"),
        pytest.param(symmetric(public_pem()), "ALGORITHM_REFUSED", id="HS256 with the public key"),
        pytest.param(symmetric(b'{"a": 1}'), "ALGORITHM_REFUSED", id="HS256 with the key of the set"),
        pytest.param(
            jwt.encode(BANK.claims("ada"), BANK.keys[0].private, algorithm="RS512", headers={"kid": "first"}),
            "ALGORITHM_REFUSED",
            id="an algorithm that is not set",
        ),
        pytest.param(
            jwt.encode(
                BANK.claims("ada"), BANK.keys[0].private, algorithm="RS256", headers={"kid": "second"}
            ),
            "ALGORITHM_REFUSED",
            id="a key for another algorithm",
        ),
        pytest.param(BANK.login(key=STRANGER), "SIGNATURE_INVALID", id="a key of somebody else"),
        pytest.param(
            with_header(kid="unknown", jwk=STRANGER.entry(), jku="https://evil.example/keys"),
            "SIGNING_KEY_UNKNOWN",
            id="a key that it brings along",
        ),
        pytest.param(by_a_short_key(), "SIGNING_KEY_UNKNOWN", id="a short key"),
        pytest.param(
            jwt.encode(BANK.claims("ada"), BANK.keys[0].private, algorithm="RS256"),
            "SIGNING_KEY_UNKNOWN",
            id="no kid",
        ),
        pytest.param(with_header(crit=["exp", "new"], new=1), "TOKEN_MALFORMED", id="unknown crit"),
        pytest.param(BANK.login(iss="https://evil.example"), "ISSUER_UNKNOWN", id="other issuer"),
        pytest.param(BANK.login(iss=URL + "/"), "ISSUER_UNKNOWN", id="nearly the issuer"),
        pytest.param(BANK.login(iss=None), "ISSUER_UNKNOWN", id="no issuer"),
        pytest.param(BANK.login(aud="payroll"), "AUDIENCE_MISMATCH", id="other audience"),
        pytest.param(BANK.login(aud=["payroll", "crm"]), "AUDIENCE_MISMATCH", id="other audiences"),
        pytest.param(BANK.login(aud=None), "CLAIM_INVALID", id="no audience"),
        pytest.param(BANK.login(exp=NOW - 1), "TOKEN_EXPIRED", id="expired a second ago"),
        pytest.param(BANK.login(exp=None), "CLAIM_INVALID", id="no end"),
        pytest.param(BANK.login(exp="soon"), "CLAIM_INVALID", id="an end that is no time"),
        pytest.param(BANK.login(exp=True), "CLAIM_INVALID", id="an end that is a truth value"),
        pytest.param(BANK.login(exp=float("inf")), "CLAIM_INVALID", id="no end, as a number"),
        pytest.param(BANK.login(exp=NOW + 2 * DAY), "CLAIM_INVALID", id="good for too long"),
        pytest.param(BANK.login(iat=None), "CLAIM_INVALID", id="no time of issue"),
        pytest.param(BANK.login(iat=NOW + DAY), "CLAIM_INVALID", id="issued tomorrow"),
        pytest.param(BANK.login(nbf=NOW + DAY), "CLAIM_INVALID", id="good from tomorrow on"),
        pytest.param(BANK.login(sub=None), "CLAIM_INVALID", id="nobody"),
        pytest.param(BANK.login(sub=7), "CLAIM_INVALID", id="a number"),
        pytest.param(BANK.login("Ada"), "CLAIM_INVALID", id="capital letters"),
        pytest.param(BANK.login("a b"), "CLAIM_INVALID", id="a blank"),
        pytest.param(BANK.login("x" * 300), "CLAIM_INVALID", id="a long name"),
        pytest.param(BANK.login("admin"), "CLAIM_INVALID", id="the first admin"),
        pytest.param(BANK.login(groups="team"), "CLAIM_INVALID", id="groups that are no list"),
        pytest.param(BANK.login(groups=300 * ["g"]), "CLAIM_INVALID", id="too many groups"),
    ],
)
async def test_what_is_no_good_login_is_refused_each_with_its_reason(
    people: People, login: str, reason: str
) -> None:
    refused = await refusal(people, login)
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", reason)
    # Nobody else's secrets can stand there, but the login itself should not be in logs of clients either.
    assert login not in refused.message
    assert len(refused.message) < 300


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - 1},
        {"exp": None},
        {"nbf": NOW + DAY},
        {"aud": "payroll"},
        {"sub": "admin"},
        {"groups": "team"},
        {},
    ],
    ids=["over", "no end", "not begun", "other audience", "the first admin", "bad groups", "nothing else"],
)
async def test_who_cannot_sign_learns_nothing_but_that(people: People, claims: dict[str, Any]) -> None:
    """Else they could ask, claim by claim, what would be taken."""
    refused = await refusal(people, BANK.login(key=STRANGER, **claims))
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "SIGNATURE_INVALID")
    assert refused.message == f"The signature of this login is not that of {URL}."
    assert dict(refused.info.metadata) == {"issuer": URL}


@pytest.mark.parametrize("size_bytes", [8 * 1024, 9 * 1024, 12 * 1024])
async def test_a_login_that_is_too_long_is_refused_each_time(people: People, size_bytes: int) -> None:
    login = BANK.login("ada", picture="x" * (size_bytes * 3 // 4))
    assert len(login) > size_bytes
    for _ in range(5):
        refused = await refusal(people, login)
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "TOKEN_MALFORMED")


async def test_a_login_is_over_at_its_end_also_when_it_was_remembered(people: People) -> None:
    end = int(time.time()) + 2
    login = BANK.login("brief", exp=end)
    await whoami(people, login)
    while time.time() < end:
        await call(people.running.channel, "GetServerInfo")

    assert (await refusal(people, login)).reason == "TOKEN_EXPIRED"
    assert (await refusal(people, login)).reason == "TOKEN_EXPIRED"


async def test_server_info_says_where_to_log_in_without_a_login(people: People) -> None:
    told = await call(people.running.channel, "GetServerInfo")
    [issuer] = told.issuers
    assert (issuer.url, issuer.audience, issuer.client_id) == (URL, AUDIENCE, "steelyard-cli")
    assert list(issuer.scopes) == ["openid", "offline_access"]


async def test_a_server_without_providers_takes_no_logins_of_any(tmp_path: Path) -> None:
    async with running_server(tmp_path / "data", auth="tokens") as running:
        with pytest.raises(Refused) as refused:
            await call(running.channel, "WhoAmI", metadata=bearer(BANK.login()))
        assert refused.value.reason == "TOKEN_MALFORMED"
        assert not (await call(running.channel, "GetServerInfo")).issuers


@pytest.mark.parametrize(
    ("more", "named", "is_apart"),
    [
        ({}, "oidc.risk", True),
        ({"groups_prefix": "bank."}, "bank.risk", True),
        ({"prefix": "partner.", "groups_prefix": ""}, "partner.risk", True),
        ({"prefix": "partner."}, "partner.oidc.risk", True),
        ({"groups_prefix": ""}, "risk", False),
    ],
)
async def test_a_local_group_and_one_of_a_provider_with_one_name_are_two(
    tmp_path: Path, more: dict[str, str], named: str, *, is_apart: bool
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(BANK.key_set())
    table = {"url": URL, "audience": AUDIENCE, "jwks_file": str(keys)} | more
    async with running_server(tmp_path / "data", **settings(tmp_path, table)) as running:
        people = People(running)
        await people.add("grace")
        await people.ask("admin", "CreateGroup", {"name": "risk", "members": ["user:grace"]})
        for group, role in (("risk", "WRITER"), (named, "READER")):
            fields = {"subject": f"group:{group}", "role": f"ROLE_{role}", "scope": "default"}
            await people.ask("admin", "GrantRole", fields)

        local, provided = (
            await people.ask("grace", "WhoAmI"),
            await whoami(people, BANK.login(groups=["risk"])),
        )

        assert (list(local.groups), list(provided.groups)) == (["group:risk"], [f"group:{named}"])
        found = [{each.role for each in who.grants} for who in (local, provided)]
        assert found == ([{3}, {2}] if is_apart else [{2, 3}, {2, 3}])
        with pytest.raises(Refused) as refused:
            await people.ask("admin", "CreateGroup", {"name": named, "members": ["user:grace"]})
        assert refused.value.reason == ("RESERVED_NAME" if is_apart else "GROUP_ALREADY_EXISTS")


async def test_who_may_administer_at_a_provider_ends_the_need_for_a_first_token(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(BANK.key_set())
    table = {"url": URL, "audience": AUDIENCE, "jwks_file": str(keys)}
    for revoked in (False, True):
        async with running_server(tmp_path / "data", **settings(tmp_path, table)) as running:
            assert bool(running.server.first_token) == (not revoked)
            if not revoked:
                people = People(running)
                await people.grant("ada", "admin", "")
                [token] = (await people.ask("admin", "ListTokens")).tokens
                await people.ask("admin", "RevokeToken", {"uid": token.uid})
