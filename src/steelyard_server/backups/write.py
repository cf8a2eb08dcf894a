"""Making a backup while the server serves: tables from one snapshot, then the bytes that it names."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import sqlalchemy

from steelyard_server.backups import blobs, inventory, place, tables
from steelyard_server.backups.inventory import BlobProblem, Inventory, TableFile
from steelyard_server.blobs import disk
from steelyard_server.core import files, names
from steelyard_server.db import migrations
from steelyard_server.db.tables import Base
from steelyard_server.errors import BackupNotConfigured
from steelyard_server.history import events
from steelyard_server.maintenance.verify import VERSIONS_MAXIMUM, Problem

if TYPE_CHECKING:
    from steelyard_server.backups.blobs import Blob
    from steelyard_server.backups.place import Draft
    from steelyard_server.db.database import Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.events import Head
    from steelyard_server.maintenance.runs import Stop
    from steelyard_server.maintenance.storage import Storage

Result = TypeVar("Result")

# Problems that are named to callers; the inventory has them all.
PROBLEMS_MAXIMUM: Final = 100

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """What a server's backups are made of, and where they go.

    Args:
        directory: below which backups are; None when the server makes none.
    """

    storage: Storage
    directory: Path | None
    server_version: str


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """What a backup was asked for; an empty name lets the server choose one."""

    name: str


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

    def count(self, blob: Blob) -> None:
        """Count a blob that is in the backup."""
        self.blobs += 1
        self.blob_bytes += blob.size_bytes


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
    storage = source.storage
    registry = (await storage.database.read_hot(events.head)).registry
    opened = place.draft(source.directory, name=name, registry=registry)
    async with _entered(opened, storage) as draft:
        async with storage.blobs_stay:
            snapshot = await storage.database.scan(
                write_tables, directory=draft.path, progress=progress, stop=storage.stop
            )
            suspects = await storage.in_thread(_copy_blobs, storage, draft, progress)
            problems = await _confirm(storage, draft, suspects, progress)
        await _name_problems(storage, problems, progress)
        made = _inventory(source, snapshot, problems, progress)
        await storage.in_thread(_publish, draft, made)
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


def _copy_blobs(storage: Storage, draft: Draft, progress: BackedUp) -> list[Blob]:
    """Copy all blobs, and return those whose bytes are not right."""
    for blob in blobs.listed(draft.path):
        progress.total_blobs += 1
        progress.total_blob_bytes += blob.size_bytes

    return list(
        blobs.copy(
            blobs.listed(draft.path),
            store=storage.store,
            backup=draft.path,
            earlier=draft.earlier,
            check=storage.stop.check,
            step=progress.count,
        )
    )


async def _confirm(
    storage: Storage, draft: Draft, suspects: list[Blob], progress: BackedUp
) -> list[BlobProblem]:
    """Look again at what was not right, while nobody stores it, and quarantine what is still wrong."""
    problems = []
    for blob in suspects:
        with storage.claims.claim([blob.digest]) as claimed:
            again = partial(
                blobs.copy_again, store=storage.store, backup=draft.path, check=storage.stop.check
            )
            problem = await storage.in_thread(again, blob)
            if problem is None:
                progress.count(blob)
                continue
            if claimed:
                storage.store.note_damage(blob.digest, quarantine=True)
        _log.error("The blob %s is %s and not in the backup.", problem.digest, problem.kind)
        problems.append(problem)
        progress.problems_count += 1
    return problems


async def _name_problems(storage: Storage, problems: list[BlobProblem], progress: BackedUp) -> None:
    for problem in problems[:PROBLEMS_MAXIMUM]:
        versions, count = await storage.database.read(
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
async def _entered(context: AbstractContextManager[Result], storage: Storage) -> AsyncIterator[Result]:
    """Enter and leave a context in a thread, for both wait for the disk."""
    entered = await storage.in_thread(context.__enter__)
    try:
        yield entered
    except BaseException as error:
        await storage.in_thread(context.__exit__, type(error), error, error.__traceback__)
        raise
    await storage.in_thread(context.__exit__, None, None, None)
