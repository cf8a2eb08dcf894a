"""Logging in from the command line, at a provider or with a token, and out again."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from steelyard.cli import logins
from steelyard.device_login import ProviderUnreachable
from tests.cli.shell import Outcome, Shell, finished
from tests.device_provider import LOST, Bank, bank_server
from tests.issuers import AUDIENCE, settings
from tests.servers import ServerProcess, server_process


@dataclass
class Place:
    """A server that takes logins of a bank, and a person."""

    bank: Bank
    ada: Shell
    first_token: str

    @property
    def file(self) -> Path:
        return self.ada.directory / "config" / "logins.json"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bank, ServerProcess, str]]:
    """Run a bank, and a server that takes its logins, for all tests here."""
    directory = tmp_path_factory.mktemp("logins")
    with bank_server() as bank:
        table = {
            "url": bank.url,
            "audience": AUDIENCE,
            "jwks_url": f"{bank.url}/keys",
            "client_id": "steelyard-cli",
        }
        flags = settings(directory, table)
        arguments = ("--auth", "oidc", "--oidc-issuers", flags["oidc_issuers"])
        with server_process(directory / "data", *arguments) as server:
            yield bank, server, server.first_token()


@pytest.fixture
def place(running: tuple[Bank, ServerProcess, str], tmp_path: Path) -> Place:
    """Return the bank as at first, and a person who has configured nothing but the server."""
    bank, server, token = running
    bank.reset()
    return Place(bank, Shell(tmp_path, {"STEELYARD_SERVER": server.address}), token)


def with_input(shell: Shell, *arguments: str, text: str) -> Outcome:
    process = shell.start(*arguments, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(text.encode())
    process.stdin.flush()
    return finished(process)


def test_a_person_confirms_elsewhere_and_is_logged_in_until_they_log_out(place: Place) -> None:
    assert place.ada.run("models", "ls").code == 6

    done = place.ada.ok("login")

    assert f"{place.bank.url}/confirm" in done.err
    assert "ABCD-EFGH" in done.err
    assert f"to log in at {place.bank.url} for {AUDIENCE}" in done.err
    assert "You are user:ada" in done.err
    assert f"by a login at {place.bank.url} for {AUDIENCE}" in done.err
    told = place.ada.ok("whoami").facts
    assert (told["name"], told["issuer"], told["audience"]) == ("user:ada", place.bank.url, AUDIENCE)
    assert told["until"]
    assert [form["client_id"] for form in place.bank.forms] == 3 * ["steelyard-cli"]
    assert "forgotten" in place.ada.ok("logout").err
    assert place.ada.run("whoami").code == 6
    assert "No login" in place.ada.ok("logout").err


def test_what_is_kept_only_its_owner_can_read(place: Place) -> None:
    before = os.umask(0)
    try:
        place.ada.ok("login")
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.file.parent.stat().st_mode) == 0o700
    assert {each.name for each in place.file.parent.iterdir()} <= {"logins.json", "logins.lock"}
    for each in place.file.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    # One that somebody opened up, or put back from a backup, is closed by the next login.
    place.file.chmod(0o644)
    place.ada.ok("login")
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o600


def test_a_login_that_ended_is_renewed_without_the_person(place: Place) -> None:
    place.bank.seconds = 30
    place.ada.ok("login")
    place.bank.seconds = 600

    assert place.ada.ok("whoami").facts["name"] == "user:ada"

    assert place.bank.forms[-1]["grant_type"] == "refresh_token"
    assert place.bank.forms[-1]["refresh_token"].endswith(" 3")
    asked = len(place.bank.forms)
    place.ada.ok("whoami")
    assert len(place.bank.forms) == asked
    [kept] = json.loads(place.file.read_text()).values()
    assert kept["refresh_token"] == f"again {asked}"


def test_commands_that_renew_at_once_renew_once_where_a_refresh_token_is_good_once(place: Place) -> None:
    place.bank.seconds, place.bank.rotates = 30, True
    place.ada.ok("login")
    place.bank.seconds, place.bank.renewal_seconds = 600, 3

    both = [place.ada.start("whoami") for _ in range(2)]

    assert [finished(each).code for each in both] == [0, 0]
    assert place.bank.renewals == 1
    [kept] = json.loads(place.file.read_text()).values()
    assert kept["refresh_token"] == place.bank.newest


def test_who_renews_waits_for_others_within_a_bound(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.bank.seconds = 30
    place.ada.ok("login")
    monkeypatch.setenv("STEELYARD_CONFIG_DIR", str(place.file.parent))
    monkeypatch.setattr(logins, "WAIT_SECONDS", 0.2)
    before, asked = place.file.read_text(), len(place.bank.forms)
    with FileLock(place.file.with_suffix(".lock")), pytest.raises(ProviderUnreachable, match=r"logins\.lock"):
        logins.token_for(place.ada.variables["STEELYARD_SERVER"])
    assert (place.file.read_text(), len(place.bank.forms)) == (before, asked)


def test_a_login_that_cannot_be_renewed_says_what_to_do(place: Place) -> None:
    place.bank.seconds = 30
    place.ada.ok("login")
    place.bank.answers = ["invalid_grant"]

    done = place.ada.run("whoami")

    assert done.code == 6
    assert "Log in again: steelyard login." in done.err


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("access_denied", "you declined"),
        ("expired_token", "nobody confirmed in time"),
        ("odd", "failed: odd"),
    ],
)
def test_a_login_that_fails_says_why_and_keeps_nothing(place: Place, answer: str, words: str) -> None:
    place.bank.answers = ["authorization_pending", answer]
    done = place.ada.run("login")
    assert (done.code, words in done.err) == (3, True)
    assert not place.file.exists()


def test_a_token_is_read_from_a_pipe_and_checked_before_it_is_kept(place: Place) -> None:
    done = with_input(place.ada, "login", "--token", text=f"{place.first_token}\n")
    assert (done.code, "You are user:admin" in done.err) == (0, True)
    assert place.ada.ok("whoami").facts["name"] == "user:admin"
    bad = with_input(place.ada, "login", "--token", text=f"{place.first_token[:-1]}\n")
    assert bad.code == 6
    assert place.first_token[20:60] not in bad.out + bad.err + done.out + done.err
    assert place.ada.ok("whoami").facts["name"] == "user:admin"
    assert with_input(place.ada, "login", "--token", text="\n").code == 2


def test_a_login_is_for_one_server_and_a_variable_goes_before_it(place: Place) -> None:
    place.ada.ok("login")
    admin = Shell(place.ada.directory, place.ada.variables | {"STEELYARD_TOKEN": place.first_token})
    assert admin.ok("whoami").facts["name"] == "user:admin"
    assert "STEELYARD_TOKEN is set" in admin.ok("login").err
    [address] = json.loads(place.file.read_text())
    assert address == place.ada.variables["STEELYARD_SERVER"]


def test_where_there_is_nothing_to_log_in_at_it_says_so(place: Place) -> None:
    wrong = place.ada.run("login", "--issuer", "https://other.example")
    assert (wrong.code, place.bank.url in wrong.err) == (2, True)


@pytest.mark.parametrize("content", ["junk", "[]", '{"a": 1}'])
def test_a_broken_file_is_named(place: Place, content: str) -> None:
    place.file.parent.mkdir(exist_ok=True)
    place.file.write_text(content)
    done = place.ada.run("whoami")
    assert (done.code, "logins.json" in done.err) == (2, True)


def test_with_json_programs_learn_who_they_are_and_what_was_forgotten(place: Place) -> None:
    done = place.ada.ok("login", "--json")
    assert json.loads(done.out) == json.loads(place.ada.ok("whoami", "--json").out)
    assert json.loads(done.out)["actor"]["id"] == "user:ada"
    assert json.loads(done.out)["actor"]["issuer"] == place.bank.url
    assert json.loads(done.out)["audience"] == AUDIENCE
    assert "ABCD-EFGH" in done.err
    address = place.ada.variables["STEELYARD_SERVER"]
    for forgotten in (True, False):
        told = json.loads(place.ada.ok("logout", "--json").out)
        assert told == {"server": address, "forgotten": forgotten}


def test_ctrl_c_while_somebody_should_confirm_ends_it_and_keeps_nothing(place: Place) -> None:
    place.bank.answers = ["authorization_pending"]
    process = place.ada.start("login")
    try:
        assert process.stderr is not None
        assert b"ABCD-EFGH" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        done = finished(process)
    finally:
        process.kill()
        process.wait()
    assert (done.code, done.out) == (130, "")
    assert "Traceback" not in done.err
    assert not place.file.exists()


def test_a_provider_that_is_away_for_a_moment_ends_nothing_and_is_7_where_it_stays_away(
    place: Place,
) -> None:
    place.bank.seconds = 30
    place.ada.ok("login")
    kept = place.file.read_text()
    place.bank.answers = [LOST]

    renewed = place.ada.run("whoami")

    assert (renewed.code, "cannot be reached" in renewed.err) == (7, True)
    assert place.file.read_text() == kept
    place.bank.answers = ["ok"]
    assert place.ada.ok("whoami").facts["name"] == "user:ada"


def test_each_registry_has_a_login_of_its_own(
    place: Place, shared: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = Shell(place.ada.directory, {})
    with server_process(tmp_path_factory.mktemp("second") / "data", "--auth", "tokens") as second:
        token = second.first_token()
        servers = {"here": place.ada.variables["STEELYARD_SERVER"], "there": second.address}
        for name, server in (*servers.items(), ("open", shared.address)):
            home.ok("contexts", "add", name, server)
        home.ok("login")
        assert home.run("--context", "there", "whoami").code == 6
        assert home.run("--context", "there", "login").code == 2
        assert with_input(home, "--context", "there", "login", "--token", text=token).code == 0
        said = with_input(home, "--context", "open", "login", "--token", text=token)
        assert "wants no login" in said.err
        assert set(json.loads(place.file.read_text())) == set(servers.values())
        for context, name in (("here", "user:ada"), ("there", "user:admin")):
            assert home.ok("--context", context, "whoami").facts["name"] == name
        home.ok("--context", "there", "logout")
        assert home.run("--context", "there", "whoami").code == 6
        assert home.ok("whoami").facts["name"] == "user:ada"
