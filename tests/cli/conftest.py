"""The command line of one user, with directories and a namespace of their own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import steelyard
from tests.cli import bank as banks
from tests.cli.bank import Bank
from tests.cli.shell import Shell
from tests.client.trees import MODEL, write_tree
from tests.servers import ServerProcess, server_process


@pytest.fixture
def shell(shared: ServerProcess, tmp_path: Path) -> Shell:
    """Run commands in a new namespace on the shared server."""
    namespace = f"n{uuid.uuid4().hex[:16]}"
    with steelyard.Client(shared.address) as client:
        client.namespaces.create(namespace)
    return Shell(tmp_path, {"STEELYARD_SERVER": shared.address, "STEELYARD_NAMESPACE": namespace})


@pytest.fixture
def home(tmp_path: Path) -> Shell:
    """Run commands of a user who has configured nothing."""
    return Shell(tmp_path, {})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Make a directory to push."""
    return write_tree(tmp_path / "model", MODEL)


@pytest.fixture
def pushed(shell: Shell, model: Path) -> Shell:
    """Run commands where `fraud` has one version, which is its champion."""
    with steelyard.Client(
        shell.variables["STEELYARD_SERVER"], namespace=shell.variables["STEELYARD_NAMESPACE"], actor="ada"
    ) as client:
        client.push("fraud", model, alias="champion")
    return shell


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """Run a server that wants a login, where a policy that two persons agreed on protects production."""
    directory = tmp_path_factory.mktemp("bank")
    with server_process(directory / "data", "--auth", "tokens") as server:
        opened = banks.opened(server)
        (directory / "careful.yaml").write_text(banks.POLICY)
        opened.shell("mia", directory).ok("policy", "set", "-f", "careful.yaml")
        opened.shell("grace", directory).ok("approve", "risk#1")
        yield opened


@pytest.fixture
def at(bank: Bank, tmp_path: Path) -> Callable[[str], Shell]:
    """Run commands as somebody of the bank."""
    return lambda name: bank.shell(name, tmp_path)
