"""The data directory: one server, or one restore, at a time."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOCK = "lock"
# Where a backup is restored, below the data directory.
RESTORING = "restoring"


class DirectoryInUse(Exception):
    """A server or a restore runs on the data directory."""


class RestoreUnfinished(Exception):
    """A restore into the data directory was broken off; a server there would serve an empty registry."""


def require_finished(path: Path) -> None:
    """Refuse a data directory in which a restore was broken off.

    Raises:
        RestoreUnfinished: the message says what to do.
    """
    restoring = path / RESTORING
    if not restoring.is_dir():
        return
    try:
        # Empty it is what a restore leaves that was broken off as its last step was done.
        restoring.rmdir()
    except OSError:
        raise RestoreUnfinished(
            f"A restore into {path} was broken off. Run it again, or remove {restoring} to begin without it."
        ) from None


class DirectoryLock:
    """Hold a data directory until closed; the kernel lets go of it when the process ends, however it ends.

    Args:
        work: one word for what runs, for whoever finds the directory held.

    Raises:
        DirectoryInUse: another process holds it; the message names it.
    """

    def __init__(self, path: Path, *, work: str = "server") -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process, _, what = os.read(self._file, 64).decode(errors="replace").strip().partition(" ")
            os.close(self._file)
            message = (
                f"Another Steelyard {what or 'server'} (process {process or 'unknown'}) runs on {path}; "
                "stop it, or choose another --data-dir."
            )
            raise DirectoryInUse(message) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()} {work}\n".encode())

    def close(self) -> None:
        """Let another server have the directory."""
        os.close(self._file)
