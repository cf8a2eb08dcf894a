"""Each test that asks for ``location`` runs on SQLite and on PostgreSQL, on a database of its own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from steelyard_server.db import migrations
from steelyard_server.db.database import Database, open_database
from tests.databases import Cluster, running_cluster

Open = Callable[..., Awaitable[Database]]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Run one PostgreSQL server for all tests of this process."""
    with running_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one SQLite file with the newest schema, to copy."""
    path = tmp_path_factory.mktemp("migrated") / "registry.db"
    migrations.migrate_sqlite(path)
    return path


@pytest.fixture
def sqlite_path(migrated_file: Path, tmp_path: Path) -> Path:
    """Make a fresh SQLite database."""
    return Path(shutil.copy(migrated_file, tmp_path / "registry.db"))


@pytest.fixture
def postgresql_url(cluster: Cluster) -> str:
    """Make a fresh PostgreSQL database."""
    return cluster.create_migrated()


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest) -> Any:
    """Make a fresh database on each engine in turn."""
    return request.getfixturevalue("sqlite_path" if request.param == "sqlite" else "postgresql_url")


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Open databases that are closed when the test ends."""
    async with AsyncExitStack() as stack:

        async def open_and_keep(location: str | Path, **options: Any) -> Database:
            database = await open_database(location, **options)
            stack.push_async_callback(database.close)
            return database

        yield open_and_keep


@pytest.fixture
async def database(location: str | Path, opened: Open) -> Database:
    """Open a fresh database."""
    return await opened(location)
