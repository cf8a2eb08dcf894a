"""Fixtures for all tests: a real server with a real channel, on real files."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.servers import Running, ServerProcess, running_server, server_process


@pytest_asyncio.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """Run a server in this process, on the loop of the test."""
    async with running_server(tmp_path / "data") as started:
        yield started


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run a server in a child process for all tests that neither stop nor break it."""
    with server_process(tmp_path_factory.mktemp("shared") / "data") as started:
        yield started


@pytest.fixture
def child(tmp_path: Path) -> Iterator[ServerProcess]:
    """Run a server in a child process, for clients that block."""
    with server_process(tmp_path / "data") as started:
        yield started


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Let programs take Ctrl-C, which whoever starts the tests in the background has had ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
