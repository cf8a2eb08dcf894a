"""No change without its event: where the database refuses the event, nothing of the call is there."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from steelyard_server.db import tables
from tests.api.calls import METHODS, Refused
from tests.api.logins import People
from tests.api.test_second_tenant import upload
from tests.contracts import mutations
from tests.contracts.mutations import CASES, SPACE
from tests.servers import running_server

# When tokens were used last is written now and then, by no call and without an event.
APART = {"token_uses"}
READS = ("Get", "List", "BatchGet", "Compare", "Find", "Read", "Watch", "WhoAmI")
# Bytes come before the version that needs them; a proof and a backup change no resource; a collection
# tells at its end of what transactions before it did.
WITHOUT_EVENT = {"WriteBlobs", "VerifyStorage", "Backup", "CollectGarbage"}

FAIL = {
    "sqlite": "CREATE TRIGGER fail BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no event'); END",
    "postgresql": "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'no event'; END $$;"
    " CREATE TRIGGER fail BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION fail()",
}
MEND = {"sqlite": "DROP TRIGGER fail", "postgresql": "DROP TRIGGER fail ON events; DROP FUNCTION fail()"}

pytestmark = pytest.mark.asyncio(loop_scope="module")

Dump = dict[str, list[str]]


@dataclass
class Registry:
    """A running server, and the ways around it to its database and its bytes."""

    people: People
    engine: str
    location: str | Path
    blobs: Path

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Let the database refuse every event until the block ends."""
        self.run(FAIL[self.engine])
        try:
            yield
        finally:
            self.run(MEND[self.engine])

    def run(self, statement: str) -> None:
        """Run statements beside the server."""
        if isinstance(self.location, Path):
            with closing(sqlite3.connect(self.location, timeout=20)) as connection:
                connection.executescript(statement)
        else:
            with psycopg.connect(self.location) as connection:
                connection.execute(statement.encode())

    def dump(self) -> Dump:
        """Return all rows of all tables, and all names and bytes of blobs."""
        wanted = [name for name in tables.Base.metadata.tables if name not in APART]
        found = {name: sorted(map(repr, self.rows(f"SELECT * FROM {name}"))) for name in wanted}  # noqa: S608 - our own names
        files = [each for each in sorted(self.blobs.rglob("*")) if each.is_file()]
        return found | {"bytes": [f"{each} {each.read_bytes()!r}" for each in files]}

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Read beside the server."""
        if isinstance(self.location, Path):
            with closing(sqlite3.connect(self.location, timeout=20)) as connection:
                return connection.execute(query).fetchall()
        with psycopg.connect(self.location) as other:
            return other.execute(query.encode()).fetchall()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgresql"])
async def registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Registry]:
    """Run a server on a database of each kind, with people, policies and a model for copies."""
    data = tmp_path_factory.mktemp(request.param) / "data"
    settings: dict[str, Any] = {}
    location: Path | str = data / "registry.db"
    if request.param == "postgresql":
        location = request.getfixturevalue("cluster").create_migrated()
        settings = {"database": location}
    async with running_server(data, auth="tokens", **settings) as running:
        people = People(running)
        await mutations.prepare(people)
        await people.ask("wim", "CreateModel", {"name": f"{SPACE}/copies"})
        yield Registry(people, request.param, location, data / "blobs")


async def test_every_method_that_changes_something_is_among_the_cases() -> None:
    changing = {name for name in METHODS if not name.startswith(READS)}
    identified = {
        name for name, method in METHODS.items() if "request_id" in method.input_type.fields_by_name
    }

    assert identified <= changing
    assert {name.split(maxsplit=1)[0] for name in CASES} == changing - WITHOUT_EVENT


@pytest.mark.parametrize("name", CASES)
async def test_a_call_whose_event_fails_changes_nothing(registry: Registry, name: str) -> None:
    people, rpc = registry.people, name.split(maxsplit=1)[0]
    who, fields = await CASES[name](people)
    before = registry.dump()

    with registry.failing(), pytest.raises(Refused) as refused:
        await people.ask(who, rpc, fields)

    assert (refused.value.code, refused.value.reason) == ("INTERNAL", "INTERNAL")
    assert registry.dump() == before
    await people.ask(who, rpc, fields)
    after = registry.dump()
    assert len(after["events"]) == len(before["events"]) + 1


async def test_bytes_are_stored_without_an_event(registry: Registry) -> None:
    before = registry.dump()

    with registry.failing():
        await upload(registry.people, "wim", SPACE, b"other bytes")

    after = registry.dump()
    assert (len(after["bytes"]), after["events"]) == (len(before["bytes"]) + 1, before["events"])
