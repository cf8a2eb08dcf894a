"""The bytes of blobs in a backup: `blobs/ab/<hex>`, linked from the backup before where that has them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from steelyard_server.backups import inventory, tables
from steelyard_server.backups.inventory import BackupDamaged, BlobProblem
from steelyard_server.blobs import disk
from steelyard_server.blobs.blocks import BLOCK_BYTES, DIGEST_PREFIX, corrupt, hexadecimal
from steelyard_server.errors import BlobCorrupt, BlobLost, DigestMismatch, SizeMismatch

if TYPE_CHECKING:
    from steelyard_server.blobs.store import BlobStore

LIST: Final = f"{inventory.BOOKKEEPING}/blobs.jsonl"
# Small blobs go into a store together, for it syncs them together.
BATCH_BLOBS: Final = 256
BATCH_BYTES: Final = 16 << 20

Step = Callable[["Blob"], None]
Check = Callable[[], None]


class Blob(NamedTuple):
    """A blob as the snapshot records it."""

    digest: str
    size_bytes: int


def listed(backup: Path) -> Iterator[Blob]:
    """Yield the blobs that a backup has, in the order of their digests: those that were not condemned.

    Of the first schema none was.
    """
    with (backup / LIST).open("rb") as lines:
        shape = tables.parse_header(next(lines))
        for row in tables.rows(shape, lines):
            if row.get("condemn_time") is None:
                yield Blob(row["digest"], row["size_bytes"])


def path(backup: Path, digest: str) -> Path:
    """Return where the bytes of a blob are in a backup."""
    digits = hexadecimal(digest)
    return backup / inventory.BLOBS / digits[:2] / digits


def copy(
    blobs: Iterable[Blob], *, store: BlobStore, backup: Path, earlier: Path | None, check: Check, step: Step
) -> Iterator[Blob]:
    """Put all *blobs* durably into a backup, and yield those whose bytes are not right; see `copy_again`.

    Args:
        earlier: a complete backup on the same disk, whose files are linked where they have the size.
        check: called before each blob and each block; what it raises ends this.
        step: called after each blob that is in the backup.

    Raises:
        OSError: the disk of the backup does not work.
        StorageUnavailable: that of the store does not.
    """
    (backup / inventory.BLOBS).mkdir(mode=0o700)
    directories: set[Path] = {backup / inventory.BLOBS}
    for blob in blobs:
        check()
        target = path(backup, blob.digest)
        if target.parent not in directories:
            target.parent.mkdir(mode=0o700)
            directories.add(target.parent)
        if not _linked(blob, target=target, earlier=earlier):
            try:
                _copy(blob, store=store, target=target, check=check)
            except (BlobCorrupt, BlobLost):
                yield blob
                continue
        step(blob)
    disk.sync_directories(directories)


def copy_again(blob: Blob, *, store: BlobStore, backup: Path, check: Check) -> BlobProblem | None:
    """Put a blob that was not right into a backup after all, or return what is wrong with it.

    It may have been stored anew while it was copied.
    """
    target = path(backup, blob.digest)
    try:
        _copy(blob, store=store, target=target, check=check)
    except BlobCorrupt:
        return BlobProblem(blob.digest, blob.size_bytes, "damaged")
    except BlobLost:
        return BlobProblem(blob.digest, blob.size_bytes, "missing")
    disk.sync_directory(target.parent)
    return None


def require_right(backup: Path, blob: Blob) -> None:
    """Read a blob of a backup and compare it with its digest.

    Raises:
        BackupDamaged: it is not there, or other bytes are.
    """
    hasher = hashlib.sha256()
    size_bytes = 0
    for chunk in _chunks(backup, blob):
        hasher.update(chunk)
        size_bytes += len(chunk)
    if size_bytes != blob.size_bytes or DIGEST_PREFIX + hasher.hexdigest() != blob.digest:
        raise _damaged(backup, blob)


def require_stored(store: BlobStore, blob: Blob) -> None:
    """Read a blob of a store and compare it with its digest.

    Raises:
        BlobCorrupt, BlobLost: it is not there, or other bytes are.
    """
    hasher = hashlib.sha256()
    with store.open(blob.digest, size_bytes=blob.size_bytes) as reader:
        for offset in range(0, blob.size_bytes, BLOCK_BYTES):
            hasher.update(reader.read(offset, BLOCK_BYTES))
    if DIGEST_PREFIX + hasher.hexdigest() != blob.digest:
        raise corrupt(blob.digest)


def publish(backup: Path, blobs: Iterable[Blob], *, store: BlobStore, step: Step) -> Iterator[Blob]:
    """Store all *blobs* of a backup as uploads are stored, and yield those whose bytes are not right.

    Args:
        step: called after each blob that is durable in the store.

    Raises:
        StorageFull, StorageUnavailable: they cannot be stored.
    """
    small: dict[Blob, bytes] = {}
    for blob in blobs:
        try:
            if blob.size_bytes > BLOCK_BYTES:
                _upload(backup, blob, store=store)
                step(blob)
            else:
                small[blob] = _small(backup, blob)
        except (BackupDamaged, DigestMismatch, SizeMismatch):
            yield blob
        if len(small) == BATCH_BLOBS or sum(each.size_bytes for each in small) >= BATCH_BYTES:
            _put(small, store=store, step=step)
            small = {}
    _put(small, store=store, step=step)


def _linked(blob: Blob, *, target: Path, earlier: Path | None) -> bool:
    """Link a blob from an earlier backup; what it wrote is trusted, as docs/decisions/0017 says."""
    if earlier is None:
        return False
    source = path(earlier, blob.digest)
    try:
        if source.stat().st_size != blob.size_bytes:
            return False
        os.link(source, target)
    except OSError:
        # Not there, another file system, one without links, or too many of them.
        return False
    return True


def _copy(blob: Blob, *, store: BlobStore, target: Path, check: Check) -> None:
    """Copy a blob and sync the copy; there is none when the bytes are not right."""
    try:
        _copy_checked(blob, store=store, target=target, check=check)
    except (BlobCorrupt, BlobLost):
        target.unlink(missing_ok=True)
        raise


def _copy_checked(blob: Blob, *, store: BlobStore, target: Path, check: Check) -> None:
    hasher = hashlib.sha256()
    file = disk.create(target)
    try:
        with store.open(blob.digest, size_bytes=blob.size_bytes) as reader:
            for offset in range(0, blob.size_bytes, BLOCK_BYTES):
                check()
                block = reader.read(offset, BLOCK_BYTES)
                hasher.update(block)
                disk.write_all(file, block, offset=offset)
        disk.sync(file)
    finally:
        os.close(file)
    if DIGEST_PREFIX + hasher.hexdigest() != blob.digest:
        raise corrupt(blob.digest)


def _upload(backup: Path, blob: Blob, *, store: BlobStore) -> None:
    upload = store.begin_upload(hexadecimal(blob.digest))
    try:
        upload.open(size_bytes=blob.size_bytes, from_start=True)
        for chunk in _chunks(backup, blob):
            upload.write(chunk)
        upload.finish(blob.digest)
    finally:
        upload.close()


def _small(backup: Path, blob: Blob) -> bytes:
    data = b"".join(_chunks(backup, blob))
    if len(data) != blob.size_bytes or DIGEST_PREFIX + hashlib.sha256(data).hexdigest() != blob.digest:
        raise _damaged(backup, blob)
    return data


def _put(small: dict[Blob, bytes], *, store: BlobStore, step: Step) -> None:
    if small:
        store.put({blob.digest: data for blob, data in small.items()})
    for blob in small:
        step(blob)


def _chunks(backup: Path, blob: Blob) -> Iterator[bytes]:
    try:
        with path(backup, blob.digest).open("rb", buffering=0) as file:
            while chunk := file.read(BLOCK_BYTES):
                yield chunk
    except FileNotFoundError:
        raise _damaged(backup, blob) from None


def _damaged(backup: Path, blob: Blob) -> BackupDamaged:
    return BackupDamaged(f"The blob {blob.digest} is damaged or missing in {backup}.")
