"""Logins and denials of a whole server, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from steelyard_server import errors
from steelyard_server.api.logins import Logins
from steelyard_server.core import access, tokens
from steelyard_server.db.database import Database
from steelyard_server.history.act import Act
from tests.api.calls import Refused, call
from tests.api.logins import People, bearer
from tests.contracts.conftest import Open
from tests.contracts.registry import act
from tests.contracts.stored import require_equal
from tests.issuers import AUDIENCE, URL, Provider, rsa_key, settings
from tests.servers import running_server

BANK = Provider([rsa_key("first")])
DENIALS = {"filter": 'action = "call.deny" OR action = "login.fail"'}


@pytest.fixture
def served(location: str | Path, tmp_path: Path) -> dict[str, Any]:
    """Return the settings of a server on each database in turn, which takes logins of a bank."""
    keys = tmp_path / "keys.json"
    keys.write_text(BANK.key_set())
    table = {"url": URL, "audience": AUDIENCE, "jwks_file": str(keys)}
    database = "" if isinstance(location, Path) else location
    return settings(tmp_path, table) | {"database": database}


@pytest.fixture
async def people(served: dict[str, Any], tmp_path: Path) -> AsyncIterator[People]:
    async with running_server(tmp_path / "data", **served) as running:
        yield People(running)


async def ask(people: People, login: str, rpc: str, fields: dict[str, Any] | None = None) -> Any:
    return await call(people.running.channel, rpc, fields, metadata=bearer(login))


async def reason(people: People, login: str, rpc: str, fields: dict[str, Any] | None = None) -> str:
    with pytest.raises(Refused) as refused:
        await ask(people, login, rpc, fields)
    return refused.value.reason


async def denied(people: People, count: int) -> list[Any]:
    """Wait for events of denials: they are written a little later."""
    while len(found := list((await people.ask("admin", "ListEvents", DENIALS)).events)) < count:
        pass
    return found


async def test_a_login_of_a_provider_may_what_its_groups_may_and_loses_it_at_once(people: People) -> None:
    login = BANK.login("ada", groups=["fraud-team"])
    made = {"name": "default/fraud"}
    assert await reason(people, login, "CreateModel", made) == "PERMISSION_MISSING"
    writer = {"subject": "group:oidc.fraud-team", "role": "ROLE_WRITER", "scope": "default"}
    await people.ask("admin", "GrantRole", writer)

    told = await ask(people, login, "WhoAmI")
    assert (told.actor.id, told.actor.issuer, list(told.groups)) == (
        "user:ada",
        URL,
        ["group:oidc.fraud-team"],
    )
    model = (await ask(people, login, "CreateModel", made)).model
    assert (model.creator.id, model.creator.issuer, model.creator.token_uid) == ("user:ada", URL, "")
    [event] = (await ask(people, login, "ListEvents", {"scope": "default/fraud"})).events
    assert (event.actor.id, event.actor.issuer, event.actor.authenticated) == ("user:ada", URL, True)

    await people.ask("admin", "RevokeRole", writer)
    assert await reason(people, login, "CreateModel", {"name": "default/other"}) == "PERMISSION_MISSING"


async def test_they_make_tokens_for_themselves_which_outlive_the_login_and_end_when_revoked(
    people: People,
) -> None:
    login = BANK.login("ada")
    made = await ask(people, login, "CreateToken", {"description": "laptop"})
    assert (made.token.principal, made.token.creator.issuer) == ("user:ada", URL)
    assert (await ask(people, made.secret, "WhoAmI")).actor.method == "token"
    assert [each.uid for each in (await ask(people, login, "ListTokens")).tokens] == [made.token.uid]

    await ask(people, login, "RevokeToken", {"uid": made.token.uid})

    assert await reason(people, made.secret, "WhoAmI") == "TOKEN_REVOKED"


async def test_who_was_refused_is_in_the_history_and_the_history_folds_to_the_state(
    people: People, served: dict[str, Any], tmp_path: Path, opened: Open
) -> None:
    login = BANK.login("ada")
    assert await reason(people, login, "CreateModel", {"name": "default/no"}) == "PERMISSION_MISSING"
    assert await reason(people, BANK.login("ada", aud="payroll"), "WhoAmI") == "AUDIENCE_MISMATCH"
    assert await reason(people, tokens.make().text, "WhoAmI") == "TOKEN_UNKNOWN"

    found = await denied(people, 3)

    assert [(each.action, each.actor.id, each.actor.issuer) for each in found] == [
        ("call.deny", "user:ada", URL),
        ("login.fail", "anonymous", ""),
        ("login.fail", "anonymous", ""),
    ]
    await people.running.server.stop(grace_seconds=0)
    database = await opened(served["database"] or tmp_path / "data" / "registry.db")
    await database.read(require_equal)


async def test_the_first_token_comes_until_somebody_of_the_provider_administers(
    served: dict[str, Any], tmp_path: Path
) -> None:
    async with running_server(tmp_path / "data", **served) as running:
        people = People(running)
        await people.grant("ada", "admin", "")
        await people.ask("admin", "RevokeToken", {"uid": tokens.uid_of(people.tokens["admin"])})
    async with running_server(tmp_path / "data", **served) as running:
        assert running.server.first_token == ""
        people = People(running)
        assert (await ask(people, BANK.login("ada"), "ListGrants")).grants


class Overtaken:
    """A database in which a token is revoked between a read and the moment when its reader goes on."""

    def __init__(self, database: Database, uid: str) -> None:
        self._database = database
        self._uid = uid

    async def read_hot(self, query: Any, **arguments: Any) -> Any:
        found = await self._database.read_hot(query, **arguments)
        await self._database.write(tokens.revoke, Act(access.UNLIMITED), uid=self._uid)
        return found


async def test_what_was_read_before_a_token_was_revoked_is_not_remembered(
    location: str | Path, opened: Open
) -> None:
    logins = Logins()
    database = await opened(location, on_commit=logins.on_commit)
    secret = tokens.make()
    names = {"uid": secret.uid, "digest": secret.digest}
    await database.write(tokens.create, act(), principal="user:ada", **names)
    metadata = [("authorization", f"Bearer {secret.text}")]
    logins.database = Overtaken(database, secret.uid)  # type: ignore[assignment]

    # It was good when it was read; whoever asks again hears what it is now.
    found = await logins.caller(metadata)
    assert not logins.holds(found)
    logins.database = database
    with pytest.raises(errors.TokenRevoked):
        await logins.caller(metadata)
