"""A process that writes one blob and can be killed before any call that changes its files.

Run with a directory, the size of the blob and the step to stop at. It announces each step on
standard output, as `step <what> <bytes written>`, and stops at the one that was asked for until it
is killed. Steps are its own progress and the calls to the system, whose functions it wraps.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from steelyard_server.blobs.local import LocalStore

CHUNK_BYTES = 3_000_001
CALLS = ("fdatasync", "fsync", "ftruncate", "mkdir", "rename", "unlink")


def content(size_bytes: int) -> bytes:
    """Make the bytes of the blob, the same in every process."""
    return Random(size_bytes).randbytes(size_bytes)  # noqa: S311 - content, not a secret


class Steps:
    """Count the steps, and stop at one."""

    def __init__(self, *, last: int) -> None:
        self._left = last
        self.written_bytes = 0

    def announce(self, what: str) -> None:
        """Say that the step *what* comes next, and wait to be killed if it is the last."""
        sys.stdout.write(f"step {what} {self.written_bytes}\n")
        sys.stdout.flush()
        self._left -= 1
        while self._left == 0:
            signal.pause()

    def wrap(self, name: str) -> None:
        """Announce each call of a function of the system."""
        function = getattr(os, name)
        setattr(os, name, partial(self._call, name, function))

    def _call(self, name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.announce(name)
        return function(*arguments, **options)


def main(directory: str, size_bytes: int, last_step: int) -> None:
    """Write and publish the blob, with one flush on the way."""
    data = content(size_bytes)
    steps = Steps(last=last_step)
    for name in CALLS:
        steps.wrap(name)
    store = LocalStore(Path(directory))
    upload = store.begin_upload("key")
    upload.open(size_bytes=size_bytes)
    for begin in range(upload.offset, size_bytes, CHUNK_BYTES):
        upload.write(data[begin : begin + CHUNK_BYTES])
        steps.written_bytes = upload.offset
        steps.announce("written")
        if begin == CHUNK_BYTES:
            upload.flush()
            steps.announce("flushed")
    upload.finish("sha256:" + hashlib.sha256(data).hexdigest())
    steps.announce("finished")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
