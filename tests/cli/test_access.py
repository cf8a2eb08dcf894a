"""Logging in from the command line, and saying who may do what."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import authority
from tests.cli.shell import Shell, finished
from tests.servers import server_process


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run a server that wants a login, with TLS, and return what an admin of it sets."""
    directory = tmp_path_factory.mktemp("guarded")
    pair = authority(directory / "ca").issue("server")
    with server_process(directory / "data", *pair.serve, "--auth", "tokens") as server:
        yield {
            "STEELYARD_SERVER": f"https://{server.address}",
            "STEELYARD_TLS_CA": str(pair.ca),
            "STEELYARD_TOKEN": server.first_token(),
        }


@pytest.fixture
def admin(guarded: dict[str, str], tmp_path: Path) -> Shell:
    """Run commands with the token that the server printed at its start."""
    return Shell(tmp_path, guarded)


def test_a_person_gets_a_token_and_a_role_and_loses_them_again(admin: Shell, tmp_path: Path) -> None:
    assert "user:admin" in admin.run("whoami").out
    made = json.loads(admin.run("tokens", "create", "user:ada", "--lifetime", "30d", "--json").out)
    ada = Shell(tmp_path, admin.variables | {"STEELYARD_TOKEN": made["token"]})
    assert ada.run("models", "ls").code == 6
    assert admin.run("grants", "add", "user:ada", "reader", "--on", "default", "--reason", "new").code == 0
    assert "user:ada is reader on default. new" in admin.ok("log", "--filter", "action = role.grant").out
    assert ada.run("models", "ls").code == 0
    assert "reader on default" in ada.run("whoami").out
    assert ada.run("models", "create", "fraud").code == 6
    assert "user:ada\treader\tdefault" in admin.run("grants", "ls", "default").out

    assert admin.run("grants", "rm", "user:ada", "reader", "--on", "default").code == 0
    assert ada.run("models", "ls").code == 6
    listed = admin.run("tokens", "ls", "user:ada").out
    assert made["uid"] in listed
    assert made["token"] not in listed
    assert admin.run("tokens", "revoke", made["uid"]).code == 0
    assert ada.run("whoami").code == 6


def test_a_group_gives_its_roles_to_its_members(admin: Shell, tmp_path: Path) -> None:
    token = admin.run("tokens", "create", "service:ci").out.strip()
    assert token.startswith("steelyard_")
    ci = Shell(tmp_path, admin.variables | {"STEELYARD_TOKEN": token})
    assert admin.run("groups", "create", "builders", "service:ci").code == 0
    assert admin.run("grants", "add", "group:builders", "writer").code == 0
    assert ci.run("models", "create", "built").code == 0
    assert "group:builders" in ci.run("whoami").out
    assert "service:ci" in admin.run("groups", "ls").out
    assert admin.run("groups", "set", "builders").code == 0
    assert ci.run("models", "create", "other").code == 6
    assert admin.run("groups", "rm", "builders").code == 0
    assert admin.run("grants", "ls", "--subject", "group:builders").out.strip() == ""


def test_who_administers_a_namespace_gives_and_lists_the_roles_in_it(admin: Shell, tmp_path: Path) -> None:
    admin.ok("namespaces", "create", "mine")
    made = json.loads(admin.ok("tokens", "create", "user:owner", "--json").out)
    admin.ok("grants", "add", "user:owner", "admin", "--on", "mine")
    owner = Shell(tmp_path, admin.variables | {"STEELYARD_TOKEN": made["token"]})
    owner.ok("grants", "add", "user:lise", "writer", "--on", "mine/fraud")
    listed = [row[:3] for row in owner.ok("grants", "ls", "mine").rows]
    assert listed == [["user:owner", "admin", "mine"], ["user:lise", "writer", "mine/fraud"]]
    assert owner.run("grants", "ls").code == 6


def test_a_name_without_its_kind_says_how_it_is_written(admin: Shell) -> None:
    for words, hint in (
        (("grants", "add", "ada", "reader"), "user:ada, service:ci or group:fraud-team"),
        (("tokens", "create", "group:crew"), "write user:ada or service:ci"),
    ):
        done = admin.run(*words)
        assert (done.code, hint in done.err) == (2, True)


def test_without_a_token_or_with_a_bad_one_it_is_6_and_says_what_to_do(admin: Shell, tmp_path: Path) -> None:
    variables = {name: text for name, text in admin.variables.items() if name != "STEELYARD_TOKEN"}
    nobody = Shell(tmp_path, variables).run("models", "ls")
    assert (nobody.code, "steelyard login" in nobody.err) == (6, True)
    secret = admin.variables["STEELYARD_TOKEN"]
    for bad in (secret[:-1], f"{secret} {secret}"):
        done = Shell(tmp_path, variables | {"STEELYARD_TOKEN": bad}).run("models", "ls")
        assert done.code in {2, 6}
        assert secret[30:60] not in done.out + done.err


def test_the_log_shows_what_one_may_read_and_a_watch_ends_with_the_role(admin: Shell, tmp_path: Path) -> None:
    made = json.loads(admin.ok("tokens", "create", "user:grace", "--json").out)
    admin.ok("grants", "add", "user:grace", "viewer", "--on", "default")
    grace = Shell(tmp_path, admin.variables | {"STEELYARD_TOKEN": made["token"]})
    assert {row[3] for row in grace.ok("log", "default").rows} >= {"namespace.create"}
    denied = grace.run("log")
    assert (denied.code, "auditor" in denied.err) == (6, True)
    process = grace.start("log", "default", "--follow", "-n", "1", stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        admin.ok("grants", "rm", "user:grace", "viewer", "--on", "default", "--reason", "left")
        done = finished(process)
    finally:
        process.kill()
        process.wait()
    assert (done.code, "PERMISSION_MISSING" in done.err) == (6, True)
    refusals: list[list[str]] = []
    while not refusals:
        refusals = admin.ok("log", "--filter", "action = call.deny AND actor = 'user:grace'").rows
    assert refusals[0][4:] == ["denial/EventService/ListEvents", "PERMISSION_MISSING audit from 127.0.0.1"]
    rows = admin.ok("log", "--filter", "action = role.revoke").rows
    assert rows[-1][5] == "left"
