"""``Client.verify``: compare every byte of a version with its digests, in a directory or on the server."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard import manifest
from steelyard.digests import CHUNK_BYTES
from steelyard.download import Download, corrupt
from steelyard.errors import DataLoss, LocalFileError

if TYPE_CHECKING:
    from steelyard.progress import Meter
    from steelyard.transfer import Transfer
    from steelyard.types import File, Version
    from steelyard.versions import Versions

THREADS = 4
NAMED_MAXIMUM = 10


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The files that were read whole and match their digests; references are not among them."""

    version: Version
    files: tuple[File, ...]


def verify(
    version: Version, directory: Path | None, *, versions: Versions, transfer: Transfer
) -> VerifyResult:
    """Read all bytes of a version, from *directory* or else from the server.

    Raises:
        DataLoss: bytes are missing or differ; the message names the files.
    """
    files = manifest.files(versions.manifest(version).encoded, version=version)
    stored = tuple(file for file in files if not file.uri)
    meter = transfer.meter("verify", total_bytes=sum(file.size_bytes for file in stored))
    if directory is not None:
        if not directory.is_dir():
            raise LocalFileError(f"{directory} is no directory.")
        _verify_directory(stored, directory, meter=meter, transfer=transfer)
        return VerifyResult(version, stored)
    download = Download(version, meter, transfer)
    transfer.run(partial(_verify_stored, download=download), stored, threads=THREADS)
    return VerifyResult(version, stored)


def _verify_stored(file: File, *, download: Download) -> None:
    hasher = hashlib.sha256()
    for chunk in download.chunks(file) if file.size_bytes else ():
        hasher.update(chunk)
        download.meter.add(len(chunk), file=file.path)
    if f"sha256:{hasher.hexdigest()}" != file.digest:
        raise corrupt(file)


def _verify_directory(
    files: tuple[File, ...], directory: Path, *, meter: Meter, transfer: Transfer
) -> None:
    damages: dict[str, str] = {}

    def task(file: File) -> None:
        if damage := _damage(file, directory / file.path, meter=meter):
            damages[file.path] = damage

    transfer.run(task, files, threads=THREADS)
    if damages:
        named = "; ".join(f"{path} {damages[path]}" for path in sorted(damages)[:NAMED_MAXIMUM])
        raise DataLoss(
            f"{len(damages)} of {len(files)} files in {directory} are not those of the version: {named}."
        )


def _damage(file: File, path: Path, *, meter: Meter) -> str:
    """Return what is wrong with a file; empty when nothing is."""
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
