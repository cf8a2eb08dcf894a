"""Tests run on SQLite and PostgreSQL if they ask for ``location``, on all blob stores for ``store``."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from steelyard_server.blobs.store import BlobStore
from steelyard_server.db import migrations
from steelyard_server.db.database import Database, open_database
from tests.contracts.blob_stores import InMemory, Kind, OnDisk
from tests.contracts.registry import found
from tests.databases import Cluster, empty, running_cluster

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


@pytest.fixture(scope="session")
def reused_url(cluster: Cluster) -> str:
    """Make one PostgreSQL database to use again and again, for making one takes half a second."""
    return cluster.create_migrated()


@pytest.fixture
def emptied_url(reused_url: str) -> str:
    """Empty the database that is used again and again."""
    empty(reused_url)
    return reused_url


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest) -> Any:
    """Find an empty database of each engine in turn, for tests that leave its schema alone."""
    return request.getfixturevalue("sqlite_path" if request.param == "sqlite" else "emptied_url")


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_location(request: pytest.FixtureRequest) -> Any:
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
    """Open an empty database."""
    return await opened(location)


@pytest.fixture
async def registry(database: Database) -> Database:
    """Open a database with a namespace, a blob that it holds, and a model without versions."""
    await found(database)
    return database


@pytest.fixture(params=[OnDisk, InMemory], ids=["disk", "memory"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """Name each kind of blob store in turn, with nothing kept."""
    make: Callable[[Path], Kind] = request.param
    return make(tmp_path)


@pytest.fixture
def store(kind: Kind) -> Iterator[BlobStore]:
    """Open a blob store of each kind in turn."""
    with closing(kind.open()) as opened:
        yield opened
