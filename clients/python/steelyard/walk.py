"""Walk over a directory whose bytes are to be named: regular files only, each of which can be read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from steelyard.errors import FileUnreadable, SymlinkRefused


def walk(
    directory: Path, *, left_out: Callable[[str], bool] = lambda _: False, prefix: str = ""
) -> Iterator[tuple[str, Path]]:
    """Yield what is no directory, in no order, each with its relative path; links are not followed.

    Args:
        left_out: asked for each relative path, with a slash at the end of a directory's.

    Raises:
        FileUnreadable: a directory cannot be read.
    """
    try:
        entries = list(os.scandir(directory))
    except OSError as error:
        raise FileUnreadable(f"The directory {directory} cannot be read: {error.strerror}.") from None
    for entry in entries:
        is_directory = entry.is_dir(follow_symlinks=False)
        path = f"{prefix}{entry.name}/" if is_directory else prefix + entry.name
        if left_out(path):
            continue
        if is_directory:
            yield from walk(Path(entry.path), left_out=left_out, prefix=path)
        else:
            yield path, Path(entry.path)


def regular(source: Path, *, path: str, otherwise: str) -> os.stat_result:
    """Return the status of a file that can be read and named.

    Args:
        path: relative one that is to name it.
        otherwise: what to do with one that cannot, for the message.

    Raises:
        SymlinkRefused: it is a symbolic link.
        FileUnreadable: it is no regular file, cannot be read, or its name is no text.
    """
    try:
        status = source.lstat()
    except OSError as error:
        raise FileUnreadable(f"{source} cannot be read: {error.strerror}.") from None
    if stat.S_ISLNK(status.st_mode):
        raise SymlinkRefused(
            f"{source} is a symbolic link, which means something else elsewhere; put a copy of its target "
            f"there, or {otherwise}."
        )
    if not stat.S_ISREG(status.st_mode):
        raise FileUnreadable(f"{source} is no regular file; {otherwise}.")
    if not os.access(source, os.R_OK):
        raise FileUnreadable(f"{source} cannot be read: permission denied.")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise FileUnreadable(f"The name of {os.fsencode(source)!r} is not UTF-8; rename it.") from None
    return status
