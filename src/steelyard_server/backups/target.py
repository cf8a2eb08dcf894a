"""Where a backup is restored: a data directory, and perhaps a database, with nothing in them.

Everything is made in `restoring` below the data directory. While there is something in that, the
restore is not over: a server does not start, and the next restore begins anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from steelyard_server.blobs import disk
from steelyard_server.db.build import require_empty
from steelyard_server.directory import LOCK, RESTORING, DirectoryInUse, DirectoryLock

BLOBS: Final = "blobs"
DATABASE: Final = "registry.db"
# Keeps `restoring` from being empty until a database elsewhere has committed.
UNCOMMITTED: Final = "uncommitted"


class TargetNotEmpty(Exception):
    """There is something where a backup was to be restored."""


@contextmanager
def empty(data_dir: Path, *, database: str) -> Iterator[Path]:
    """Hold an empty target and give the directory to work in; what is there is removed when the block raises.

    Raises:
        TargetNotEmpty: there is something in the data directory.
        DatabaseNotEmpty: there is something in the database.
        DirectoryInUse: a server runs there.
        StorageUnavailable: the server of the database cannot be reached.
    """
    with ExitStack() as stack:
        is_new = not data_dir.exists()
        if not is_new and not data_dir.is_dir():
            raise TargetNotEmpty(f"{data_dir} is no directory. Name an empty --data-dir, or a new one.")
        if not is_new and not (data_dir / LOCK).exists():
            # Not even the file of the lock is left where a restore was refused.
            _require_empty(data_dir)
        stack.callback(DirectoryLock(data_dir, work="restore").close)
        # Nothing is removed before it is known that nothing here belongs to a registry.
        _require_empty(data_dir)
        # Not before it is locked and looked through: a server may have begun there meanwhile.
        if is_new:
            _remove_on_error(data_dir, stack)
        if database:
            _hold_database(database, stack)
        _remove_unfinished(data_dir)
        with _workspace(data_dir, is_elsewhere=bool(database)) as workspace:
            yield workspace


def put_in_place(workspace: Path, name: str) -> None:
    """Give what was made in *workspace* its place, durably."""
    (workspace / name).rename(workspace.parent / name)
    disk.sync_directory(workspace)
    disk.sync_directory(workspace.parent)


def _require_empty(data_dir: Path) -> None:
    found = {path.name for path in data_dir.iterdir()} - {LOCK}
    # Only a restore that had found nothing else made `restoring`, and perhaps the blobs.
    if (data_dir / RESTORING).exists():
        found -= {RESTORING, BLOBS}
    if DATABASE in found:
        raise TargetNotEmpty(
            f"{data_dir} has a registry. A backup is restored into an empty --data-dir only."
        )
    if found:
        raise TargetNotEmpty(
            f"{data_dir} has {min(found)} in it. A backup is restored into an empty --data-dir only."
        )


def _hold_database(url: str, stack: ExitStack) -> None:
    from steelyard_server.db.postgresql_connection import Hold, conninfo_of

    held = Hold(conninfo_of(url))
    if not held.take():
        raise DirectoryInUse("A Steelyard server runs on this database. Name an empty --database.")
    stack.callback(held.close)
    require_empty(url)


def _remove_on_error(data_dir: Path, stack: ExitStack) -> None:
    def leave(kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(data_dir, ignore_errors=True)

    stack.push(leave)


@contextmanager
def _workspace(data_dir: Path, *, is_elsewhere: bool) -> Iterator[Path]:
    workspace = data_dir / RESTORING
    try:
        workspace.mkdir(mode=0o700)
        if is_elsewhere:
            (workspace / UNCOMMITTED).touch()
        disk.sync_directory(data_dir)
        yield workspace
    except BaseException:
        _remove_unfinished(data_dir)
        raise
    (workspace / UNCOMMITTED).unlink(missing_ok=True)
    workspace.rmdir()


def _remove_unfinished(data_dir: Path) -> None:
    """Remove what a restore made, the blobs first: `restoring` says whose they are."""
    if (data_dir / RESTORING).exists():
        for name in (BLOBS, RESTORING):
            with suppress(FileNotFoundError):
                shutil.rmtree(data_dir / name)
