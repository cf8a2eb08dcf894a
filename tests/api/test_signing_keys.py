"""Where the keys of a provider come from, how often they are asked for, and what happens without them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steelyard_server.api import logins, signing_keys
from steelyard_server.config import ConfigError
from tests.api.calls import Refused, call
from tests.api.logins import bearer
from tests.issuers import AUDIENCE, URL, Provider, key_server, rsa_key, settings
from tests.servers import Running, running_server

pytestmark = pytest.mark.asyncio

OLD, NEW, FOREIGN = rsa_key("old"), rsa_key("new"), rsa_key("foreign")
# Two keys by one name: whose a login is would depend on which of them was read last.
TWINS = [NEW.entry() | {"kid": "old"}, OLD.entry()]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let keys be asked for as often as somebody wants them."""
    monkeypatch.setattr(signing_keys, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(signing_keys, "RETRY_SECONDS", 0.0)


def table(**more: str) -> dict[str, str]:
    return {"url": URL, "audience": AUDIENCE} | more


async def outcome(running: Running, login: str) -> str:
    try:
        told = await call(running.channel, "WhoAmI", metadata=bearer(login))
    except Refused as refused:
        return refused.reason
    return str(told.actor.id)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("kind", ["url", "file"])
async def test_a_new_key_is_found_and_a_former_one_is_good_no_more(tmp_path: Path, kind: str) -> None:
    bank, file = Provider([OLD]), tmp_path / "keys.json"
    with key_server(bank.key_set()) as served:
        file.write_text(bank.key_set())
        where = {"jwks_url": served.url} if kind == "url" else {"jwks_file": str(file)}
        async with running_server(tmp_path / "data", **settings(tmp_path, table(**where))) as running:
            former = bank.login()
            assert await outcome(running, former) == "user:ada"
            bank.keys = [NEW]
            served.content = bank.key_set().encode()
            file.write_text(bank.key_set())
            # It is remembered, until somebody comes with the new key.
            assert await outcome(running, former) == "user:ada"
            assert await outcome(running, bank.login()) == "user:ada"
            assert await outcome(running, former) == "SIGNING_KEY_UNKNOWN"


async def test_unknown_keys_are_a_reason_to_look_again_once_only(tmp_path: Path) -> None:
    bank = Provider([OLD])
    with key_server(bank.key_set()) as served:
        where = settings(tmp_path, table(jwks_url=served.url))
        async with running_server(tmp_path / "data", **where) as running:
            assert await outcome(running, bank.login()) == "user:ada"
            asked = served.asked
            found = await asyncio.gather(*(outcome(running, bank.login(key=FOREIGN)) for _ in range(20)))
            assert set(found) == {"SIGNING_KEY_UNKNOWN"}
            assert served.asked == asked == 1


async def test_many_that_wait_for_the_keys_wait_for_one_answer_and_nobody_else_does(tmp_path: Path) -> None:
    bank = Provider([OLD])
    with key_server(bank.key_set()) as served:
        served.held.clear()
        where = settings(tmp_path, table(jwks_url=served.url))
        async with running_server(tmp_path / "data", **where) as running:
            waiting = [asyncio.create_task(outcome(running, bank.login(f"u{n}"))) for n in range(10)]
            first = bearer(running.server.first_token)
            assert (await call(running.channel, "WhoAmI", metadata=first)).actor.id == "user:admin"
            assert not any(each.done() for each in waiting)
            served.held.set()
            assert await asyncio.gather(*waiting) == [f"user:u{n}" for n in range(10)]
            assert served.asked == 1


async def test_a_provider_that_does_not_answer_is_waited_for_within_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_keys, "READ_SECONDS", 0.3)
    bank = Provider([OLD])
    with key_server(bank.key_set()) as served:
        served.held.clear()
        where = settings(tmp_path, table(jwks_url=served.url))
        async with running_server(tmp_path / "data", **where) as running:
            assert await outcome(running, bank.login()) == "SIGNING_KEYS_UNAVAILABLE"
            served.held.set()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "broken",
    [
        {"status": 500},
        {"content": b"no JSON"},
        {"content": b'{"keys": []}'},
        {"content": 3000 * b"["},
        {"content": json.dumps({"keys": 101 * [OLD.entry()]}).encode()},
        {"content": b'{"keys": [' + 300_000 * b" " + json.dumps(OLD.entry()).encode() + b"]}"},
        {"content": json.dumps({"keys": [OLD.entry() | {"d": "AQAB"}]}).encode()},
        {"content": json.dumps({"keys": [OLD.entry() | {"use": "enc"}]}).encode()},
        {"content": json.dumps({"keys": TWINS}).encode()},
        {"status": 302},
    ],
    ids=["500", "no JSON", "empty", "deep", "many", "large", "private", "enc", "twice", "redirect"],
)
async def test_what_is_no_set_of_keys_changes_nothing_and_the_start_goes_on(
    tmp_path: Path, broken: dict[str, Any]
) -> None:
    bank = Provider([OLD])
    with key_server(bank.key_set()) as good, key_server("") as served:
        served.location = good.url if broken.get("status") == 302 else ""
        for name, value in broken.items():
            setattr(served, name, value)
        where = settings(tmp_path, table(jwks_url=served.url))
        async with running_server(tmp_path / "data", **where) as running:
            assert await outcome(running, bank.login()) == "SIGNING_KEYS_UNAVAILABLE"
            served.status, served.location, served.content = 200, "", bank.key_set().encode()
            assert await outcome(running, bank.login()) == "user:ada"
            for name, value in broken.items():
                setattr(served, name, value)
            assert await outcome(running, bank.login("grace")) == "user:ada".replace("ada", "grace")
            assert await outcome(running, bank.login(key=FOREIGN)) == "SIGNING_KEY_UNKNOWN"
        assert good.asked == 0


@pytest.mark.usefixtures("at_once")
async def test_two_keys_by_one_name_are_not_taken_and_the_log_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank = Provider([OLD])
    with key_server(bank.key_set()) as served:
        where = settings(tmp_path, table(jwks_url=served.url))
        async with running_server(tmp_path / "data", **where) as running:
            assert await outcome(running, bank.login()) == "user:ada"
            served.content = json.dumps({"keys": TWINS}).encode()
            twin = replace(NEW, name="old")
            assert await outcome(running, bank.login(key=FOREIGN)) == "SIGNING_KEY_UNKNOWN"
            assert await outcome(running, bank.login("grace")) == "user:grace"
            assert await outcome(running, bank.login(key=twin)) == "SIGNATURE_INVALID"
    assert "two keys whose kid is 'old'" in capsys.readouterr().out


async def test_a_key_that_is_not_for_signatures_may_have_the_name_of_one_that_is(tmp_path: Path) -> None:
    bank, file = Provider([OLD]), tmp_path / "keys.json"
    other = NEW.entry() | {"kid": "old", "use": "enc"}
    file.write_text(json.dumps({"keys": [OLD.entry(), other]}))
    where = settings(tmp_path, table(jwks_file=str(file)))
    async with running_server(tmp_path / "data", **where) as running:
        assert await outcome(running, bank.login()) == "user:ada"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps({"keys": TWINS}), "two keys whose kid is 'old'"),
        (json.dumps({"keys": [OLD.entry(), OLD.entry()]}), "two keys whose kid is 'old'"),
        ('{"keys": []}', "no public key"),
        ("junk", "cannot be read"),
    ],
)
async def test_a_file_that_is_no_set_of_keys_is_an_error_at_the_start(
    tmp_path: Path, content: str, words: str
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=words) as refused:
        async with running_server(tmp_path / "data", **settings(tmp_path, table(jwks_file=str(file)))):
            pass
    assert str(file) in str(refused.value)


@pytest.mark.usefixtures("at_once")
async def test_keys_that_were_not_confirmed_for_a_day_are_good_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = Provider([OLD])
    with key_server(bank.key_set()) as served:
        where = settings(tmp_path, table(jwks_url=served.url))
        async with running_server(tmp_path / "data", **where) as running:
            assert await outcome(running, bank.login()) == "user:ada"
            served.status = 500
            monkeypatch.setattr(signing_keys, "STALE_SECONDS", -1.0)
            assert await outcome(running, bank.login("grace")) == "SIGNING_KEYS_UNAVAILABLE"


async def test_only_so_many_logins_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "TOKENS_MAXIMUM", 3)
    bank, file = Provider([OLD]), tmp_path / "keys.json"
    file.write_text(bank.key_set())
    where = settings(tmp_path, table(jwks_file=str(file)))
    async with running_server(tmp_path / "data", **where) as running:
        for number in range(8):
            assert await outcome(running, bank.login(f"u{number}")) == f"user:u{number}"
            assert len(running.server._feeds._logins._known) <= 3


@pytest.mark.parametrize(
    ("more", "claims", "principal"),
    [
        (
            {"principal_claim": "upn", "lower_case": True},
            {"upn": "Ada@Bank.Example"},
            "user:ada@bank.example",
        ),
        ({"principal_claim": "email"}, {"email": "a@b.example", "email_verified": True}, "user:a@b.example"),
        ({"principal_claim": "email"}, {"email": "a@b.example"}, "CLAIM_INVALID"),
        ({"principal_claim": "email"}, {"email": "a@b.example", "email_verified": "yes"}, "CLAIM_INVALID"),
        # The sign of Kelvin, whose small letter is that of the alphabet.
        ({"principal_claim": "upn", "lower_case": True}, {"upn": "\N{KELVIN SIGN}ate"}, "CLAIM_INVALID"),
        ({"kind": "service"}, {}, "service:ada"),
        ({}, {"azp": "ada"}, "service:ada"),
        ({}, {"idtyp": "app"}, "service:ada"),
        ({"service_claim": "robot"}, {"robot": 1}, "service:ada"),
        ({"service_claim": "robot"}, {"azp": "steelyard-cli"}, "user:ada"),
        ({"prefix": "partner."}, {"azp": "ada"}, "service:partner.ada"),
        ({"prefix": "partner."}, {}, "user:partner.ada"),
        ({"algorithms": ["ES256"]}, {}, "ALGORITHM_REFUSED"),
    ],
)
async def test_the_settings_say_who_a_login_is(
    tmp_path: Path, more: dict[str, Any], claims: dict[str, Any], principal: str
) -> None:
    bank, file = Provider([OLD]), tmp_path / "keys.json"
    file.write_text(bank.key_set())
    where = settings(tmp_path, table(jwks_file=str(file)) | more)
    async with running_server(tmp_path / "data", **where) as running:
        assert await outcome(running, bank.login(**claims)) == principal
