"""Bringing a backup back, offline: the whole registry, or nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy

from steelyard_server.backups import blobs, inventory, tables, target
from steelyard_server.backups.check import Meter, Report, require_tables
from steelyard_server.backups.inventory import BackupDamaged, Inventory, NotABackup
from steelyard_server.backups.tables import MalformedTable
from steelyard_server.blobs.local import LocalStore
from steelyard_server.core import registry
from steelyard_server.db.build import Inconsistent, build, require_sound
from steelyard_server.db.migrations import REVISIONS

if TYPE_CHECKING:
    from steelyard_server.db.database import Transaction
    from steelyard_server.history.act import Act


@dataclass(frozen=True, slots=True)
class Options:
    """How a backup is restored.

    Args:
        data_dir: directory of the new registry; made when missing.
        database: URL of an empty PostgreSQL database; empty for SQLite in the data directory.
        verify: read everything anew once it is written, before it counts.
        allow_damage: go on without blobs that are damaged in the backup.
    """

    data_dir: Path
    database: str = ""
    verify: bool = False
    allow_damage: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    Args:
        sequence: of the event that tells of it.
        epoch: of the history from now on.
        missing: digests of blobs whose bytes the backup does not have, or not rightly.
    """

    inventory: Inventory
    sequence: int
    epoch: str
    blobs: int
    missing: tuple[str, ...]


def restore(source: Path, options: Options, act: Act, *, report: Report) -> Restored:
    """Restore a backup; when this raises, the target is as empty as before.

    Raises:
        NotABackup: there is no backup that this server understands.
        BackupDamaged: it is not what was backed up.
        TargetNotEmpty, DatabaseNotEmpty: there is something where it was to go.
        DirectoryInUse: a server runs there.
        RegistryError: the disk or the database does not work.
    """
    found = inventory.read(source)
    if found.schema not in REVISIONS:
        raise NotABackup(
            f"{source} has schema {found.schema!r}, which is newer than this server knows "
            f"({REVISIONS[-1]!r}). Use the newer server."
        )
    require_tables(source, found, report=report)
    with target.empty(options.data_dir, database=options.database) as workspace:
        missing, count = _store_blobs(source, found, options, workspace=workspace, report=report)
        location = options.database or workspace / target.DATABASE
        fill = partial(_fill, source=source, found=found, report=report)
        try:
            with build(location, revision=found.schema, fill=fill) as tx:
                _require_blobs(tx, source)
                if options.verify:
                    require_sound(tx)
                    _verify_blobs(source, found, missing=missing, workspace=workspace, report=report)
                epoch, sequence = registry.begin_epoch(
                    tx, act, backup_sequence=found.sequence, registry_digest=found.registry_digest
                )
                # The bytes first: the end of the block makes the database count.
                target.put_in_place(workspace, target.BLOBS)
        except (Inconsistent, MalformedTable) as error:
            raise BackupDamaged(f"{source} is not consistent. {error}") from error
        if not options.database:
            target.put_in_place(workspace, target.DATABASE)
    return Restored(found, sequence=sequence, epoch=epoch, blobs=count, missing=tuple(sorted(missing)))


def _store_blobs(
    source: Path, found: Inventory, options: Options, *, workspace: Path, report: Report
) -> tuple[set[str], int]:
    """Store the bytes of all blobs; return the digests of those that are not right, and how many are."""
    missing = {problem.digest for problem in found.problems}
    wanted = (blob for blob in blobs.listed(source) if blob.digest not in missing)
    meter = Meter("blobs", total_bytes=found.blob_bytes, report=report)
    store = LocalStore(workspace / target.BLOBS)
    try:
        damaged = set()
        for blob in blobs.publish(source, wanted, store=store, step=meter):
            if not options.allow_damage:
                raise BackupDamaged(
                    f"The blob {blob.digest} is damaged or missing in {source}. Restore another backup, or "
                    "go on without such blobs by --allow-damage."
                )
            damaged.add(blob.digest)
        # Until somebody uploads them again, they are not there.
        for digest in missing | damaged:
            store.note_damage(digest)
    finally:
        store.close()
    return missing | damaged, meter.blobs


def _fill(tx: Transaction, *, source: Path, found: Inventory, report: Report) -> None:
    # The schema comes with the identity of a new registry.
    for table in reversed(found.tables):
        tx.run(sqlalchemy.delete(sqlalchemy.table(table.name)), {})
    total_bytes = sum(table.size_bytes for table in found.tables)
    done_bytes = 0
    for table in found.tables:
        with (source / table.path).open("rb") as lines:
            tables.load(tx, tables.parse_header(next(lines)), lines)
        done_bytes += table.size_bytes
        report("tables", done_bytes, total_bytes)
    _require_equal(tx, source=source, found=found)


def _require_equal(tx: Transaction, *, source: Path, found: Inventory) -> None:
    """Demand that the database reads as the backup does, and so has the same logical digest."""
    for table in found.tables:
        with (source / table.path).open("rb") as lines:
            shape = tables.parse_header(next(lines))
        hasher = hashlib.sha256()
        for text, _ in tables.portions(tx, shape):
            hasher.update(text)
        if f"sha256:{hasher.hexdigest()}" != table.digest:
            raise Inconsistent(f"The table {table.name} reads otherwise than it was written.")


def _require_blobs(tx: Transaction, source: Path) -> None:
    if digest := registry.unrecorded(tx):
        raise BackupDamaged(f"{source} is not consistent. The blob {digest} is referred to and not recorded.")


def _verify_blobs(
    source: Path, found: Inventory, *, missing: set[str], workspace: Path, report: Report
) -> None:
    meter = Meter("verify", total_bytes=found.blob_bytes, report=report)
    store = LocalStore(workspace / target.BLOBS)
    try:
        for blob in blobs.listed(source):
            if blob.digest not in missing:
                blobs.require_stored(store, blob)
                meter(blob)
    finally:
        store.close()
