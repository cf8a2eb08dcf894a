"""``registry.json``: what a backup is, written last, so that a directory without it is no backup."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import orjson

from steelyard_server.blobs import disk

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = 1
NAME: Final = "registry.json"
STATE: Final = "state"
BOOKKEEPING: Final = "bookkeeping"
Folder = Literal["state", "derived", "bookkeeping"]
FOLDERS: Final[tuple[Folder, ...]] = get_args(Folder)
BLOBS: Final = "blobs"


class NotABackup(Exception):
    """There is no backup, an incomplete one, or one of a format or schema that this server does not know."""


class BackupDamaged(Exception):
    """A backup is not what it was when it was made."""


@dataclass(frozen=True, slots=True)
class TableFile:
    """One table of a backup.

    Args:
        folder: of the backup.
        digest: of the file, as `sha256:` and hexadecimal digits.
    """

    name: str
    folder: Folder
    rows: int
    size_bytes: int
    digest: str

    @property
    def path(self) -> str:
        """Return where it is below the backup."""
        return f"{self.folder}/{self.name}.jsonl"


@dataclass(frozen=True, slots=True)
class BlobProblem:
    """A blob whose bytes were damaged or missing when the backup was made."""

    digest: str
    size_bytes: int
    kind: Literal["damaged", "missing"]


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a backup holds.

    Args:
        registry: uid of the registry.
        sequence: of the newest event that it has.
        time: when the snapshot was taken, RFC 3339 in UTC.
        schema: revision of the database's schema.
        tables: in an order in which they can be filled.
        blobs: how many are here.
        problems: blobs that are recorded and not here.
        check: digest of all the rest of this.
    """

    format: int
    registry: str
    epoch: str
    sequence: int
    time: str
    schema: str
    server_version: str
    registry_digest: str
    tables: tuple[TableFile, ...]
    blobs: int
    blob_bytes: int
    problems: tuple[BlobProblem, ...] = ()
    check: str = ""


def registry_digest(tables: Iterable[TableFile]) -> str:
    """Return the logical digest: of what ``sha256sum`` prints for the tables of registry state, by name."""
    lines = sorted(
        f"{table.name}.jsonl {table.digest.removeprefix('sha256:')}"
        for table in tables
        if table.folder == STATE
    )
    printed = "".join(f"{digest}  {name}\n" for name, _, digest in (line.partition(" ") for line in lines))
    return "sha256:" + hashlib.sha256(printed.encode()).hexdigest()


def write(directory: Path, inventory: Inventory) -> None:
    """Write the inventory of a directory whose other files are durable; it appears whole or not at all."""
    checked = replace(inventory, check=_check(asdict(inventory)))
    temporary = directory / f"{NAME}.new"
    with temporary.open("xb") as file:
        file.write(orjson.dumps(asdict(checked), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        file.flush()
        disk.sync(file.fileno())
    temporary.rename(directory / NAME)
    disk.sync_directory(directory)


def read(directory: Path) -> Inventory:
    """Read the inventory of a backup; nothing else of it is looked at.

    Raises:
        NotABackup: there is none, or none that this server understands.
        BackupDamaged: it is not what was written.
    """
    if not directory.is_dir():
        raise NotABackup(f"There is no directory {directory}. Name that of a backup.")
    try:
        content = (directory / NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotABackup(
            f"{directory} has no {NAME}: it is no backup, or one that was broken off. Name another."
        ) from None
    try:
        facts = orjson.loads(content)
        known = facts["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        raise BackupDamaged(f"{directory / NAME} is damaged. Restore another backup.") from None
    if not known:
        raise NotABackup(
            f"{directory} has format {facts['format']!r}; this server knows {FORMAT}. Use a newer server."
        )
    return _parsed(facts, directory=directory)


def _parsed(facts: dict[str, Any], *, directory: Path) -> Inventory:
    damaged = BackupDamaged(f"{directory / NAME} is damaged. Restore another backup.")
    if facts.get("check") != _check(facts):
        raise damaged
    try:
        tables = tuple(TableFile(**table) for table in facts.pop("tables"))
        problems = tuple(BlobProblem(**problem) for problem in facts.pop("problems"))
        inventory = Inventory(**facts, tables=tables, problems=problems)
    except (KeyError, TypeError):
        raise damaged from None
    # Nothing outside of the backup is ever read.
    if not all(table.name.isidentifier() and table.folder in FOLDERS for table in tables):
        raise damaged
    return inventory


def _check(facts: dict[str, Any]) -> str:
    rest = {name: value for name, value in facts.items() if name != "check"}
    return "sha256:" + hashlib.sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)).hexdigest()
