"""A Steelyard server as a child process, to start, kill and start again on the same address."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

START_SECONDS = 30
STOP_SECONDS = 30


class LocalServer:
    """A server that keeps its data in a directory, and makes backups in another.

    `auth` says who may call from its next start on: everybody with `none`, who has a token with `tokens`.
    """

    def __init__(self, data_dir: Path, *, backup_dir: Path | None = None) -> None:
        self.data_dir = data_dir
        self.backup_dir = backup_dir
        self.auth = "none"
        self.address = "127.0.0.1:0"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            RuntimeError: it did not start.
        """
        options = ["--data-dir", str(self.data_dir), "--listen", self.address, "--log-level", "warning"]
        options += ["--auth", self.auth]
        if self.backup_dir is not None:
            self.backup_dir.mkdir(exist_ok=True)
            options += ["--backup-dir", str(self.backup_dir)]
        command = [sys.executable, "-m", "steelyard", "serve", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        timer = threading.Timer(START_SECONDS, self._process.kill)
        timer.start()
        for line in self._process.stdout or ():
            if found := re.search(r"listening on (\S+)", line):
                timer.cancel()
                self.address = found.group(1)
                return
        raise RuntimeError("The server did not start; its words are above.")

    def first_token(self) -> str:
        """Return the token that it prints when it wants logins and nobody can administer it.

        Raises:
            RuntimeError: it printed none.
        """
        for line in self._process.stdout or () if self._process else ():
            if found := re.search(r"STEELYARD_TOKEN=(\S+)", line):
                return found[1]
            if "Try next" in line:
                break
        raise RuntimeError("The server printed no token.")

    def blob(self, digest: str) -> Path:
        """Return where the bytes of a digest are while they are stored."""
        name = digest.removeprefix("sha256:")
        return self.data_dir / "blobs" / "sha256" / name[:2] / name[2:4] / name

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it as an orchestrator would, with SIGTERM, and return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None or self._process.poll() is not None:
            return 0
        self._process.send_signal(number)
        self._process.communicate(timeout=STOP_SECONDS)
        return self._process.returncode
