"""``Client.pull``: a version into a directory that appears whole, verified to the last byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from pathspec import GitIgnoreSpec

from steelyard import manifest
from steelyard.content import require_several
from steelyard.download import Download
from steelyard.errors import DestinationNotEmpty, InvalidArgument, LocalFileError
from steelyard.reasons import VersionRevoked

if TYPE_CHECKING:
    from steelyard.cache import BlobCache
    from steelyard.transfer import Transfer
    from steelyard.types import File, Version
    from steelyard.versions import Versions

STREAMS = 4
# A file up to this size comes in one message, many on one stream.
SMALL_BYTES = 256 * 1024
BATCH_FILES = 500


@dataclass(frozen=True, slots=True)
class PullResult:
    """What a pull did.

    Args:
        directory: where the files are.
        downloaded_bytes: that came over the wire; the rest was here already.
        skipped_references: paths of files that stay at their own address.
    """

    version: Version
    directory: Path
    files: tuple[File, ...]
    downloaded_bytes: int
    skipped_references: tuple[str, ...]


def pull(
    version: Version,
    dest: Path,
    *,
    versions: Versions,
    cache: BlobCache,
    include: Iterable[str],
    overwrite: bool,
    transfer: Transfer,
) -> PullResult:
    """Put the files of a version into the directory *dest*.

    They are gathered in a hidden directory beside it, which stays when the pull breaks off, so that
    the next one goes on from there; one rename puts them in place.

    Raises:
        DestinationNotEmpty: there is something at *dest* and *overwrite* is not set.
        DownloadCorrupt: bytes that arrived are not those that the version names.
        VersionRevoked: the version was revoked.
    """
    require_several(include, name="include")
    _require_usable(version)
    files = manifest.files(versions.manifest(version).encoded, version=version)
    wanted = _included(files, patterns=tuple(include))
    stored = tuple(file for file in wanted if not file.uri)
    _require_free(dest, overwrite=overwrite)
    meter = transfer.meter("download", total_bytes=sum(file.size_bytes for file in stored))
    download = Download(version, meter, transfer)
    try:
        with _workspace(dest, version=version) as workspace:
            downloaded_bytes = _gather(stored, workspace=workspace, download=download, cache=cache)
            transfer.stop.check()
            _put_in_place(workspace / "files", dest, overwrite=overwrite)
    except OSError as error:
        raise LocalFileError(f"{error.filename or dest} cannot be written: {error.strerror}.") from None
    skipped = tuple(file.path for file in wanted if file.uri)
    return PullResult(version, dest, stored, downloaded_bytes, skipped)


def _require_usable(version: Version) -> None:
    """Refuse a revoked version: what the cache has is no byte that the server would refuse."""
    if version.message.HasField("revocation"):
        raise VersionRevoked(f"{version} was revoked, so it is not pulled; use another version.")


def _included(files: tuple[File, ...], *, patterns: tuple[str, ...]) -> tuple[File, ...]:
    if not patterns:
        return files
    spec = GitIgnoreSpec.from_lines(patterns)
    found = tuple(file for file in files if spec.match_file(file.path))
    if not found:
        raise InvalidArgument(
            f"No file of the version matches {', '.join(patterns)}; list them with `files`."
        )
    return found


def _require_free(dest: Path, *, overwrite: bool) -> None:
    if dest.resolve() == Path.cwd():
        raise DestinationNotEmpty(
            f"{dest} is the current directory, which cannot be renamed; name a new one."
        )
    if dest.is_symlink() or (dest.exists() and not dest.is_dir()):
        raise DestinationNotEmpty(f"{dest} is no directory; name a new one.")
    if dest.is_dir() and any(dest.iterdir()) and not overwrite:
        raise DestinationNotEmpty(
            f"{dest} has something in it; name a new directory, or overwrite it with --overwrite."
        )


def _gather(files: tuple[File, ...], *, workspace: Path, download: Download, cache: BlobCache) -> int:
    """Bring all files to the workspace and return the bytes that came over the wire."""
    root = workspace / "files"
    for parent in {(root / file.path).parent for file in files}:
        parent.mkdir(parents=True, exist_ok=True)
    first = {file.digest: file for file in sorted(files, key=lambda file: file.size_bytes)}
    wanted = [file for file in first.values() if not cache.take(file, root / file.path, meter=download.meter)]
    small = [file for file in wanted if file.size_bytes <= SMALL_BYTES]
    large = [file for file in wanted if file.size_bytes > SMALL_BYTES]
    received: list[int] = []

    def keep(file: File, data: bytes) -> None:
        (root / file.path).write_bytes(data)
        cache.keep(file.digest, root / file.path)

    def fetch(part: list[File]) -> None:
        if part[0].size_bytes <= SMALL_BYTES:
            received.append(download.fetch_small(part, keep=keep))
            return
        target = workspace / "parts" / part[0].digest.removeprefix("sha256:")
        received.append(download.fetch(part[0], target))
        target.replace(root / part[0].path)
        cache.keep(part[0].digest, root / part[0].path)

    parts = [*([file] for file in reversed(large)), *_batches(small)]
    download.transfer.run(fetch, parts, threads=STREAMS)
    for file in files:
        if (source := first[file.digest]) is not file:
            shutil.copyfile(root / source.path, root / file.path)
            download.meter.add(file.size_bytes, file=file.path)
    cache.shrink()
    return sum(received)


def _batches(files: list[File]) -> list[list[File]]:
    """Share small files out to streams."""
    length = min(BATCH_FILES, -(-len(files) // STREAMS) or 1)
    return [files[start : start + length] for start in range(0, len(files), length)]


@contextmanager
def _workspace(dest: Path, *, version: Version) -> Iterator[Path]:
    """Give a directory beside *dest* that one pull has for itself; on failure its parts stay."""
    dest = dest.absolute()
    dest.parent.mkdir(parents=True, exist_ok=True)
    workspace = dest.parent / f".{dest.name}.{version.digest[-16:]}.partial"
    (workspace / "parts").mkdir(parents=True, exist_ok=True)
    with _locked(workspace / "lock", dest=dest):
        shutil.rmtree(workspace / "files", ignore_errors=True)
        (workspace / "files").mkdir()
        yield workspace
        shutil.rmtree(workspace, ignore_errors=True)


@contextmanager
def _locked(path: Path, *, dest: Path) -> Iterator[None]:
    try:
        lock = FileLock(path).acquire(blocking=False)
    except Timeout:
        raise LocalFileError(f"Another pull of this version into {dest} is running; wait for it.") from None
    with lock:
        yield


def _put_in_place(files: Path, dest: Path, *, overwrite: bool) -> None:
    """Rename *files* to *dest*; what was there goes only after that."""
    if not (overwrite and dest.exists()):
        files.rename(dest)
        return
    replaced = dest.absolute().with_name(f".{dest.name}.{os.getpid()}.replaced")
    dest.rename(replaced)
    try:
        files.rename(dest)
    except OSError:
        replaced.rename(dest)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
