"""A client in a namespace of its own, on one server that all tests of a process share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import steelyard
from tests.servers import ServerProcess


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep caches below the directory of the test."""
    monkeypatch.setenv("STEELYARD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("STEELYARD_ACTOR", "ada")
    return tmp_path / "cache"


@pytest.fixture
def client(shared: ServerProcess) -> Iterator[steelyard.Client]:
    """Connect in a new namespace."""
    namespace = f"n{uuid.uuid4().hex[:16]}"
    with steelyard.Client(shared.address, namespace=namespace) as connected:
        connected.namespaces.create(namespace)
        yield connected
