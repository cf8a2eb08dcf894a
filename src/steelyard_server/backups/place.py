"""Where backups are: names below one directory, and drafts that become backups by one rename."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from steelyard_server.backups import inventory
from steelyard_server.backups.inventory import BackupDamaged, NotABackup
from steelyard_server.blobs import disk
from steelyard_server.errors import (
    BackupAlreadyExists,
    BackupNotConfigured,
    StorageFull,
    StorageUnavailable,
)

# No name of a backup begins with a dot, so a draft is never taken for one.
DRAFT: Final = ".{name}.incomplete"

_log = logging.getLogger(__name__)


class Draft:
    """A directory in which a backup is being made.

    Args:
        path: where to write.
        earlier: the newest backup of the same registry in the same place, None when there is none.
    """

    def __init__(self, path: Path, *, target: Path, earlier: Path | None) -> None:
        self.path = path
        self.earlier = earlier
        self._target = target

    def publish(self) -> None:
        """Give the draft, whose files are all durable, the name of the backup.

        Raises:
            BackupAlreadyExists: somebody took the name meanwhile.
        """
        # A rename would replace an empty directory without a word.
        if self._target.exists():
            raise already_exists(self._target.name)
        try:
            self.path.rename(self._target)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                raise already_exists(self._target.name) from None
            raise
        disk.sync_directory(self._target.parent)


@contextmanager
def draft(root: Path, *, name: str, registry: str) -> Iterator[Draft]:
    """Make a draft, which is removed at the end of the block unless it was published.

    Args:
        root: where all backups are.
        registry: uid of the registry.

    Raises:
        BackupNotConfigured: *root* is no directory.
        BackupAlreadyExists: there is something of this name.
        StorageFull, StorageUnavailable: the disk does not work; nothing is left.
    """
    if not root.is_dir():
        raise BackupNotConfigured(
            "The directory for backups does not exist. Make or mount it on the server, then try again."
        )
    target = root / name
    if os.path.lexists(target):
        raise already_exists(name)
    path = root / DRAFT.format(name=name)
    with translated():
        _remove_abandoned(root)
        with _held(path):
            try:
                yield Draft(path, target=target, earlier=_newest(root, registry=registry))
            finally:
                shutil.rmtree(path, ignore_errors=True)


def name_by_time() -> str:
    """Return the name of a backup whose caller chose none."""
    return datetime.fromtimestamp(time.time(), tz=UTC).strftime("%Y-%m-%dt%H-%M-%S-%fz")


def already_exists(name: str) -> BackupAlreadyExists:
    """Return what a caller hears whose name is taken."""
    return BackupAlreadyExists(
        f"There is something called {name} among the backups; choose another name.", name=name
    )


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the disk of backups into those of the registry."""
    try:
        yield
    except OSError as error:
        _log.exception("The disk of backups failed.")
        if error.errno in disk.NO_ROOM:
            message = (
                "The disk of backups is full; what was written is removed. Free some room, then try again."
            )
            raise StorageFull(message) from None
        name = errno.errorcode.get(error.errno or 0, "an unknown error")
        message = (
            f"The directory of backups failed with {name}; what was written is removed. Tell the operator."
        )
        raise StorageUnavailable(message) from None


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Make a directory and hold it, so that nobody takes it for abandoned."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        raise already_exists(path.name) from None
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _remove_abandoned(root: Path) -> None:
    """Remove drafts that a crash left behind, of any server that keeps backups here."""
    for path in root.glob(DRAFT.format(name="*")):
        with suppress(OSError):
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(directory)


def _newest(root: Path, *, registry: str) -> Path | None:
    """Find the newest backup of a registry."""
    found: list[tuple[str, Path]] = []
    for path in root.iterdir():
        with suppress(NotABackup, BackupDamaged, OSError):
            read = inventory.read(path)
            if read.registry == registry:
                found.append((read.time, path))
    return max(found)[1] if found else None
