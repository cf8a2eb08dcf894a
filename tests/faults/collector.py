"""A collection that is killed: before each change of files and around each commit, one step later every time.

Run with a directory in which `arranged` holds a registry. Copies of it are named after the step at which
the collection on them was killed, or, of the last one, would have been; `steps` in each lists what came.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from steelyard_server.blobs.claims import Claims
from steelyard_server.blobs.local import LocalStore
from steelyard_server.db.database import Database, open_database
from steelyard_server.history.act import Act
from steelyard_server.history.caller import Caller
from steelyard_server.maintenance.collect import Collected, CollectOptions, collect
from steelyard_server.maintenance.runs import Stop
from steelyard_server.maintenance.storage import Storage

CALLS = ("rename", "unlink", "utime", "fsync", "mkdir")
FREE_AT_ONCE = CollectOptions(dry_run=False, grace_seconds=0, trash_seconds=0)
ACT = Act(Caller("collector"))


class Steps:
    """Write down the steps, and end this process at one as a power cut would."""

    def __init__(self, log: Path, *, last: int) -> None:
        self._log = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._left = last

    def come(self, what: str) -> None:
        """Note that the step *what* comes next."""
        os.write(self._log, f"{what}\n".encode())
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, name: str) -> None:
        """Note each call of a function of the system."""
        function = getattr(os, name)
        setattr(os, name, partial(self._call, name, function))

    def _call(self, name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.come(name)
        return function(*arguments, **options)


class AnnouncedDatabase:
    """A database whose commits are steps, before and after."""

    def __init__(self, database: Database, steps: Steps) -> None:
        self._database = database
        self._steps = steps

    async def write(self, use_case: Any, *arguments: Any, **options: Any) -> Any:
        self._steps.come("commit")
        result = await self._database.write(use_case, *arguments, **options)
        self._steps.come("committed")
        return result

    async def read(self, query: Any, *arguments: Any, **options: Any) -> Any:
        return await self._database.read(query, *arguments, **options)


async def run(directory: Path, *, steps: Steps | None = None) -> Collected:
    """Collect once, with no grace and no time in the trash."""
    database: Any = await open_database(directory / "registry.db")
    progress = Collected()
    with closing(LocalStore(directory / "blobs")) as store, ThreadPoolExecutor(1) as threads:
        for name in CALLS if steps else ():
            steps.wrap(name)
        announced = AnnouncedDatabase(database, steps) if steps else database
        storage = Storage(announced, store, Claims(), threads, Stop())
        await collect(storage, FREE_AT_ONCE, ACT, progress)
    await database.close()
    return progress


def main(directory: str) -> None:
    """Kill one collection after the other, each in a fork of this process, until one gets to its end."""
    root = Path(directory)
    for step in count(1):
        place = Path(shutil.copytree(root / "arranged", root / str(step)))
        process = os.fork()
        if process == 0:
            asyncio.run(run(place, steps=Steps(place / "steps", last=step)))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main(sys.argv[1])
