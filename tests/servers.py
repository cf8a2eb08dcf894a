"""Real servers for tests: in this process and loop, or as a child process that can be killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio

from steelyard_server import server as composition
from steelyard_server.config import Config

START_SECONDS = 30
STOP_SECONDS = 30


@dataclass
class Running:
    """A server in this process with a channel to it, both on the loop of the test."""

    server: composition.Server
    channel: grpc.aio.Channel

    @property
    def address(self) -> str:
        """Return where it listens."""
        return self.server.address


@asynccontextmanager
async def running_server(directory: Path, **settings: Any) -> AsyncIterator[Running]:
    """Run a server on a free loopback port until the block ends."""
    config = Config(data_dir=directory, listen="127.0.0.1:0", **settings)
    server = await composition.start(config)
    options = [("grpc.max_receive_message_length", 8 << 20), ("grpc.use_local_subchannel_pool", 1)]
    try:
        async with grpc.aio.insecure_channel(server.address, options=options) as channel:
            yield Running(server, channel)
    finally:
        await server.stop(grace_seconds=0)


@dataclass
class ServerProcess:
    """A server in a child process; it keeps its port when it is started again."""

    directory: Path
    arguments: tuple[str, ...] = ()
    address: str = "127.0.0.1:0"
    output: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the server and wait until it listens."""
        command = [sys.executable, "-m", "steelyard_server", "--listen", self.address]
        command += ["--data-dir", str(self.directory), *self.arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STEELYARD_")}
        with (self.directory.parent / f"{self.directory.name}.log").open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        timer = threading.Timer(START_SECONDS, self.process.kill)
        timer.start()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if found := re.search(r"listening on (\S+)", line):
                self.address = found.group(1)
                break
        else:
            raise RuntimeError(f"The server did not start: {self.log()}")
        timer.cancel()

    def first_token(self) -> str:
        """Return the token that it prints at its first start, when it wants logins."""
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if found := re.search(r"STEELYARD_TOKEN=(\S+)", line):
                return found[1]
        raise RuntimeError(f"The server printed no token: {self.log()}")

    def kill(self) -> None:
        """End it with SIGKILL, as a power cut of the process would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it with SIGTERM and return its exit code."""
        return self._end(signal.SIGTERM)

    def log(self) -> str:
        """Return what it wrote to standard error."""
        return (self.directory.parent / f"{self.directory.name}.log").read_text()

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.send_signal(number)
        timer = threading.Timer(STOP_SECONDS, self.process.kill)
        timer.start()
        # Not communicate(), which knows nothing of what a loop over the lines has read ahead.
        with self.process.stdout as rest:
            self.output.append(rest.read())
        code = self.process.wait()
        if not timer.is_alive():
            raise TimeoutError(f"The server did not stop: {self.log()}")
        timer.cancel()
        return code


@contextmanager
def server_process(directory: Path, *arguments: str) -> Iterator[ServerProcess]:
    """Run a server in a child process until the block ends."""
    child = ServerProcess(directory, arguments)
    child.start()
    try:
        yield child
    finally:
        if child.process is not None and child.process.poll() is None:
            child.kill()
