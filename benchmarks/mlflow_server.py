"""MLflow, as its users would run it on one machine, at its leanest: one worker, no job runner."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.servers import START_SECONDS, Served, started

MODEL, ALIAS = "model", "champion"
API = "/api/2.0/mlflow"
SMALL_VERSIONS = 10
CONNECT_PAUSE_SECONDS = 0.005


@contextmanager
def mlflow(command: Path, directory: Path) -> Iterator[Served]:
    """Run an MLflow server on *directory* until the block ends."""
    address = f"127.0.0.1:{_free_port()}"
    arguments = [str(command), "server", "--workers", "1", "--host", "127.0.0.1", "--port", address[10:]]
    arguments += ["--backend-store-uri", f"sqlite:///{directory}/mlflow.db", "--serve-artifacts"]
    arguments += ["--artifacts-destination", str(directory / "artifacts")]
    variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with started(arguments, log=directory / "server.log", variables=variables) as process:
        await_health(address)
        yield Served(address, psutil.Process(process.pid))


def filled(command: Path, directory: Path, *, count: int) -> Path:
    """Make a database with one model of *count* versions and return *directory*."""
    with mlflow(command, directory) as served:
        connection = http.client.HTTPConnection(served.address)
        call(connection, "POST", "registered-models/create", {"name": MODEL})
        for _ in range(SMALL_VERSIONS):
            call(connection, "POST", "model-versions/create", new_version())
        call(connection, "POST", "registered-models/alias", moved_alias(1))
        connection.close()
    _multiply(directory / "mlflow.db", count=count)
    return directory


def call(
    connection: http.client.HTTPConnection, verb: str, path: str, body: dict[str, Any] | None = None
) -> Any:
    """Make a call on a connection that stays open, and return its answer.

    Raises:
        RuntimeError: the answer is an error.
    """
    data = json.dumps(body) if body else None
    connection.request(verb, f"{API}/{path}", body=data, headers={"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    if response.status != http.HTTPStatus.OK:
        raise RuntimeError(f"MLflow answered {response.status}: {answer[:500]!r}")
    return json.loads(answer)


def new_version() -> dict[str, Any]:
    """Return the body that creates a version; its bytes are elsewhere, as always with this call."""
    return {"name": MODEL, "source": "s3://bucket/model"}


def moved_alias(number: int) -> dict[str, Any]:
    """Return the body that moves the alias."""
    return {"name": MODEL, "alias": ALIAS, "version": str(number)}


def await_health(address: str) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection(address, timeout=START_SECONDS)
            connection.request("GET", "/health")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            time.sleep(CONNECT_PAUSE_SECONDS)
        finally:
            connection.close()
    raise RuntimeError("MLflow did not start.")


def _multiply(database: Path, *, count: int) -> None:
    """Copy the first version until there are *count*, for a call each would take a quarter of an hour."""
    connection = sqlite3.connect(database)
    names = [row[1] for row in connection.execute("PRAGMA table_info(model_versions)")]
    row = dict(zip(names, connection.execute("SELECT * FROM model_versions").fetchone(), strict=True))
    statement = f"INSERT INTO model_versions VALUES ({', '.join(f':{name}' for name in names)})"  # noqa: S608
    rows = (row | {"version": number} for number in range(SMALL_VERSIONS + 1, count + 1))
    connection.executemany(statement, rows)
    connection.commit()
    connection.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
