"""The page about access: its file of providers is taken as it stands, and its commands are run."""

from __future__ import annotations

import shlex
from pathlib import Path

from steelyard_server import issuers
from tests.cli.shell import Shell
from tests.device_provider import bank_server
from tests.docs.pages import ROOT, blocks
from tests.issuers import settings
from tests.servers import server_process

PAGE = ROOT / "docs" / "access.md"


def test_the_file_of_providers_is_taken_and_the_commands_log_in_and_out(tmp_path: Path) -> None:
    [block] = blocks(PAGE, "toml")
    file = tmp_path / "page.toml"
    file.write_text(block.text)
    [told] = issuers.load(file)
    assert told.lower_case
    with bank_server() as bank:
        table = {
            "url": bank.url,
            "audience": told.audience,
            "jwks_url": f"{bank.url}/keys",
            "client_id": told.client_id,
        }
        flags = settings(tmp_path, table)
        arguments = ("--auth", "oidc", "--oidc-issuers", flags["oidc_issuers"])
        with server_process(tmp_path / "data", *arguments) as server:
            variables = {"STEELYARD_SERVER": server.address}
            admin = Shell(tmp_path, variables | {"STEELYARD_TOKEN": server.first_token()})
            admin.ok("grants", "add", "user:ada", "auditor")
            ada = Shell(tmp_path, variables)
            places, logins, audit = blocks(PAGE, "console")
            shown = [admin.ok(*words(each)) for each in places.commands()]
            assert (shown[2].rows[0][:2], shown[3].facts["accepts"]) == (
                ["production-eu", "production"],
                "production",
            )
            said = [ada.ok(*words(each)) for each in logins.commands()[:-1]]
            assert "You are user:ada" in said[0].err
            assert said[1].facts["issuer"] == bank.url
            assert ada.run("models", "create", "fraud").code == 6
            [listing] = audit.commands()
            assert "PERMISSION_MISSING write on default/fraud" in until(ada, listing)
            ada.ok(*words(logins.commands()[-1]))
            assert ada.run("whoami").code == 6


def words(command: str) -> list[str]:
    """Return the arguments of a command of the page."""
    program, *rest = shlex.split(command)
    assert program == "steelyard"
    return rest


def until(shell: Shell, command: str) -> str:
    """Run a command until it lists something: events of denials come a little later."""
    while not (found := shell.ok(*words(command)).out):
        pass
    return found
