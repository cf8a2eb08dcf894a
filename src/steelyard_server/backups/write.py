"""Making a backup while the server serves: tables from one snapshot, then the bytes that it names."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

import sqlalchemy

from steelyard_server.backups import blobs, inventory, place, tables
from steelyard_server.backups.inventory import BlobProblem, Inventory, TableFile
from steelyard_server.blobs import disk
from steelyard_server.core import files, names
from steelyard_server.db import migrations
from steelyard_server.db.tables import Base
from steelyard_server.errors import BackupNotConfigured
from steelyard_server.history import events

if TYPE_CHECKING:
    from steelyard_server.backups.place import Draft
    from steelyard_server.blobs.store import BlobStore
    from steelyard_server.db.database import Database, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.events import Head
    from steelyard_server.maintenance.runs import Stop

Result = TypeVar("Result")

# Problems that are named to callers, and versions that are named for each; the inventory has them all.
PROBLEMS_MAXIMUM: Final = 100
VERSIONS_MAXIMUM: Final = 10

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """What a server's backups are made of, and where they go.

    Args:
        threads: where files are copied; not that of uploads and downloads.
        blobs_stay: held by a backup, from its snapshot until it has the bytes, and by whoever removes
            bytes: what a snapshot names must not go before it is copied.
        directory: below which backups are; None when the server makes none.
    """

    database: Database
    store: BlobStore
    threads: Executor
    stop: Stop
    blobs_stay: asyncio.Lock
    directory: Path | None
    server_version: str

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run what blocks."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """What a backup was asked for; an empty name lets the server choose one."""

    name: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a blob, and which versions need it."""

    digest: str
    size_bytes: int
    kind: Literal["damaged", "missing"]
    versions: list[str]
    versions_count: int


@dataclass(slots=True)
class BackedUp:
    """How far a backup is; see BackupResponse."""

    name: str = ""
    rows: int = 0
    blobs: int = 0
    total_blobs: int = 0
    blob_bytes: int = 0
    total_blob_bytes: int = 0
    sequence: int = 0
    registry_digest: str = ""
    problems: list[Problem] = field(default_factory=list)
    problems_count: int = 0


class Snapshot(NamedTuple):
    """What the tables of a backup are."""

    head: Head
    schema: str
    time: str
    tables: tuple[TableFile, ...]


async def back_up(source: Source, options: BackupOptions, act: Act, progress: BackedUp) -> None:
    """Make a backup, which is there whole and durable when this returns, or not at all.

    Raises:
        BackupNotConfigured: the server has no directory for backups.
        BackupAlreadyExists: there is something of this name.
        StorageFull, StorageUnavailable: the disk does not work; nothing is left.
        Draining: the server shuts down; nothing is left.
    """
    if source.directory is None:
        raise BackupNotConfigured(
            "This server makes no backups; start it with --backup-dir, a directory for them."
        )
    name = options.name or place.name_by_time()
    progress.name = names.backup(name)
    async with source.blobs_stay:
        registry = (await source.database.read_hot(events.head)).registry
        opened = place.draft(source.directory, name=name, registry=registry)
        async with _entered(opened, source) as draft:
            snapshot = await source.database.scan(
                write_tables, directory=draft.path, progress=progress, stop=source.stop
            )
            problems = await source.in_thread(_copy_blobs, source, draft, progress)
            await _name_problems(source, problems, progress)
            made = _inventory(source, snapshot, problems, progress)
            await source.in_thread(_publish, draft, made)
    progress.registry_digest = made.registry_digest
    _log.info("Backup %s, asked for by %s: %s", name, act.caller.id, made.registry_digest)


def write_tables(tx: Transaction, *, directory: Path, progress: BackedUp, stop: Stop) -> Snapshot:
    """Write all tables as *tx* sees them, durably.

    Raises:
        OSError: the disk does not work.
        Draining: the server shuts down.
    """
    head = events.head(tx)
    progress.sequence = head.sequence
    now = events.time_text(time.time_ns() // 1000)
    for folder in inventory.FOLDERS:
        (directory / folder).mkdir(mode=0o700)
    # In this order a row comes after those that it refers to.
    written = tuple(
        write_table(tx, table, directory=directory, progress=progress, stop=stop)
        for table in Base.metadata.sorted_tables
    )
    for folder in inventory.FOLDERS:
        disk.sync_directory(directory / folder)
    return Snapshot(head, migrations.revision(tx), now, written)


def write_table(
    tx: Transaction, table: sqlalchemy.Table, *, directory: Path, progress: BackedUp, stop: Stop
) -> TableFile:
    """Write one table durably."""
    folder = tables.folder(table)
    shape = tables.shape(table)
    hasher = hashlib.sha256()
    rows = size_bytes = 0
    with (directory / folder / f"{shape.name}.jsonl").open("xb") as file:
        for text, count in tables.portions(tx, shape):
            stop.check()
            file.write(text)
            hasher.update(text)
            rows += count
            size_bytes += len(text)
            progress.rows += count
        file.flush()
        disk.sync(file.fileno())
    return TableFile(shape.name, folder, rows, size_bytes, f"sha256:{hasher.hexdigest()}")


def _copy_blobs(source: Source, draft: Draft, progress: BackedUp) -> list[BlobProblem]:
    for blob in blobs.listed(draft.path):
        progress.total_blobs += 1
        progress.total_blob_bytes += blob.size_bytes

    def step(blob: blobs.Blob) -> None:
        source.stop.check()
        progress.blobs += 1
        progress.blob_bytes += blob.size_bytes

    found = []
    wanted = blobs.listed(draft.path)
    for problem in blobs.copy(
        wanted, store=source.store, backup=draft.path, earlier=draft.earlier, step=step
    ):
        _log.error("The blob %s is %s and not in the backup.", problem.digest, problem.kind)
        found.append(problem)
        progress.problems_count += 1
    return found


async def _name_problems(source: Source, problems: list[BlobProblem], progress: BackedUp) -> None:
    for problem in problems[:PROBLEMS_MAXIMUM]:
        versions, count = await source.database.read(
            files.versions_with, digest=problem.digest, maximum=VERSIONS_MAXIMUM
        )
        progress.problems.append(Problem(problem.digest, problem.size_bytes, problem.kind, versions, count))


def _inventory(
    source: Source, snapshot: Snapshot, problems: list[BlobProblem], progress: BackedUp
) -> Inventory:
    return Inventory(
        format=inventory.FORMAT,
        registry=snapshot.head.registry,
        epoch=snapshot.head.epoch,
        sequence=snapshot.head.sequence,
        time=snapshot.time,
        schema=snapshot.schema,
        server_version=source.server_version,
        registry_digest=inventory.registry_digest(snapshot.tables),
        tables=snapshot.tables,
        blobs=progress.blobs,
        blob_bytes=progress.blob_bytes,
        problems=tuple(problems),
    )


def _publish(draft: Draft, made: Inventory) -> None:
    inventory.write(draft.path, made)
    draft.publish()


@asynccontextmanager
async def _entered(context: AbstractContextManager[Result], source: Source) -> AsyncIterator[Result]:
    """Enter and leave a context in a thread, for both wait for the disk."""
    entered = await source.in_thread(context.__enter__)
    try:
        yield entered
    except BaseException as error:
        await source.in_thread(context.__exit__, type(error), error, error.__traceback__)
        raise
    await source.in_thread(context.__exit__, None, None, None)
