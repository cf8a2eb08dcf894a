"""Programs that suffer for the tests: each runs in a process of its own, on a database it is given.

Usage: sqlite_faults.py {failed-commit | full-disk | kills} PATH

Each prints one line of JSON with what it saw.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from steelyard_server import errors
from steelyard_server.db import tables
from steelyard_server.db.database import Database, Transaction, open_database

KILLS = 25
WRITERS = 8

HEAD = select(tables.registry.c.sequence)
ADVANCE = update(tables.registry).values(sequence=bindparam("new"))
ADD_EVENT = insert(tables.events).values(
    {name: bindparam(name) for name in ("sequence", "event_time", "content")} | {"actor": "", "action": ""}
)
COUNT = "SELECT count(*), coalesce(max(sequence), 0) FROM events"


def append(tx: Transaction, size_bytes: int) -> int:
    """Append an event of *size_bytes* and return its sequence."""
    head = tx.one(HEAD)
    assert head is not None
    sequence: int = head.sequence + 1
    tx.run(ADVANCE, {"new": sequence})
    tx.run(ADD_EVENT, {"sequence": sequence, "event_time": 0, "content": os.urandom(size_bytes)})
    return sequence


async def reason_of(database: Database, size_bytes: int) -> str:
    """Write, and return the reason for which it failed, or the sequence."""
    try:
        return str(await database.write(append, size_bytes))
    except errors.RegistryError as error:
        return error.reason


async def failed_commit(path: Path) -> dict[str, Any]:
    """Let the operating system refuse the pages that a commit writes."""
    database = await open_database(path)
    first = await reason_of(database, 100)
    log_bytes = path.with_name(f"{path.name}-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (log_bytes + 8192, resource.RLIM_INFINITY))
    during = await asyncio.gather(*(reason_of(database, 100_000) for _ in range(3)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    later = await reason_of(database, 100)
    head = await database.read(lambda tx: tx.one(HEAD))
    hot = await database.read_hot(lambda tx: tx.one(HEAD))
    assert head is not None
    assert hot is not None
    sealed = database.sealed
    await database.close()
    seen = {"first": first, "during": during, "later": later, "sealed": sealed}
    return {**seen, "read": head.sequence, "read_hot": hot.sequence}


async def full_disk(path: Path) -> dict[str, Any]:
    """Write until the small disk under *path* is full, then free space and write on."""
    ballast = path.with_name("ballast")
    ballast.write_bytes(bytes(400_000))
    database = await open_database(path)
    written = 0
    while (reason := await reason_of(database, 20_000)).isdigit():
        written = int(reason)
    group = await asyncio.gather(*(reason_of(database, 20_000) for _ in range(3)))
    ballast.unlink()
    after = await reason_of(database, 20_000)
    sealed = database.sealed
    await database.close()
    with sqlite3.connect(path) as connection:
        (count, last) = connection.execute(COUNT).fetchone()
        (intact,) = connection.execute("PRAGMA integrity_check").fetchone()
    seen = {"reason": reason, "group": group, "after": int(after) - written, "sealed": sealed}
    return {**seen, "lost": written + 1 - count, "gap": last - count, "intact": intact}


def kills(path: Path) -> dict[str, Any]:
    """Kill a writing process again and again, and count what it had acknowledged and is not there.

    The writer is forked, so that it starts at once.
    """
    seen = {"kills": 0, "acknowledged": 0, "lost": 0, "gap": 0}
    for round_number in range(KILLS):
        acknowledged = killed_writer(path, after=5 + 37 * round_number % 200)
        with sqlite3.connect(path) as connection:
            count, last = connection.execute(COUNT).fetchone()
            (intact,) = connection.execute("PRAGMA integrity_check").fetchone()
        assert intact == "ok"
        seen["kills"] += 1
        seen["acknowledged"] = max(acknowledged)
        seen["lost"] += max(0, max(acknowledged) - last)
        seen["gap"] = last - count
    return seen


def killed_writer(path: Path, *, after: int) -> list[int]:
    """Return the sequences that a writer acknowledged before it was killed."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        asyncio.run(write_for_ever(path, sender))
    os.close(sender)
    with os.fdopen(receiver) as lines:
        acknowledged = [int(next(lines)) for _ in range(after)]
        os.kill(child, signal.SIGKILL)
        # What stands in the pipe was acknowledged too; the last line may be cut.
        acknowledged.extend(int(line) for line in lines if line.endswith("\n"))
    os.waitpid(child, 0)
    return acknowledged


async def write_for_ever(path: Path, sender: int) -> None:
    """Append events and report each that was acknowledged."""
    database = await open_database(path)

    async def caller() -> None:
        while True:
            sequence = await database.write(append, 3000)
            os.write(sender, b"%d\n" % sequence)

    await asyncio.gather(*(caller() for _ in range(WRITERS)))


def main() -> None:
    """Run the program named first on the path named second."""
    command, path = sys.argv[1], Path(sys.argv[2])
    if command == "kills":
        seen = kills(path)
    else:
        seen = asyncio.run({"failed-commit": failed_commit, "full-disk": full_disk}[command](path))
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
