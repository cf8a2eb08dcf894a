"""Publish many small blobs at the price of a few syncs.

A sync of one file or directory makes a journalling file system commit all that is under way, so
the same step is taken for every blob before the next step is taken for any: bytes, then names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import TYPE_CHECKING, Final

from steelyard_server.blobs import disk
from steelyard_server.blobs.blocks import DIGEST_PREFIX
from steelyard_server.errors import DigestMismatch

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard_server.blobs.published import PublishedFiles

_numbers: Final = count(1)


def publish(blobs: Mapping[str, bytes], *, published: PublishedFiles, directory: Path) -> None:
    """Publish verified bytes by their digests, as `published` does; when this returns, all are durable.

    Args:
        directory: on the same file system, for files that have no name yet.

    Raises:
        DigestInvalid: a digest is malformed.
        OSError: nobody may be told that any of them is there.
    """
    paths = {digest: published.path(digest) for digest in blobs}
    parents = {path.parent for path in paths.values()}
    new = published.make_directories(parents)
    with _written(blobs, directory=directory) as written:
        for digest, file in written.items():
            file.rename(paths[digest])
    published.sync_names(parents, new=new)
    published.note_durable(blobs)


def require_right(blobs: Mapping[str, bytes]) -> None:
    """Compare bytes with their digests.

    Raises:
        DigestMismatch: of the first that is wrong.
    """
    for digest, data in blobs.items():
        actual = DIGEST_PREFIX + hashlib.sha256(data).hexdigest()
        if actual != digest:
            message = (
                f"The blob was declared as {digest}; the bytes that came are {actual}. They were deleted."
            )
            raise DigestMismatch(message, field="digest", expected=digest, actual=actual)


@contextmanager
def _written(blobs: Mapping[str, bytes], *, directory: Path) -> Iterator[dict[str, Path]]:
    """Give synced files without a lasting name; those that nobody renamed are removed at the end."""
    files: dict[str, Path] = {}
    try:
        with ExitStack() as stack:
            descriptors = []
            for digest, data in blobs.items():
                files[digest] = directory / f"batch.{next(_numbers)}"
                file = disk.create(files[digest])
                stack.callback(os.close, file)
                disk.write_all(file, data, offset=0)
                disk.start_write_out(file, offset=0, length=len(data))
                descriptors.append(file)
            for file in descriptors:
                disk.sync(file)
        yield files
    finally:
        for path in files.values():
            path.unlink(missing_ok=True)
