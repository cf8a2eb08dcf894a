"""``Client.verify``: compare every byte of a version with its digests, in a directory or on the server."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard import manifest
from steelyard.capture import environment
from steelyard.digests import CHUNK_BYTES
from steelyard.download import Download
from steelyard.errors import DataLoss, DownloadCorrupt, FileUnreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steelyard.progress import Meter
    from steelyard.transfer import Transfer
    from steelyard.types import File, Version
    from steelyard.versions import Versions

THREADS = 4
NAMED_MAXIMUM = 10


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What was compared; references to files elsewhere are not part of it.

    Args:
        files: that were read whole and match their digests.
        left_out: that the push had recorded by itself, and that the directory does not have.
        others: paths of files in the directory that are not of the version.
    """

    version: Version
    files: tuple[File, ...]
    left_out: tuple[File, ...] = ()
    others: tuple[str, ...] = ()


def verify(
    version: Version, directory: Path | None, *, versions: Versions, transfer: Transfer
) -> VerifyResult:
    """Read all bytes of a version, from *directory* or else from the server.

    Raises:
        FileUnreadable: *directory* is none.
        DataLoss: bytes are missing or differ; the message names the files.
    """
    if directory is not None and not directory.is_dir():
        raise FileUnreadable(f"{directory} is no directory.")
    files = manifest.files(versions.manifest(version).encoded, version=version)
    stored = tuple(file for file in files if not file.uri)
    left_out = tuple(file for file in stored if directory is not None and _is_only_there(file, directory))
    stored = tuple(file for file in stored if file not in left_out)
    meter = transfer.meter("verify", total_bytes=sum(file.size_bytes for file in stored))
    damages: dict[str, str] = {}

    def task(file: File) -> None:
        if directory is not None:
            damage = _damage_here(file, directory / file.path, meter=meter)
        else:
            damage = _damage_there(file, Download(version, meter, transfer))
        if damage:
            damages[file.path] = damage

    transfer.run(task, stored, threads=THREADS)
    if damages:
        named = "; ".join(f"{path} {damages[path]}" for path in sorted(damages)[:NAMED_MAXIMUM])
        place = f"in {directory}" if directory else "on the server"
        raise DataLoss(f"{len(damages)} of {len(stored)} files {place} are not those of {version}: {named}.")
    others = _others(files, directory) if directory is not None else ()
    return VerifyResult(version, stored, left_out, others)


def _others(files: Sequence[File], directory: Path) -> tuple[str, ...]:
    """Return what a directory has beside the files of a version, in the order of the paths."""
    found = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir())
    return tuple(sorted(set(found) - {file.path for file in files}))


def _is_only_there(file: File, directory: Path) -> bool:
    """Return whether a push added a file to those of the directory that it was made from."""
    is_captured = file.path == environment.LOCK_PATH and file.role == "lock"
    return is_captured and not os.path.lexists(directory / file.path)


def _damage_here(file: File, path: Path, *, meter: Meter) -> str:
    """Return what is wrong with a file of this machine; empty when nothing is."""
    hasher = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as source:
            while chunk := source.read(CHUNK_BYTES):
                hasher.update(chunk)
                meter.add(len(chunk), file=file.path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if f"sha256:{hasher.hexdigest()}" == file.digest else "has other bytes"


def _damage_there(file: File, download: Download) -> str:
    """Return what is wrong with a file of the server; empty when nothing is."""
    try:
        for chunk in download.verified(file):
            download.meter.add(len(chunk), file=file.path)
    except DownloadCorrupt:
        return "arrives with other bytes"
    except DataLoss as error:
        return f"is damaged ({error.reason or 'DATA_LOSS'})"
    return ""
