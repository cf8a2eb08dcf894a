"""Checking a backup: every table and every blob is read and compared with what it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from steelyard_server.backups import blobs, inventory, tables
from steelyard_server.backups.blobs import Blob
from steelyard_server.backups.inventory import BackupDamaged, Inventory, TableFile

Report = Callable[[str, int, int], None]
"""Called with what is under way, how many bytes of it are done, and how many there are."""


class Meter:
    """Counts blobs that are done, and reports their bytes."""

    def __init__(self, phase: str, *, total_bytes: int, report: Report) -> None:
        self.blobs = 0
        self._phase = phase
        self._total_bytes = total_bytes
        self._report = report
        self._done_bytes = 0

    def __call__(self, blob: Blob) -> None:
        """Count one."""
        self.blobs += 1
        self._done_bytes += blob.size_bytes
        self._report(self._phase, self._done_bytes, self._total_bytes)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found.

    Args:
        damaged: digests of blobs that are damaged or missing, though they were right when the backup
            was made.
    """

    inventory: Inventory
    blobs: int
    damaged: tuple[str, ...]


def check(source: Path, *, report: Report) -> Checked:
    """Read a whole backup and compare it with its digests.

    Raises:
        NotABackup: there is none that this server understands.
        BackupDamaged: its tables are damaged.
    """
    found = inventory.read(source)
    require_tables(source, found, report=report)
    absent = {problem.digest for problem in found.problems}
    meter = Meter("blobs", total_bytes=found.blob_bytes, report=report)
    damaged = []
    for blob in blobs.listed(source):
        if blob.digest in absent:
            continue
        try:
            blobs.require_right(source, blob)
        except BackupDamaged:
            damaged.append(blob.digest)
        meter(blob)
    return Checked(found, blobs=meter.blobs - len(damaged), damaged=tuple(damaged))


def require_tables(source: Path, found: Inventory, *, report: Report) -> None:
    """Compare all tables of a backup, and the logical digest of the registry, with its inventory.

    Raises:
        BackupDamaged: something is not what it was.
    """
    if inventory.registry_digest(found.tables) != found.registry_digest:
        raise BackupDamaged(f"{source / inventory.NAME} contradicts itself. Restore another backup.")
    total_bytes = sum(table.size_bytes for table in found.tables)
    done_bytes = 0
    for table in found.tables:
        _require_table(source, table)
        done_bytes += table.size_bytes
        report("check", done_bytes, total_bytes)


def _require_table(source: Path, table: TableFile) -> None:
    damaged = BackupDamaged(f"{source / table.path} is damaged or missing. Restore another backup.")
    hasher = hashlib.sha256()
    rows = -1
    try:
        with (source / table.path).open("rb") as lines:
            header = lines.readline()
            lines.seek(0)
            for line in lines:
                hasher.update(line)
                rows += 1
    except FileNotFoundError:
        raise damaged from None
    if (rows, f"sha256:{hasher.hexdigest()}") != (table.rows, table.digest):
        raise damaged
    if tables.parse_header(header).name != table.name:
        raise damaged
