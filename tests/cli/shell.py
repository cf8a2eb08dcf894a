"""Run the real program: in a pipe, or on a terminal."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from select import select

PROGRAM = Path(sys.executable).with_name("steelyard")
SECONDS = 60
COLUMNS, LINES = 100, 30


@dataclass(frozen=True)
class Outcome:
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict[str, str]:
        """Return the output as names with values."""
        return dict(line.split("\t", maxsplit=1) for line in self.out.splitlines())

    def fact(self, name: str) -> str:
        """Return the value of one name, of which other lines may have more cells."""
        return next(row[1] for row in self.rows if row[0] == name)

    @property
    def rows(self) -> list[list[str]]:
        """Split the output into cells."""
        return [line.split("\t") for line in self.out.splitlines()]


@dataclass(frozen=True)
class Shell:
    """A user in a directory.

    Args:
        variables: of the environment, beside those that a user has anyway.
    """

    directory: Path
    variables: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """Return all variables: none of this process that has to do with the program or with terminals."""
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        home = str(self.directory / "home")
        config = str(self.directory / "config")
        return kept | {
            "HOME": home,
            "LANG": "C.UTF-8",
            "USER": "ada",
            "TERM": "xterm-256color",
            "STEELYARD_CONFIG_DIR": config,
            "STEELYARD_CACHE_DIR": str(self.directory / "cache"),
            **self.variables,
        }

    def start(self, *arguments: str | Path, **options: int) -> subprocess.Popen[bytes]:
        """Start a command with its output in pipes."""
        streams = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        } | options
        return subprocess.Popen(
            [PROGRAM, *map(str, arguments)],
            cwd=self.directory,
            env=self.environment,
            stdin=streams["stdin"],
            stdout=streams["stdout"],
            stderr=streams["stderr"],
        )

    def run(self, *arguments: str | Path) -> Outcome:
        """Run a command with its output in pipes."""
        return finished(self.start(*arguments))

    def ok(self, *arguments: str | Path) -> Outcome:
        """Run a command that must go well."""
        done = self.run(*arguments)
        assert done.code == 0, (arguments, done.code, done.out + done.err)
        return done

    def on_terminal(
        self,
        *arguments: str | Path,
        seen: Callable[[str], object] = lambda drawn: None,
        columns: int = COLUMNS,
    ) -> Outcome:
        """Run a command on a terminal of its own; all that it draws there is its output.

        Args:
            seen: told again and again what is drawn so far, without colours.
            columns: characters in a line of the terminal.
        """
        near, far = pty.openpty()
        ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
        process = self.start(*arguments, stdin=far, stdout=far, stderr=far)
        os.close(far)
        drawn = bytearray()
        # Reading a terminal whose other side is closed is an error on Linux.
        with suppress(OSError):
            while select([near], [], [], SECONDS)[0] and (data := os.read(near, 65536)):
                drawn += data
                seen(plain(drawn.decode(errors="replace")))
        os.close(near)
        try:
            return Outcome(process.wait(SECONDS), drawn.decode(), "")
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def plain(drawn: str) -> str:
    """Take colours and movements of the cursor out of what a terminal was sent."""
    return re.sub(r"\x1b\[[\d;?]*\w", "", drawn)


def finished(process: subprocess.Popen[bytes]) -> Outcome:
    """Wait for a command that was started."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Outcome(process.returncode, out.decode(), err.decode())
