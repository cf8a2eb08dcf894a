"""The few operations on files that durability rests on, and their errors as the registry's.

After a failed sync the kernel may drop what it could not write and report success the next time,
so nobody here tries a sync again: what was not durable before is given up.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from steelyard_server.errors import RegistryError, StorageFull, StorageUnavailable

if TYPE_CHECKING:
    from pathlib import Path

NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SYNC_FILE_RANGE_WRITE: Final = 2
# From so many directories on, one sync of the whole file system is quicker than one of each.
SYNCFS_MINIMUM: Final = 4

_log = logging.getLogger(__name__)


def create(path: Path) -> int:
    """Make a new file, for reading and writing by this account only."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)


def write_all(file: int, data: bytes | memoryview, *, offset: int) -> None:
    """Write all of *data* at *offset*, the end of the file; when that fails, cut off what got there."""
    written = 0
    try:
        while written < len(data):
            written += os.pwrite(file, data[written:] if written else data, offset + written)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, offset)
        raise


def start_write_out(file: int, *, offset: int, length: int) -> None:
    """Have the kernel begin to write a range, so that a later sync waits for little. Only a hint."""
    if sys.platform == "linux" and (function := getattr(ctypes.CDLL(None), "sync_file_range", None)):
        function(file, ctypes.c_int64(offset), ctypes.c_int64(length), SYNC_FILE_RANGE_WRITE)


def drop_cached(file: int, *, offset: int, length: int) -> None:
    """Have the kernel forget pages of a file that are on the disk. Only a hint."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, offset, length, os.POSIX_FADV_DONTNEED)


def sync(file: int) -> None:
    """Make the bytes of a file durable."""
    if sys.platform == "darwin":
        import fcntl

        # There a plain sync ends in the cache of the drive.
        fcntl.fcntl(file, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(file)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def sync_directories(paths: set[Path]) -> None:
    """Make the names in all these directories durable."""
    one = next(iter(paths), None)
    if one is None or len(paths) < SYNCFS_MINIMUM or not _sync_file_system(one):
        for path in paths:
            sync_directory(path)


def _sync_file_system(path: Path) -> bool:
    """Make all that is on the file system of *path* durable at once; False where that is not to be had."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if sys.platform == "linux" else None
    if function is None:
        return False
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if function(directory) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(directory)
    return True


def make_directory(path: Path) -> None:
    """Make a directory and its name durable, also when it is there already: perhaps its name is not."""
    if not path.parent.is_dir():
        make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_directory(path.parent)


def free_bytes(path: Path) -> int:
    """Return how many bytes this account can still write where *path* is."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def registry_error(error: OSError) -> RegistryError:
    """Log what the system said, and return what callers hear: the case, and no path."""
    _log.error("The blob store failed.", exc_info=error)
    if error.errno in NO_ROOM:
        return full()
    name = errno.errorcode.get(error.errno or 0, "an unknown error")
    return StorageUnavailable(f"The storage of blobs failed with {name}; try again, and tell the operator.")


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the system into what callers hear."""
    try:
        yield
    except OSError as error:
        raise registry_error(error) from None


def full() -> StorageFull:
    """Return what callers hear when there is no room."""
    return StorageFull("The storage of blobs is full; free some room, then resume the upload.")
